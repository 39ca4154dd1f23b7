"""Promises to whoever points an app at headworks: what is not listed is not touched."""

import asyncio
import re
from pathlib import Path

import pytest

from tests.faults.processes import UPSTREAM_KEY
from tests.transparency.answering import HEAD, Answered
from tests.transparency.asking import JSON, Asked
from tests.transparency.conftest import KINDS, Look
from tests.transparency.description import UNKNOWN, Operation, operations
from tests.transparency.differences import Difference
from tests.transparency.faces import FACES, Face
from tests.transparency.listed import Listed, changes, kept, match
from tests.transparency.observing import ASKING, Carried, observer_at

LEAST = {
    "wholes": 1800,
    "streams": 350,
    "bare streams": 1,
    "errors": 1800,
    "fields": 150,
    "oddities": 30,
}
"""Exchanges of each kind without which there has been nothing to see."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("face", FACES)
def test_nothing_changes_that_is_not_listed(look: Look, face: Face, kind: str):
    """Every field, value, header and error of the whole API passes as it is, or the guide says so."""
    seen, listed = look(face, kind), changes()
    unlisted = [
        f"{one.where}: {one.what}: {one.becomes}\n    {shown[:2000]}"
        for one, shown in seen.differences.items()
        if match(one, listed) is None
    ]
    assert not unlisted, "\n".join(unlisted)
    assert seen.exchanges > LEAST[kind]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("face", FACES)
def test_header_fields_that_pass_are_listed(look: Look, face: Face, kind: str):
    """A header field passes only if the guide says so."""
    listed = kept()
    passed = look(face, kind).kept
    assert {one for one in passed if not match(Difference(*one, "kept"), listed)} == set()


def test_every_listed_change_is_made(look: Look):
    """The guide lists nothing that does not happen, at one face at least."""
    listed, seen = changes(), set[Listed | None]()
    for face in FACES:
        for kind in KINDS:
            seen |= {match(one, listed) for one in look(face, kind).differences}
    assert set(listed) - seen == set()


def test_every_listed_field_passes(look: Look):
    """A header field that the guide lets pass does pass."""
    listed, seen = kept(), set[Listed | None]()
    for face in FACES:
        for kind in KINDS:
            seen |= {match(Difference(*one, "kept"), listed) for one in look(face, kind).kept}
    assert set(listed) - seen == set()


@pytest.mark.parametrize("face", FACES)
def test_what_is_put_in_place_is_what_the_guide_says(face: Face, tmp_path: Path):
    """The provider sees the route's credential, its own name, and that nothing is to be packed."""

    async def carried() -> Carried:
        async with observer_at(face, tmp_path) as observer:
            operation = Operation("GET", "/files", (), {}, {})
            answered = Answered(200, JSON, b"{}", HEAD)
            return await observer.carry(Asked(operation, "/v1/files", "", None), answered, ASKING)

    _, arrived, got = asyncio.run(carried())
    assert arrived is not None
    shown = arrived.values()
    assert shown["accept-encoding"] == ["identity"]
    assert shown["authorization"] == [f"Bearer {UPSTREAM_KEY}"]
    assert (shown["openai-organization"], shown["openai-project"]) == (["org-ours"], ["proj_ours"])
    assert re.fullmatch(r"127\.0\.0\.1:\d+", shown["host"][0])
    told = got.values()
    assert told["x-headworks-upstream-request-id"] == [dict(HEAD)["X-Request-Id"]]
    assert told["x-request-id"] == told["x-headworks-call"]


def test_all_operations_are_asked_for():
    """The whole description is read: every path and method, and paths that it does not have."""
    assert len(operations()) > 250
    assert len({str(one) for one in operations()}) == len(operations())
    assert not {one.path for one in UNKNOWN} & {one.path for one in operations()}
