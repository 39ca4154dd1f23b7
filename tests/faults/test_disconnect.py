"""A caller who hangs up stops the provider's work at once, and pays for what was done, once."""

import asyncio
import gc
import json
import random
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path
from types import CoroutineType
from typing import Any, Literal

import pytest

import headworks
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
    request,
)
from tests.upstream.scripted import Wire, serve, until, whole

pytestmark = pytest.mark.anyio

SEED = 20261124
POINTS = 20
OURS = str(Path(headworks.__file__).parent)
BOUND = 1.0
ALONE = f"alone-{KEY}"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
WHOLE = json.dumps({
    "id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-6-sol",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Well."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10},
}).encode()  # fmt: skip

Where = Literal["silent", "half", "between", "flowing", "waiting"]
WHERES: tuple[Where, ...] = ("silent", "half", "between", "flowing", "waiting")


@dataclass(frozen=True)
class Point:
    """Where in a call its caller leaves, and how.

    Attributes:
        where: Before the answer's head; in the middle of a whole answer's body; after `events`
            events, while the provider is still or while it goes on; or between two attempts.
        reset: Whether the caller's connection is reset; else it ends in order.
    """

    name: str
    where: Where
    events: int
    stream: bool
    reset: bool


def points(chance: random.Random) -> list[Point]:
    return [
        Point(
            f"point-{n}",
            where := WHERES[n % len(WHERES)] if n < len(WHERES) * 2 else chance.choice(WHERES),
            chance.randrange(1, 40),
            stream=where in {"between", "flowing"} or (where != "half" and chance.random() < 0.5),
            reset=chance.random() < 0.5,
        )
        for n in range(POINTS)
    ]


def load_vocabulary(gateway: Gateway) -> None:
    """Load what counts abandoned answers: its library stops the process while it loads."""
    gateway.assembly.tokenizer.load_soon(["o200k_base"])
    assert gateway.assembly.tokenizer.wait_loaded()


def word(number: int) -> bytes:
    """Return one event of one word as a chunk of the transfer coding."""
    delta = {"content": f" word{number}"}
    event = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]}
    data = b"data: " + json.dumps(event).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass
class Provider:
    """Answers as each point's name orders, and notes when the gateway let go of it."""

    known: dict[str, Point] = field(default_factory=dict)
    reached: dict[str, asyncio.Event] = field(default_factory=dict)
    left: dict[str, float] = field(default_factory=dict)

    def expect(self, point: Point) -> asyncio.Event:
        """Return an event that is set when the call stands at its point, as far as is known here."""
        self.known[point.name] = point
        self.reached[point.name] = asyncio.Event()
        return self.reached[point.name]

    async def __call__(self, wire: Wire) -> None:
        while True:
            content = await wire.request()
            fields = json.loads(content.partition(b"\r\n\r\n")[2])
            point = self.known.get(fields["messages"][0]["content"])
            if point is None:
                await wire.send(whole(WHOLE, fields=b"content-type: application/json\r\n"))
                continue
            await self.stand(wire, point)
            if point.where != "waiting":
                await wire.gone()
                self.left[point.name] = asyncio.get_running_loop().time()
                return

    async def stand(self, wire: Wire, point: Point) -> None:
        """Bring the call to its point."""
        if point.where == "half":
            answer = whole(WHOLE, fields=b"content-type: application/json\r\n")
            await wire.send(answer[:-20])
        elif point.where == "waiting":
            await wire.send(whole(b"{}", 503, b"retry-after: 4\r\n"))
        elif point.where in {"between", "flowing"}:
            await wire.send(HEAD + b"".join(map(word, range(point.events))))
        self.reached[point.name].set()
        if point.where == "flowing":
            await self.flow(wire)

    async def flow(self, wire: Wire) -> None:
        """Go on for ever; ends when the gateway is gone."""
        gone = asyncio.ensure_future(wire.gone())
        number = 1000
        while not gone.done():
            await wire.send(word(number))
            number += 1
            await asyncio.sleep(0.001)


async def leave(line: Line, *, reset: bool) -> float:
    """Hang up; return when, on the loop's clock."""
    if reset:
        sock = line.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    now = asyncio.get_running_loop().time()
    line.writer.transport.abort() if reset else line.writer.close()
    return now


async def read_words(line: Line, count: int) -> None:
    """Read the head of a stream and its first `count` words."""
    await line.head(Reply())
    await line.reader.readuntil(f' word{count - 1}"'.encode())


async def abandon(gateway: Gateway, provider: Provider, point: Point) -> float:
    """Make a call, hang up at its point; return how long the provider was kept busy after that."""
    reached = provider.expect(point)
    content = chat(
        key=ALONE,
        stream=point.stream,
        messages=[{"role": "user", "content": point.name}],
        headers={"x-headworks-user": point.name},
    )
    async with line_to(gateway.port) as line:
        line.writer.write(content)
        await reached.wait()
        if point.where in {"between", "flowing"}:
            await read_words(line, point.events)
        if point.where == "waiting":
            await until(lambda: is_closed(gateway, point))
        gone = await leave(line, reset=point.reset)
        await until(lambda: gateway.assembly.limits.statistics().in_flight == 0)
        if point.where == "waiting":
            return asyncio.get_running_loop().time() - gone
        await until(lambda: point.name in provider.left)
    return provider.left[point.name] - gone


