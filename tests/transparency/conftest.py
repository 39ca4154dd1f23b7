"""What was seen at the faces: each look is taken once, however many tests ask for it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import cache

import pytest

from tests.transparency.faces import Face
from tests.transparency.observing import (
    Observer,
    Seen,
    observe_bare_streams,
    observe_failures,
    observe_fields,
    observe_streams,
    observe_wholes,
    observer_at,
)
from tests.transparency.oddities import observe_oddities

Look = Callable[[Face, str], Seen]
KINDS: Mapping[str, Callable[[Observer], Awaitable[None]]] = {
    "wholes": observe_wholes,
    "streams": observe_streams,
    "bare streams": observe_bare_streams,
    "errors": observe_failures,
    "fields": observe_fields,
    "oddities": observe_oddities,
}


@pytest.fixture(scope="package")
def look(tmp_path_factory: pytest.TempPathFactory) -> Look:
    """Return what shows all that happens at a face, for one kind of exchanges."""

    async def taken(face: Face, kind: str) -> Seen:
        async with observer_at(face, tmp_path_factory.mktemp(kind)) as observer:
            await KINDS[kind](observer)
            return observer.seen

    return cache(lambda face, kind: asyncio.run(taken(face, kind)))
