"""Whatever goes wrong at once, in hundreds of worlds, the promises hold; and the worlds can tell."""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from headworks.config.settings import RetryConfig
from headworks.ports import Hold, Ledger
from headworks.relay import Relay
from headworks.types import Call, Certainty, RateLimits, Response, Route, Usage
from headworks.upstream.connection import Connection
from tests.faults.simworld.running import happenings, run
from tests.faults.simworld.scenario import Scenario, scenario
from tests.faults.simworld.world import World

SEEDS = int(os.environ.get("SIMWORLD_SEEDS", "200"))
FIRST = int(os.environ.get("SIMWORLD_FIRST", "0"))
CHUNK = 10
REPLAY = ".venv/bin/python -m tests.faults.simworld {} --trace"
EVENTFUL = (
    *("answers 200", "answers 200, broken", "answers 0, broken", "answers 401", "answers 429"),
    *("calls completed", "calls abandoned", "calls deadline_exceeded", "calls all_routes_failed"),
    *("calls rate_limit_exceeded", "calls parallel_limit_exceeded", "calls invalid_api_key"),
    *("calls upstream_stream_truncated", "calls upstream_first_byte_timeout"),
    *("calls of 1 attempts", "calls of 2 attempts", "calls of 3 attempts"),
    *("rows exact", "rows estimated", "rows unknown", "rows released"),
    *("lines fin", "lines rst", "lines hole", "faults surplus"),
    *("calls circuit_open", "calls upstream_cooling_down", "calls context_length_exceeded"),
    *("passed over open", "passed over cooling", "passed over budget", "recoveries"),
    *("chains on rate_limit", "chains on timeout", "chains on content_filter"),
    *("filtered prompt", "filtered answer", "fitted drop_oldest", "fitted drop_middle"),
    *("fitted keep", "fitted summarize", "fitted larger_model"),
    *("calls insufficient_quota", "calls overloaded", "calls queue_full", "calls model_unpriced"),
    *("waited, let in", "waited, sent away", "came as told"),
)
ENOUGH = 60  # seeds in which a fault of our own making must show


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, CHUNK))
def test_promises_hold(first):
    """Calls end once, rows match the provider's books, answers are whole or say that they are not."""
    for seed in range(first, min(first + CHUNK, FIRST + SEEDS)):
        world = run(seed)
        assert not world.findings, f"{REPLAY.format(seed)}\n" + "\n".join(world.findings)


def test_one_seed_is_one_history():
    """A world can be replayed to the byte, in another process too."""
    here = [run(seed).fingerprint for seed in (3, 4, 3)]
    code = "from tests.faults.simworld.__main__ import fingerprint; print(fingerprint(3))"
    env = {**os.environ, "PYTHONHASHSEED": "12345"}
    command, folder = [sys.executable, "-c", code], Path(__file__).parents[2]
    there = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True)
    assert here[0] == here[2] == there.stdout.strip()
    assert here[0] != here[1]


def test_worlds_are_eventful():
    """The worlds try what they are meant to try: every kind of end of an attempt and of a call."""
    seen = sum((happenings(run(seed)) for seed in range(70)), Counter())
    missing = [happening for happening in EVENTFUL if not seen[happening]]
    assert not missing, missing
    assert len([one for one in seen if one.startswith("faults ")]) >= 20


# What the worlds must notice: a product with a fault that we make.


@dataclass
class Wrapped:
    """A ledger that passes everything on; its heirs do one thing wrong."""

    real: Ledger
    count: int = 0

    async def hold(self, call: Call, route: Route, estimate: Usage) -> Hold:
        self.count += 1
        return WrappedHold(self, await self.real.hold(call, route, estimate), self.count)

    def knows(self, call: str) -> bool:
        return self.real.knows(call)

    async def written(self) -> None:
        await self.real.written()

    def settle(self, hold: "WrappedHold", usage: Usage, certainty: Certainty, outcome: str) -> int | None:  # fmt: skip
        return hold.real.settle(usage, certainty, outcome)


