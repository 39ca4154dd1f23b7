"""Answers to equal requests are made faster, and nobody can tell."""

from functools import partial
from typing import Any

import msgspec
import pytest

from headworks.simulator import Simulator, SimulatorConfig
from headworks.simulator.asked import Asked
from headworks.simulator.moulds import Moulds, Poured
from headworks.simulator.reply import Body, Raw
from headworks.testing import FakeClock
from headworks.types import Usage
from tests.simulator.conftest import PRICES, Visit

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
HELLO: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
JSON = {"response_format": {"type": "json_object"}}
SERIALS = [f"{n:x}" * 48 for n in range(1, 6)]


async def bodies(requests: list[tuple[str, dict[str, Any]]]) -> list[bytes]:
    """Return the answers of a new simulator to these requests, ten seconds apart."""
    clock = FakeClock()
    app = Simulator(SimulatorConfig(prices=PRICES, seed=3), clock)
    found: list[bytes] = []
    for path, fields in requests:
        visit = Visit(path, fields)
        await visit.run(app)
        found.append(visit.body)
        clock.advance(10)
    return found


@pytest.mark.anyio
@pytest.mark.parametrize(
    "fields",
    [
        HELLO,
        HELLO | {"n": 3, "max_tokens": 5},
        HELLO | {"seed": 5, "logprobs": True},
        HELLO | {"messages": [{"role": "user", "content": "Say JSON"}]} | JSON,
        HELLO | {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        HELLO | {"messages": [{"role": "user", "content": "river mill " * 1000}]},
    ],
)
async def test_the_fifth_equal_answer_is_as_if_it_were_the_first_of_its_kind(fields):
    """Id, time, words, usage and cached tokens are those that composing it gives."""
    other = [(CHAT, HELLO | {"user": str(n), "messages": fields["messages"]}) for n in range(4)]
    poured = await bodies([(CHAT, fields)] * 5)
    composed = await bodies([*other, (CHAT, fields)])

    assert poured[4] == composed[4]
    assert len({msgspec.json.decode(body)["id"] for body in poured}) == 5


@pytest.mark.anyio
async def test_embeddings_are_the_same_each_time():
    """A vector from a mould is the vector."""
    fields = {"model": "text-embedding-3-small", "input": "Hello"}
    found = await bodies([(EMBEDDINGS, fields)] * 4)

    assert len(set(found)) == 1


def asked(n: int, **fields: Any) -> Asked:
    """The n-th request of a row of equal ones."""
    return Asked("POST", CHAT, "key", SERIALS[n], 1_000 + n, fields)


def answered(moulds: Moulds, compose, count: int = 5, **fields: Any) -> list[Body]:
    """Make so many equal requests."""
    made: list[Body] = []
    for n in range(count):
        one = asked(n, **fields)
        made.append(moulds.answer(one, b"{}", partial(compose, one, n)))
    return made


def test_from_the_third_on_they_are_poured():
    """One answer to take the mould from, one to prove it."""

    def compose(one, _n):
        content = f'{{"id":"chatcmpl-{one.serial[:29]}","created":{one.created}}}'
        return Raw(content.encode(), "application/json", Usage(5, 5))

    made = answered(Moulds(), compose)

    assert [isinstance(body, Poured) for body in made] == [False, False, True, True, True]
    expected = f'{{"id":"chatcmpl-{SERIALS[4][:29]}","created":1004}}'.encode()
    assert (made[4].whole(usage=True), made[4].usage) == (expected, Usage(5, 5))


@pytest.mark.parametrize(
    ("usage", "fields"),
    [
        (lambda n: Usage(5, n), {}),
        (lambda _: Usage(1024, 5), {}),
        (lambda _: Usage(5, 5), {"store": True}),
        (lambda _: Usage(5, 5), {"stream": True}),
    ],
)
def test_what_changes_or_leaves_a_trace_is_composed_each_time(usage, fields):
    """Usage that differs, prompts that are remembered, stored answers and streams are never poured."""
    made = answered(Moulds(), lambda _, n: Raw(b"same", "text/plain", usage(n)), **fields)

    assert not any(isinstance(body, Poured) for body in made)


def test_an_answer_with_chance_in_it_is_composed_each_time():
    """What differs in any other way than by its id and time is never poured."""
    made = answered(Moulds(), lambda _, n: Raw(b"%d" % (n * 7), "text/plain"))

    assert [body.whole(usage=True) for body in made] == [b"0", b"7", b"14", b"21", b"28"]