def is_closed(gateway: Gateway, point: Point) -> bool:
    """Whether the point's first attempt is over, so that its call waits for the second."""
    return any(row["user"] == point.name and row["state"] != "held" for row in gateway.rows())


def assert_billed(gateway: Gateway, point: Point) -> None:
    """The call has one row, closed, of never less than the caller had."""
    row = gateway.row(point.name)
    assert row["state"] == "settled", row
    if point.where == "waiting":
        assert (row["certainty"], row["cost_nano"]) == ("exact", 0)
        return
    assert row["certainty"] == (
        "estimated" if point.stream and point.where != "silent" else "unknown"
    )
    assert row["input"] > 0
    assert row["output"] >= (point.events if point.where in {"between", "flowing"} else 1)
    assert row["cost_nano"] > 0


async def test_twenty_points(tmp_path, figure):
    """Wherever a caller hangs up, the provider is let go at once and the call is booked once."""
    chance = random.Random(SEED)
    provider = Provider()
    longest: dict[str, float] = {}
    async with (
        serve(provider) as server,
        gateway_of(configuration(tmp_path, server.port)) as gateway,
    ):
        load_vocabulary(gateway)
        assert (await ask(gateway.port, chat(key=ALONE))).status == 200
        before = await holdings(gateway)
        for point in points(chance):
            took = await abandon(gateway, provider, point)
            assert took < BOUND, point
            longest[point.where] = max(took, longest.get(point.where, 0.0))
            assert_billed(gateway, point)
            again = await ask(gateway.port, chat(key=ALONE))
            assert again.status == 200, (point, again)
        after = await holdings(gateway)

    assert after == before
    measured = ", ".join(f"{where} {took * 1000:.1f}" for where, took in sorted(longest.items()))
    figure(f"disconnect: seed {SEED}, {POINTS} points, ms until the provider was free: {measured}")


async def holdings(gateway: Gateway) -> dict[str, float]:
    """Return what is held while no call is made: tasks, connections, rows, calls in flight."""
    client = gateway.assembly.clients["up"]
    await until(lambda: client.statistics().busy == 0)
    metrics = await ask(
        gateway.admin, request(b"", line="GET /metrics HTTP/1.1", headers={"host": "localhost"})
    )
    [in_flight] = [
        line for line in metrics.body.split(b"\n") if line.startswith(b"headworks_in_flight ")
    ]
    await until(lambda: not gateway.server._data._state.connections)
    gc.collect()
    return {
        "tasks": len([task for task in asyncio.all_tasks() if is_ours(task)]),
        "busy connections": client.statistics().busy,
        "waiting for a connection": client.statistics().waiting,
        "open rows": gateway.assembly.ledger.statistics().open_holds,
        "duplicates": gateway.assembly.ledger.statistics().duplicates,
        "calls": gateway.assembly.limits.statistics().in_flight,
        "in flight": float(in_flight.split()[1]),
    }


def is_ours(task: "asyncio.Task[Any]") -> bool:
    """Whether a task runs the gateway's code: others belong to the provider and to the test."""
    coroutine = task.get_coro()
    return isinstance(coroutine, CoroutineType) and coroutine.cr_code.co_filename.startswith(OURS)


async def test_two_hundred_leave_at_once(tmp_path, figure):
    """A crowd that hangs up at random moments leaves nothing behind, and no row open."""
    chance = random.Random(SEED + 1)
    provider = Provider()
    async with (
        serve(provider) as server,
        gateway_of(configuration(tmp_path, server.port)) as gateway,
    ):
        assert (await ask(gateway.port, chat())).status == 200
        before = await holdings(gateway)
        crowd = [
            Point(
                f"crowd-{n}",
                chance.choice(WHERES[:4]),
                chance.randrange(1, 9),
                stream=chance.random() < 0.7,
                reset=chance.random() < 0.5,
            )
            for n in range(200)
        ]
        begun = asyncio.get_running_loop().time()
        await asyncio.gather(
            *(flee(gateway, provider, point, chance.uniform(0, 0.3)) for point in crowd)
        )
        await until(lambda: gateway.assembly.limits.statistics().in_flight == 0)
        assert await holdings(gateway) == before
        took = asyncio.get_running_loop().time() - begun

    booked = [row for row in gateway.rows() if row["user"].startswith("crowd-")]
    assert len({row["user"] for row in booked}) == len(booked)
    assert {row["state"] for row in booked} <= {"settled", "released"}
    assert all(row["input"] > 0 for row in booked if row["state"] == "settled")
    figure(
        f"disconnect: seed {SEED + 1}, 200 at once, {len(booked)} had been sent, "
        f"all over in {took:.2f} s"
    )


async def flee(gateway: Gateway, provider: Provider, point: Point, seconds: float) -> None:
    """Make a call and hang up after so many seconds, wherever it stands then."""
    provider.expect(point)
    content = chat(
        stream=point.stream,
        messages=[{"role": "user", "content": point.name}],
        headers={"x-headworks-user": point.name},
    )
    async with line_to(gateway.port) as line:
        line.writer.write(content)
        await asyncio.sleep(seconds)
        await leave(line, reset=point.reset)