@dataclass
class WrappedHold:
    ledger: Wrapped
    real: Hold
    number: int
    measures: frozenset[str] = frozenset()

    @property
    def is_open(self) -> bool:
        return self.real.is_open

    def settle(
        self, usage: Usage, certainty: Certainty, outcome: str, odd: tuple[str, ...] = ()
    ) -> int | None:
        return self.ledger.settle(self, usage, certainty, outcome)

    def release(self, outcome: str) -> None:
        self.real.release(outcome)


class Losing(Wrapped):
    """Loses the third settlement."""

    @override
    def settle(self, hold, usage, certainty, outcome):
        return 0 if hold.number == 3 else super().settle(hold, usage, certainty, outcome)


class Generous(Wrapped):
    """Forgets the last token."""

    @override
    def settle(self, hold, usage, certainty, outcome):
        less = type(usage)(usage.input, max(0, usage.output - 1), usage.cached)
        return super().settle(hold, less, certainty, outcome)


class Forgetful(Wrapped):
    """Books nothing for what broke off."""

    @override
    def settle(self, hold, usage, certainty, outcome):
        seen = usage if certainty == "exact" else Usage()
        return super().settle(hold, seen, certainty, outcome)


class Hasty(Wrapped):
    """Does not wait for the disk."""

    @override
    async def written(self) -> None:
        """Return at once."""


class Absent(Wrapped):
    """Holds a row when the attempt has long begun."""

    @override
    async def hold(self, call, route, estimate):
        hold = LateHold()
        hold.row = asyncio.ensure_future(self.fill(hold, copy(call), route, estimate))
        return hold

    async def fill(self, hold: "LateHold", call: Call, route: Route, estimate: Usage) -> None:
        await asyncio.sleep(0.5)
        real = await self.real.hold(call, route, estimate)
        for name, arguments in hold.said:
            getattr(real, name)(*arguments)


@dataclass
class LateHold:
    said: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    row: Any = None
    measures: frozenset[str] = frozenset()

    @property
    def is_open(self) -> bool:
        return not self.said

    def settle(self, *arguments: Any) -> int | None:
        self.said.append(("settle", arguments))
        return 0

    def release(self, *arguments: Any) -> None:
        self.said.append(("release", arguments))


