"""A world that keeps answers in a file, seen through both faces."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from headworks.stores.idempotency import SqliteIdempotency
from headworks.testing import FakeClock
from headworks.types import Caller
from tests.world import World


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where answers are kept."""
    return tmp_path / "store.idempotency.db"


@pytest.fixture
def kept(path: Path) -> Iterator[SqliteIdempotency]:
    """What keeps them, in virtual time."""
    kept = SqliteIdempotency(path, FakeClock(jumps=False))
    yield kept
    kept.close()


@pytest.fixture
def world(kept: SqliteIdempotency) -> World:
    """A world with two callers, `open` and `other`."""
    world = World()
    world.keys.callers = {"open": Caller("open", "k1"), "other": Caller("other", "k2")}
    world.engine = replace(world.engine, idempotency=kept)
    return world


@pytest.fixture(params=["gateway", "in process"])
def face(request: pytest.FixtureRequest) -> str:
    """Each face in turn."""
    return str(request.param)
