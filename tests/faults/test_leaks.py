"""Nobody ever gets, or leaves behind under his name, a word of somebody else's call."""

import asyncio
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from headworks import engine
from headworks.stores import idempotency
from headworks.types import Caller, Request
from headworks.upstream.connection import Connection
from tests.faults.leakasks import KINDS
from tests.faults.leakfindings import Findings
from tests.faults.leakhunter import SEED, hunt
from tests.faults.leakswarm import swarm

pytestmark = pytest.mark.anyio

CALLS, OVER_SOCKETS, FEW = 100_000, 1_500, 2_000
TRAITS = {
    "1xx flood",
    "1xx with a body",
    "client token",
    "early answer",
    "half an answer",
    "idempotency key of another body",
    "idempotency key of another user",
    "made good",
    "on used connections",
    "repeated",
    "replayed",
    "same packet",
    "the other shape",
}
PATIENCE = 600.0
"""Seconds for half of the calls on a machine that does ten other things; it takes twenty."""


@pytest.mark.timeout(2 * PATIENCE)
async def test_a_hundred_thousand_calls(figure):
    """Fifty tenants, all endpoints, a lying provider, calls cancelled anywhere: no foreign word."""
    halves = await asyncio.gather(*(_half(SEED + number) for number in range(2)))
    for told in halves:
        figure(f"leaks: {told.strip()}")
        counts = {name: int(count) for name, count in re.findall(r"'([^']+)': (\d+)", told)}
        assert {*KINDS, *TRAITS} <= {name for name, count in counts.items() if count}
        assert counts["answer says its tag"] > CALLS / 2 * 0.8
        assert counts["journal"] > CALLS / 2 * 0.95
        assert counts["ledger"] > CALLS / 2 * 0.9
        assert int(re.findall(r"(\d+) cancelled", told)[0]) > CALLS / 2 * 0.1


async def _half(seed: int) -> str:
    """Make half of the calls in a process of its own, at full speed; return what it says."""
    words = ("-m", "tests.faults.leakswarm", "--calls", str(CALLS // 2), "--seed", str(seed))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, stdout=asyncio.subprocess.PIPE
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    told = said.decode()
    assert process.returncode == 0, told
    assert " 0 leaks" in told
    return told


async def test_calls_over_sockets(tmp_path, figure):
    """The same through the gateway on real connections, whose callers hang up."""
    found = await hunt(tmp_path, OVER_SOCKETS)

    assert found.findings.leaks == []
    assert len(found.findings.calls) >= OVER_SOCKETS
    assert found.cancelled > OVER_SOCKETS / 20
    assert {*KINDS, "client token", "made good", "replayed"} <= {*+found.seen}
    read = found.findings.read
    assert min(read["answer"], read["ledger"], read["journal"]) > OVER_SOCKETS * 0.6
    figure(
        f"leaks over sockets: seed {SEED}, {len(found.findings.calls)} calls, {found.cancelled} "
        f"cancelled, {dict(found.statuses)}, seen {dict(found.seen)}, read {dict(read)}"
    )


# It can fail: leaks that are put into the product, and into its provider, are found.


def _one_memory(_caller: Caller, key: str) -> bytes:
    """Keep all callers' answers in one place."""
    return key.encode()


def _go_on(connection: Connection) -> None:
    """Keep the connection of a call that was given up: what still comes is the next one's answer."""
    framer, connection._framer = connection._framer, None
    if framer is not None:
        connection._owner.release(connection)


def _refuse_nothing(_one: bytes, _other: bytes) -> None:
    """Take any request for the one that had the key."""


class _Mixing:
    """Books now and then a call under the name of the one before."""

    def __init__(self) -> None:
        self.before: Request | None = None
        self.count = 0

    def __call__(self, request: Request, caller: Caller) -> Request:
        self.count += 1
        before, self.before = self.before, request
        if self.count % 100 or before is None:
            return request
        return msgspec.structs.replace(request, tags=before.tags)


@dataclass(frozen=True)
class Plant:
    """A leak.

    Attributes:
        broken: What is broken: where it is, its name, and what makes the broken one.
        more: What the provider does.
        found: Where it must be found, at least.
    """

    name: str
    found: frozenset[str]
    broken: tuple[tuple[Any, str, Callable[[], Any]], ...] = ()
    more: dict[str, Any] = field(default_factory=dict[str, Any])


ANSWERS = frozenset({"answer", "answer says its tag"})
PLANTS = (
    Plant(
        "an idempotency key for all",
        ANSWERS,
        (
            (idempotency, "place", lambda: _one_memory),
            (idempotency, "_refuse_other", lambda: _refuse_nothing),
        ),
    ),
    Plant("connections of cancelled calls", ANSWERS, ((Connection, "abort", lambda: _go_on),)),
    Plant(
        "another one's name",
        frozenset({"journal knows whose call it is", "ledger knows whose call it is"}),
        ((engine, "tagged", _Mixing),),
    ),
    Plant("a confused provider", ANSWERS, more={"confuses": True}),
)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_a_planted_leak_is_found(monkeypatch, plant: Plant):
    """The hunt is no formality."""
    for thing, name, make in plant.broken:
        monkeypatch.setattr(thing, name, make())
    found = swarm(FEW, **plant.more)

    assert {leak.where for leak in found.findings.leaks} >= plant.found


async def test_a_confused_provider_is_found_over_sockets(tmp_path):
    """Nor is it one over sockets: answers that go to the wrong tenant are found."""
    found = await hunt(tmp_path, 2000, confuses=True)  # some twenty wrong answers

    assert {leak.where for leak in found.findings.leaks} >= ANSWERS


def test_finds_words_in_every_sink():
    """A line with two tenants' tags, or one where none may be, is a leak."""
    findings = Findings()
    findings.look_for_one("log", b"t01-000001 and t01-000001 again")
    findings.look("answer", b"to t01-000001", [b"t01-000001"])
    assert findings.leaks == []

    findings.look_for_one("log", b"t01-000001 beside t02-000002")
    findings.look("metrics", b"t03-000003", ())
    findings.demand("ledger", "t04-000004", holds=False)
    assert [(leak.where, leak.found[:10]) for leak in findings.leaks] == [
        ("log", "t02-000002"),
        ("metrics", "t03-000003"),
        ("ledger", "something "),
    ]