class Silent(Relay):
    """Drops the event that tells of an error."""

    @override
    async def relay(self, answer, call):
        response = await super().relay(answer, call)
        if not isinstance(response.content, bytes):
            response.content = self.without_errors(response.content)
        return response

    async def without_errors(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            if b'"error":{' not in chunk:
                yield chunk


class Crossed(Relay):
    """Gives each caller the answer before its own."""

    last: Response | None = None

    @override
    async def relay(self, answer, call):
        response = await super().relay(answer, call)
        if isinstance(response.content, bytes):
            last, Crossed.last = Crossed.last, response
            response = copy(response)
            response.content = (last or response).content
        return response


class Splicing(Relay):
    """Says one piece of a stream twice."""

    @override
    async def relay(self, answer, call):
        response = await super().relay(answer, call)
        if not isinstance(response.content, bytes):
            response.content = self.twice(response.content)
        return response

    async def twice(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        number = 0
        async for chunk in chunks:
            number += 1
            yield chunk
            if number == 2:
                yield chunk


@dataclass
class Shifted:
    """Limits that are wrong by one."""

    real: Any
    step: int

    async def reserve(self, call: Call, estimate: Usage) -> Any:
        right = call.caller
        assert right is not None
        rpm, parallel = right.limits.rpm, right.limits.parallel
        wrong = RateLimits(
            None if rpm is None else rpm + self.step,
            None if parallel is None else parallel + self.step,
        )
        call.caller = replace(right, limits=wrong)
        try:
            return await self.real.reserve(call, estimate)
        finally:
            call.caller = right


@dataclass
class Leaking:
    """Limits that keep every other place."""

    real: Any
    count: int = 0

    async def reserve(self, call: Call, estimate: Usage) -> Any:
        self.count += 1
        reservation = await self.real.reserve(call, estimate)
        return reservation if self.count % 2 else self

    def settle(self, usage: Usage) -> None:
        """Do nothing."""


@dataclass
class Twice:
    """A journal that records calls twice, or never."""

    real: Any
    times: int

    def record(self, call: Call) -> None:
        for _ in range(self.times):
            self.real.record(call)


def engine(world: World, **parts: Any) -> None:
    world.assembly.engine = replace(world.assembly.engine, **parts)


def ledger(kind: type[Wrapped]) -> Callable[[World], None]:
    def sabotage(world: World) -> None:
        dispatcher = world.assembly.engine.dispatcher
        engine(world, dispatcher=replace(dispatcher, ledger=kind(dispatcher.ledger)))

    return sabotage


def relay(kind: type[Relay]) -> Callable[[World], None]:
    def sabotage(world: World) -> None:
        real = world.assembly.engine.relay
        engine(world, relay=kind(real.filter, real.clock))

    return sabotage


def limits(wrap: Callable[[Any], Any]) -> Callable[[World], None]:
    return lambda world: engine(world, limits=wrap(world.assembly.engine.limits))


def journal(times: int) -> Callable[[World], None]:
    return lambda world: engine(world, journal=Twice(world.assembly.engine.journal, times))


@dataclass(frozen=True)
class Case:
    """A fault of ours, and what the worlds say to it."""

    name: str
    sabotage: Callable[[World], None]
    says: str


CASES = [
    Case("a settlement is lost", ledger(Losing), "is open"),
    Case("a token is forgotten", ledger(Generous), "exactly, the provider says"),
    Case("a broken answer is free", ledger(Forgetful), "tokens came"),
    Case("an unseen attempt is free", ledger(Forgetful), "at most, the provider says"),
    Case("the last byte is too early", ledger(Hasty), "its last byte leaves"),
    Case("the row comes too late", ledger(Absent), "leaves, and"),
    Case("a stream ends in silence", relay(Silent), "without an error and without an end"),
    Case("answers are crossed", relay(Crossed), "the answer differs in"),
    Case("a stream repeats itself", relay(Splicing), "it ended well, with"),
    Case("a limit is exceeded by one", limits(lambda real: Shifted(real, 1)), "calls began in one"),
    Case("too many at once", limits(lambda real: Shifted(real, 1)), "calls ran at once"),
    Case(
        "a limit refuses too early", limits(lambda real: Shifted(real, -1)), "was refused, though"
    ),
    Case("places leak", limits(Leaking), "parallel places are held"),
    Case("calls are recorded twice", journal(2), "the journal has 2 records"),
    Case("calls are not recorded", journal(0), "the journal has 0 records"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_faults_show(case):
    """A product that breaks a promise is found out."""
    assert is_found(case.says, sabotage=case.sabotage)


def test_a_fourth_attempt_shows():
    """A call that is tried four times is found out."""

    def eager(plan: Scenario) -> Scenario:
        return replace(plan, retry=RetryConfig(4, 0.01, 0.02))

    assert is_found("4 rows", plan=eager)


def test_surplus_bytes_show(monkeypatch):
    """A connection that hands what nobody asked for to the next call is found out."""
    kept: dict[Connection, bytes] = {}
    begin, take = Connection.begin, Connection.buffer_updated

    def keep(self: Connection, nbytes: int) -> None:
        if self._framer is None:
            kept[self] = kept.get(self, b"") + bytes(self._owner.buffer[:nbytes])
        else:
            take(self, nbytes)

    def hand_over(self: Connection, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        if surplus := kept.pop(self, b""):
            self._owner.buffer[: len(surplus)] = surplus
            take(self, len(surplus))

    monkeypatch.setattr(Connection, "buffer_updated", keep)
    monkeypatch.setattr(Connection, "begin", hand_over)
    assert is_found(
        "another tenant's words", plan=lambda plan: plan if "liars" in plan.troubles else None
    )


def is_found(
    says: str,
    *,
    sabotage: Callable[[World], None] = lambda _: None,
    plan: Callable[[Scenario], Scenario | None] = lambda plan: plan,
) -> bool:
    """Whether the fault shows within `ENOUGH` seeds."""
    for seed in range(ENOUGH):
        changed = plan(scenario(seed))
        if changed is None:
            continue
        world = run(seed, plan=changed, sabotage=sabotage)
        if any(says in finding for finding in world.findings):
            return True
    return False
