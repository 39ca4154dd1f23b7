"""Two hundred callers who hang up wherever a stream can stand: in a queue, between routes, in mid-word."""

import asyncio
import json
import random
from collections import Counter
from typing import Any

import pytest
from typing_extensions import override

from tests.faults.processes import Gateway, chat, configuration, gateway_of, line_to
from tests.faults.test_disconnect import (
    ALONE,
    Point,
    Provider,
    Where,
    holdings,
    leave,
    load_vocabulary,
    read_words,
)
from tests.streams.crowd import part
from tests.upstream.scripted import Wire, serve, until, whole

pytestmark = pytest.mark.anyio

SEED = 20261123
POINTS, AT_ONCE = 200, 20
BOUND = 1.0
"""Seconds after which ninety-nine of a hundred are let go; a tenth of it is usual."""
WHERES: tuple[Where, ...] = ("silent", "between", "flowing", "half")
FALLBACK, QUEUED = "fallback", "queued"


class Routes(Provider):
    """Refuses the first attempt of each call whose caller leaves during the second."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = set[str]()

    def hold(self) -> str:
        """Return the name of a call that is never answered."""
        point = Point("held", "silent", 1, stream=True, reset=False)
        self.expect(point)
        return point.name

    @override
    async def __call__(self, wire: Wire) -> None:
        while True:
            content = await wire.request()
            name = json.loads(content.partition(b"\r\n\r\n")[2])["messages"][0]["content"]
            if name.startswith(FALLBACK) and name not in self.refused:
                self.refused.add(name)
                await wire.send(whole(b"{}", 503))
                continue
            try:
                await self.stand(wire, self.known[name])
                await wire.gone()
            finally:
                self.left[name] = asyncio.get_running_loop().time()
            return


def points(chance: random.Random) -> list[Point]:
    """Return as many of each place, in any order; half of the connections are reset."""
    names = [*WHERES, FALLBACK, QUEUED]
    made = []
    for number in range(POINTS):
        name = names[number % len(names)]
        where: Where = next((one for one in WHERES if one == name), "silent")
        made.append(
            Point(
                f"{name}-{number}",
                where,
                chance.randrange(1, 40),
                stream=where != "half",
                reset=chance.random() < 0.5,
            )
        )
    chance.shuffle(made)
    return made


async def abandon(gateway: Gateway, provider: Routes, point: Point) -> float:
    """Make a call, hang up at its point; return how long the provider was kept busy after that."""
    reached = provider.expect(point)
    content = chat(
        stream=point.stream,
        messages=[{"role": "user", "content": point.name}],
        headers={"x-headworks-user": point.name},
    )
    async with line_to(gateway.port) as line:
        line.writer.write(content)
        await reached.wait()
        if point.where in {"between", "flowing"}:
            await read_words(line, point.events)
        gone = await leave(line, reset=point.reset)
        await until(lambda: point.name in provider.left)
    return provider.left[point.name] - gone


async def abandon_queued(gateway: Gateway, point: Point) -> float:
    """Hang up behind one who holds the key's only place; return how long we then waited on."""
    queue = gateway.assembly.queue
    left = queue.statistics().left
    async with line_to(gateway.port) as line:
        line.writer.write(asked_alone(point.name))
        await until(lambda: sum(queue.statistics().waiting.values()) == 1)
        gone = await leave(line, reset=point.reset)
        await until(lambda: queue.statistics().left == left + 1)
        return asyncio.get_running_loop().time() - gone


def asked_alone(name: str) -> bytes:
    message = {"role": "user", "content": name}
    return chat(key=ALONE, stream=True, messages=[message], headers={"x-headworks-user": name})


async def test_two_hundred_points(tmp_path, figure):
    """Wherever it was: the provider is free at once, so is the place, and each call is booked once."""
    provider = Routes()
    everyone = points(random.Random(SEED))
    queued = [point for point in everyone if point.name.startswith(QUEUED)]
    others = [point for point in everyone if point not in queued]
    async with serve(provider) as server:
        file = configuration(tmp_path, server.port)
        unguarded = "    breaker: false\n    retry_budget: {floor: 10000}\n    base_url:"
        file.write_text(file.read_text().replace("    base_url:", unguarded))
        async with gateway_of(file) as gateway:
            load_vocabulary(gateway)
            before = await holdings(gateway)
            waits = list[float]()
            for start in range(0, len(others), AT_ONCE):
                group = others[start : start + AT_ONCE]
                waits += await asyncio.gather(
                    *(abandon(gateway, provider, point) for point in group)
                )
            await until(lambda: gateway.assembly.limits.statistics().in_flight == 0)
            async with line_to(gateway.port) as first:
                first.writer.write(asked_alone(provider.hold()))
                await until(lambda: gateway.assembly.limits.statistics().in_flight == 1)
                for point in queued:
                    waits.append(await abandon_queued(gateway, point))
            await until(lambda: gateway.assembly.limits.statistics().in_flight == 0)
            after = await holdings(gateway)
            rows = gateway.rows()

    waits.sort()
    figure(
        f"{POINTS} callers hang up, seed {SEED}: provider or place free after "
        f"{part(waits, 0.5) * 1000:.1f} ms, p99 {part(waits, 0.99) * 1000:.1f} ms"
    )
    assert part(waits, 0.99) < BOUND
    assert after == before
    assert_booked(rows, others, queued)


def assert_booked(rows: list[dict[str, Any]], others: list[Point], queued: list[Point]) -> None:
    """Each attempt that was made has one row, closed; who left the queue made none."""
    assert {row["state"] for row in rows} == {"settled"}
    made = Counter(row["user"] for row in rows)
    for point in others:
        assert made[point.name] == (2 if point.name.startswith(FALLBACK) else 1), point
    for point in queued:
        assert made[point.name] == 0, point
