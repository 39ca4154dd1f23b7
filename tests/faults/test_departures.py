"""Callers who leave, over real sockets, by both policies of their keys, and calls out of time."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from tests.faults.processes import (
    KEY,
    Gateway,
    Line,
    Reply,
    ask,
    chat,
    configuration,
    gateway_of,
    line_to,
    rows,
)
from tests.faults.test_disconnect import BOUND, HEAD, WHOLE, leave, load_vocabulary, word
from tests.upstream.scripted import Wire, serve, until, whole

pytestmark = pytest.mark.anyio

LATE = f"late-{KEY}"
LINE = f"line-{KEY}"
KEYS = f"""\
  - {{name: late, secret: "{LATE}", on_disconnect: drain, limits: {{parallel: 1, queue: 0}}}}
  - {{name: line, secret: "{LINE}", limits: {{parallel: 1}}}}
"""
HELD = "  held: {routes: [up/gpt-6-sol], stream: {commit: complete}}\nkeys:\n"
JSON = b"content-type: application/json\r\n"
LAST = {
    "object": "chat.completion.chunk",
    "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10},
}
SOON = {"x-headworks-deadline": "1s"}
BIG = 4 * 1024 * 1024
"""Bytes of a stream that no socket's buffers hold, as the gateway sets them."""
BLINK = 0.1
"""Seconds in which a provider is let go of, on a machine that is not busy."""


