"""A limit holds in every window wherever it begins, and nearly all of it can be used."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from typing_extensions import override

from headworks.core.admission import Rules
from headworks.testing import FakeResponse
from headworks.types import Caller, RateLimits, Request, Route
from tests.queueing.hall import Desk, Hall, jain

CLIENTS = 200
MINUTES = 3
LONGEST = 100
"""Tokens of the longest answer: as many as the estimator of `tests.world` reckons with."""
PROMPT = 10


@dataclass
class Meter(Desk):
    """A provider whose answers are of any length; it keeps the books.

    Attributes:
        book: When each request came, how many tokens it took, and whose it was.
    """

    book: list[tuple[float, int, str]] = field(default_factory=list[tuple[float, int, str]])

    @override
    async def send(self, request: Request, route: Route, remaining: float) -> FakeResponse:
        begun, who = asyncio.get_running_loop().time(), request.tags.feature
        await super().send(request, route, remaining)
        words = self.chance.randint(1, LONGEST)
        self.book.append((begun, PROMPT + words, who))
        used = {"prompt_tokens": PROMPT, "completion_tokens": words}
        choice = {"message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
        whole = {"object": "chat.completion", "choices": [choice], "usage": used}
        self.answers[-1] = FakeResponse(json.dumps(whole).encode())
        return self.answers[-1]


@dataclass(frozen=True)
class Case:
    """A limit, whose it is, and what is counted by it."""

    id: str
    limits: RateLimits
    of: str = "key"


STRICT = RateLimits(tpm=15_000, reserve="strict")
CASES = (
    Case("requests of a key", RateLimits(rpm=300)),
    Case("tokens of a key", STRICT),
    Case("both", RateLimits(rpm=240, tpm=15_000, reserve="strict")),
    Case("a model of a key", RateLimits(models=(("m", RateLimits(rpm=300)),))),
    Case("everybody's", STRICT, "organisation"),
    Case("a project's", RateLimits(rpm=300), "project"),
    Case("a user's", STRICT, "user"),
    Case("a tag's", RateLimits(rpm=300), "tag"),
)
KEYS = ("a", "b", "c", "d")


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_no_window_holds_more_and_nearly_all_is_used(case: Case):
    """200 clients in bursts, who obey: no sixty seconds hold more than the limit, and 97 % is used.

    Keys that share the limit get the same of it.
    """
    names, desk = KEYS if case.of in {"organisation", "project"} else KEYS[:1], Meter()
    own = case.limits if case.of == "key" else RateLimits()
    keys = {name: Caller(name, name, "shop" * (case.of == "project"), limits=own) for name in names}
    hall = Hall(limits=rules(case), keys=keys, desk=desk)
    ours = {"user": {"user": "ann"}, "tag": {"tags": "nightly"}}.get(case.of, {})

    async def client(number: int) -> None:
        while hall.now < 60 * MINUTES:
            text = f"{number}: {hall.now}"
            told = await hall.call(names[number % len(names)], text, **ours)
            while told.wait is not None:
                await asyncio.sleep(told.wait)
                told = await hall.call(names[number % len(names)], text, **ours)
            if hall.chance.random() < 0.5:
                await asyncio.sleep(10 - hall.now % 10)

    async def lives() -> None:
        await asyncio.gather(*(client(number) for number in range(CLIENTS)))

    hall.run(lives())
    limits = case.limits.models[0][1] if case.limits.models else case.limits
    begun = [when for when, _, _ in desk.book]
    use = 0.0
    for limit, amounts in (
        (limits.rpm, [1 for _ in desk.book]),
        (limits.tpm, [tokens for _, tokens, _ in desk.book]),
    ):
        if limit is not None:
            taken = sorted(zip(begun, amounts, strict=True))
            assert most_in_a_minute(taken) <= limit
            within = sum(one for when, one in taken if when - hall.begun < 60 * MINUTES)
            use = max(use, within / (limit * MINUTES))
    assert use >= 0.97, use
    assert jain(Counter(who for _, _, who in desk.book).values()) >= 0.95


def rules(case: Case) -> Rules:
    """Return the limits of everybody but keys."""
    match case.of:
        case "organisation":
            return Rules(organisation=case.limits)
        case "project":
            return Rules(projects={"shop": case.limits})
        case "user":
            return Rules(user=case.limits)
        case "tag":
            return Rules(tags={"nightly": case.limits})
        case _:
            return Rules()


def most_in_a_minute(taken: Sequence[tuple[float, int]]) -> int:
    """Return the most that any sixty seconds hold; `taken` is in the order of time.

    Those that end where something was taken hold the most.
    """
    most = inside = first = 0
    for when, amount in taken:
        inside += amount
        while taken[first][0] <= when - 60.0:
            inside -= taken[first][1]
            first += 1
        most = max(most, inside)
    return most