@dataclass
class Provider:
    """Answers as the first word of a message orders, and waits in the middle until it may go on.

    Attributes:
        asked: Requests that came, by their first words.
        standing: Set when an answer stands in its middle.
        left: When the gateway let go of an answer that was not over, on the loop's clock.
    """

    asked: list[str] = field(default_factory=list[str])
    standing: asyncio.Event = field(default_factory=asyncio.Event)
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)
    left: list[float] = field(default_factory=list[float])

    async def __call__(self, wire: Wire) -> None:
        while True:
            content = await wire.request()
            fields = json.loads(content.partition(b"\r\n\r\n")[2])
            order = fields["messages"][0]["content"]
            self.asked.append(order)
            begin, end = answer_to(order, is_first=self.asked.count(order) == 1)
            await wire.send(begin)
            self.standing.set()
            if end and not await self.may_go_on(wire):
                self.left.append(asyncio.get_running_loop().time())
                return
            await wire.send(end)

    async def may_go_on(self, wire: Wire) -> bool:
        gone = asyncio.ensure_future(wire.gone())
        released = asyncio.ensure_future(self.goes_on.wait())
        await asyncio.wait((gone, released), return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        released.cancel()
        await asyncio.wait((gone, released))
        return not gone.done() or gone.cancelled()


def answer_to(order: str, *, is_first: bool) -> tuple[bytes, bytes]:
    """Return what a provider says at once, and what it says when it may go on."""
    answer = whole(WHOLE, fields=JSON)
    flood = b"".join(map(word, range(BIG // 150))) if order == "flood" else b""
    orders = {
        "head": (b"", answer),
        "half": (answer[:-20], answer[-20:]),
        "events": (HEAD + word(1) + word(2), ending()),
        "held": (HEAD + word(1) + word(2), ending()),
        "flood": (HEAD + word(1), flood + ending()),
        "cools": (whole(b"{}", 429, b"retry-after: 30\r\n"), b""),
    }
    if is_first:
        orders["waits"] = whole(b"{}", 503, b"retry-after: 4\r\n"), b""
    return orders.get(order, (answer, b""))


def ending() -> bytes:
    data = b"data: " + json.dumps(LAST).encode() + b"\n\ndata: [DONE]\n\n"
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)


@asynccontextmanager
async def stage(folder: Path, connections: int = 1000) -> AsyncGenerator[tuple[Gateway, Provider]]:
    """Run a provider, and a gateway with a key that drains, a held model and so many connections."""
    provider = Provider()
    async with serve(provider) as server:
        file = configuration(folder, server.port)
        text = (
            file.read_text()
            .replace("keys:\n", HELD)
            .replace("    timeouts:", f"    connections: {connections}\n    timeouts:")
        )
        file.write_text(text + KEYS)
        async with gateway_of(file) as gateway:
            load_vocabulary(gateway)
            yield gateway, provider


def order(what: str, key: str, **fields: Any) -> bytes:
    model = {"held": "held"}.get(what, "single")
    stream = what in {"events", "held", "flood"}
    message = [{"role": "user", "content": what}]
    headers = {"x-headworks-user": what}
    return chat(key=key, model=model, stream=stream, messages=message, headers=headers | fields)


async def standing(line: Line, provider: Provider, what: str) -> None:
    """Wait until the call stands at its point, as far as its caller has heard of it."""
    await provider.standing.wait()
    if what in {"events", "flood"}:
        await line.head(Reply())
        await line.reader.readuntil(b" word1")


async def idle(gateway: Gateway) -> None:
    """Wait until nothing of any call is left."""
    await until(lambda: gateway.server.lifecycle.in_flight == 0)
    assert gateway.assembly.limits.statistics().in_flight == 0
    assert gateway.assembly.clients["up"].statistics().busy == 0
    await until(lambda: gateway.assembly.ledger.statistics().open_holds == 0)


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("what", ["head", "half", "events", "held"])
async def test_cancel_lets_go_of_the_provider(tmp_path, figure, what, reset):
    """A key that says nothing: the provider's work ends with its caller, and is booked."""
    async with stage(tmp_path) as (gateway, provider), line_to(gateway.port) as line:
        line.writer.write(order(what, KEY))
        await standing(line, provider, what)
        gone = await leave(line, reset=reset)
        await until(lambda: bool(provider.left))
        took = provider.left[0] - gone
        await idle(gateway)
        row = gateway.row(what)
    assert took < BOUND
    assert (row["state"], row["outcome"]) == ("settled", "abandoned")
    assert row["certainty"] != "exact"
    figure(f"departure: {what}: provider free after {took * 1000:.1f} ms (target {BLINK * 1000:g})")


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("what", ["head", "half", "events", "held"])
async def test_drain_reads_the_answer_to_its_end(tmp_path, what, reset):
    """A key that drains keeps its place until the answer is over, and pays what the provider says."""
    async with stage(tmp_path) as (gateway, provider):
        async with line_to(gateway.port) as line:
            line.writer.write(order(what, LATE))
            await standing(line, provider, what)
            await leave(line, reset=reset)
        await until(lambda: not gateway.server._data._state.connections)

        refused = await ask(gateway.port, order("other", LATE))
        assert (refused.status, refused.error["code"]) == (429, "parallel_limit_exceeded")
        assert gateway.server.lifecycle.in_flight == 1
        provider.goes_on.set()
        await idle(gateway)
        row = gateway.row(what)
        assert (await ask(gateway.port, order("other", LATE))).status == 200

    assert (row["state"], row["outcome"], row["certainty"]) == ("settled", "drained", "exact")
    assert (row["input"], row["output"]) == (8, 2)
    assert provider.left == []


@pytest.mark.parametrize("key", [KEY, LATE], ids=["cancel", "drain"])
@pytest.mark.parametrize("what", ["waits", "cools"])
async def test_who_leaves_during_a_wait_is_not_asked_for(tmp_path, key, what):
    """Between two attempts there is nothing to finish: whatever the policy, all is released."""
    async with stage(tmp_path) as (gateway, provider):
        if what == "cools":
            assert (await ask(gateway.port, order(what, KEY, **SOON))).status == 429
        async with line_to(gateway.port) as line:
            line.writer.write(order(what, key))
            await until(lambda: gateway.assembly.limits.statistics().in_flight == 1)
            if what == "waits":
                await until(lambda: any(row["state"] != "held" for row in gateway.rows()))
            now = asyncio.get_running_loop().time
            gone = await leave(line, reset=False)
            await idle(gateway)
            took = now() - gone
    assert took < BOUND
    assert provider.asked == [what]


@pytest.mark.parametrize("key", [KEY, LATE], ids=["cancel", "drain"])
@pytest.mark.parametrize("how", ["rst", "half"])
async def test_who_stops_reading_and_leaves_is_noticed(tmp_path, key, how):
    """A full socket hides no departure; under drain the rest is read although nobody takes it."""
    async with stage(tmp_path) as (gateway, provider), line_to(gateway.port) as line:
        line.writer.write(order("flood", key))
        await standing(line, provider, "flood")
        cast("asyncio.Transport", line.writer.transport).pause_reading()
        provider.goes_on.set()
        flows = [cast("Any", one).flow for one in gateway.server._data._state.connections]
        await until(lambda: any(flow.write_paused for flow in flows))
        if how == "half":
            line.writer.write_eof()
        else:
            await leave(line, reset=True)
        gone = asyncio.get_running_loop().time()
        await idle(gateway)
        took = asyncio.get_running_loop().time() - gone
        row = gateway.row("flood")
    assert (row["outcome"], row["certainty"]) == (
        ("abandoned", "estimated") if key == KEY else ("drained", "exact")
    )
    assert key == LATE or took < BOUND


@pytest.mark.parametrize("is_cut", [False, True], ids=["in time", "too late"])
async def test_a_stop_waits_for_what_is_read_for_nobody(tmp_path, is_cut):
    """SIGTERM's drain counts it as in flight; what is cut is booked as seen."""
    async with stage(tmp_path) as (gateway, provider):
        async with line_to(gateway.port) as line:
            line.writer.write(order("events", LATE))
            await standing(line, provider, "events")
            await leave(line, reset=True)
        await until(lambda: not gateway.server._data._state.connections)
        gateway.server.stop(at_once=is_cut)
        if not is_cut:
            await until(lambda: gateway.server._data._bound.fileno() == -1)
            assert not gateway.server.ended.is_set()
            provider.goes_on.set()
        await gateway.server.ended.wait()
    (row,) = rows(tmp_path)
    assert (row["outcome"], row["certainty"]) == (
        ("abandoned", "estimated") if is_cut else ("drained", "exact")
    )


CLIENTS = [{"x-headworks-deadline": "5s"}, {"x-stainless-read-timeout": "5"}]


@pytest.mark.parametrize("patience", CLIENTS, ids=["header", "official client"])
async def test_a_wait_beyond_the_deadline_is_answered_at_once(tmp_path, patience):
    """O09: a provider that asks for 30 s, callers that wait 5: told at once, and nobody is asked."""
    async with stage(tmp_path) as (gateway, provider):
        assert (await ask(gateway.port, order("cools", KEY, **patience))).status == 429
        now = asyncio.get_running_loop().time
        begun = now()
        replies = [await ask(gateway.port, order("cools", KEY, **patience)) for _ in range(20)]
        took = now() - begun
    assert {reply.error["code"] for reply in replies} == {"upstream_cooling_down"}
    assert {reply.headers["x-should-retry"] for reply in replies} == {"false"}
    assert min(float(reply.headers["retry-after"]) for reply in replies) > 25
    assert took < BOUND
    assert provider.asked == ["cools"]


async def test_a_crowd_that_has_gone_is_never_asked_for(tmp_path):
    """O09: forty callers wait for a provider's pause and leave one by one: it hears of none."""
    async with stage(tmp_path) as (gateway, provider):
        assert (await ask(gateway.port, order("cools", KEY, **SOON))).status == 429
        for number in range(40):
            async with line_to(gateway.port) as line:
                line.writer.write(order("cools", (KEY, LATE)[number % 2]))
                await until(lambda: gateway.assembly.limits.statistics().in_flight == 1)
                await leave(line, reset=number % 3 == 0)
            await idle(gateway)
    assert provider.asked == ["cools"]
    assert len(rows(tmp_path)) == 1


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
async def test_who_leaves_the_queue_is_never_asked_for(tmp_path, reset):
    """O09: twenty callers wait for one place and leave: the provider hears of none, the next goes out."""
    async with stage(tmp_path) as (gateway, provider), line_to(gateway.port) as first:
        queue = gateway.assembly.queue
        first.writer.write(order("head", LINE))
        await provider.standing.wait()
        for number in range(20):
            async with line_to(gateway.port) as line:
                line.writer.write(order(f"gone {number}", LINE))
                await until(lambda: queue.statistics().waiting["interactive"] == 1)
                await leave(line, reset=reset)
            await until(lambda: queue.statistics().waiting["interactive"] == 0)
        async with line_to(gateway.port) as last:
            last.writer.write(order("stays", LINE))
            await until(lambda: queue.statistics().waiting["interactive"] == 1)
            provider.goes_on.set()
            assert (await first.reply()).status == 200
            assert (await last.reply()).status == 200
        await idle(gateway)
    assert provider.asked == ["head", "stays"]
    assert queue.statistics().left == 20
    assert [row["user"] for row in rows(tmp_path)] == ["head", "stays"]


async def test_a_caller_with_less_time_than_its_turn_is_told_at_once(tmp_path):
    """O09: five seconds before a queue of thirty: told when to come, and never asked for."""
    async with stage(tmp_path) as (gateway, provider), line_to(gateway.port) as first:
        first.writer.write(order("head", LINE))
        await provider.standing.wait()
        late = [await ask(gateway.port, order("late", LINE, **SOON)) for _ in range(2)]
        provider.goes_on.set()
        assert (await first.reply()).status == 200
        await idle(gateway)
    assert {reply.error["code"] for reply in late} <= {
        "deadline_exceeded",
        "parallel_limit_exceeded",
    }
    assert provider.asked == ["head"]
