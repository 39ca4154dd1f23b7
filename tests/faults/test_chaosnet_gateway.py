"""A gateway on a bad network: between it and its provider, and between it and its callers."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from headworks.core.sse import KEEP_ALIVE
from headworks.simulator import Latency, SimulatorConfig, running
from headworks.upstream.http1 import ClientLimits
from tests.faults.chaosnet import HEALTHY, Chaosnet, Entry, Toxics, chaosnet
from tests.faults.processes import (
    KEY,
    UPSTREAM_KEY,
    Gateway,
    Line,
    Reply,
    chat,
    configuration,
    gateway_of,
    line_to,
    request,
)
from tests.upstream.scripted import Wire, until

pytestmark = pytest.mark.anyio

SEED = 20261126
BOUND = 1.0
WORDS = 12
DONE = b"data: [DONE]\n\n"
_BROKEN = b"broken: "
COMPLETED = b"event: response.completed\n"
PRACTICE = SimulatorConfig(credentials={"main": UPSTREAM_KEY}, answer_tokens=(WORDS, WORDS), seed=1)
TWO_UPSTREAMS = """\
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", drain: 5s}}
store: sqlite:{folder}/books.db
log: {{level: warning}}
retry: {{first: 10ms, longest: 20ms}}
upstreams:
  ill:
    base_url: http://127.0.0.1:{ill}/v1
    credentials: [{{name: main, api_key: "${{env:UPSTREAM_KEY}}"}}]
    timeouts: {{connect: {connect}, first_byte: {first_byte}, idle: 30s}}
  well:
    base_url: http://127.0.0.1:{well}/v1
    credentials: [{{name: main, api_key: "${{env:UPSTREAM_KEY}}"}}]
models:
  assistant: {{routes: [ill/gpt-6-sol, well/gpt-6-luna]}}
  single: {{routes: [ill/gpt-6-sol]}}
keys: [{{name: app, secret: "${{env:CALLER_KEY}}"}}]
"""


def port_of(url: str) -> int:
    return int(url.removesuffix("/v1").rpartition(":")[2])


@pytest.fixture(scope="module")
def provider():
    """Run a provider whose answers are the same at every call."""
    with running(PRACTICE) as simulator:
        yield simulator


@dataclass
class Place:
    """A gateway, the net before its provider, and the net before itself."""

    gateway: Gateway
    behind: Chaosnet
    before: Chaosnet

    async def ask(self, **fields: Any) -> Reply:
        """Make one call on a connection of its own, straight to the gateway."""
        return await self.send(chat(**fields))

    async def send(self, content: bytes) -> Reply:
        """Send a request on a connection of its own, straight to the gateway."""
        async with line_to(self.gateway.port) as line:
            return await asyncio.wait_for(line.ask(content), 10)

    def is_idle(self) -> bool:
        """Whether the gateway holds nothing for anybody."""
        assembly = self.gateway.assembly
        busy = sum(client.statistics().busy for client in assembly.clients.values())
        limits, ledger = assembly.limits.statistics(), assembly.ledger.statistics()
        in_flight = self.gateway.server.lifecycle.in_flight
        return not (busy or limits.in_flight or ledger.open_holds or ledger.owed or in_flight)


@asynccontextmanager
async def place_of(folder: Any, provider: Any, **waits: str) -> AsyncGenerator[Place]:
    """Run a gateway between two nets, on connections that serve one call each."""
    async with chaosnet(port_of(provider.base_url), seed=SEED) as behind:
        file = configuration(folder, behind.port, level="warning", **waits)
        text = file.read_text()  # a route that fails all the time would soon be left alone
        file.write_text(text.replace("    base_url:", "    breaker: false\n    base_url:"))
        async with gateway_of(file) as gateway, chaosnet(gateway.port, seed=SEED) as before:
            for client in gateway.assembly.clients.values():
                client._limits = ClientLimits(idle=0)
            yield Place(gateway, behind, before)


RESPONSES = request(
    json.dumps({"model": "single", "input": "Hello", "stream": True}).encode(),
    line="POST /v1/responses HTTP/1.1",
)
STREAMS = {"chat": (chat(stream=True, model="single"), DONE), "responses": (RESPONSES, COMPLETED)}
"""For each kind of stream: a request, and what only a whole answer says."""


def events_of(body: bytes) -> list[bytes]:
    """Return what a stream says, without the names and times that differ from call to call."""
    events = body.replace(KEEP_ALIVE, b"").split(b"\n\n")  # a slow machine keeps it alive
    data = [event.partition(b"data: ")[2] for event in events if event]
    return [event if event == b"[DONE]" else _told(json.loads(event)) for event in data]


def _told(event: dict[str, Any]) -> bytes:
    """Return what is the same in each answer to the same request; look at the model's name."""
    model = event.get("model") or event.get("response", {}).get("model")
    assert model in {None, "gpt-6-sol"}, "two models in one answer"
    if "error" in event or event.get("type") in {"error", "response.failed"}:
        error = event.get("error") or event.get("response", {}).get("error") or event
        return _BROKEN + str(error["code"]).encode()
    kept = ("choices", "usage", "type", "delta", "sequence_number", "text", "refusal")
    return json.dumps({name: event.get(name) for name in kept}).encode()


def first_content(told: list[bytes]) -> int:
    """Return which event of a stream is the first to say something."""
    for number, event in enumerate(map(json.loads, told)):
        choices = event["choices"] or [{"delta": {}}]
        if event["delta"] or choices[0]["delta"].get("content"):
            return number
    raise AssertionError("the stream says nothing")


def assert_broken(told: list[bytes], whole: list[bytes]) -> None:
    """What was told is the beginning of the whole, then the provider's failure, in any form."""
    before = [event for event in told if not event.startswith(_BROKEN)]
    assert whole[: len(before)] == before
    failures = told[len(before) :]
    assert failures
    assert all(event.startswith(_BROKEN + b"upstream_") for event in failures)


async def raw_answer(place: Place, content: bytes) -> tuple[bytes, Reply]:
    """Return a provider's whole answer as it stands on the wire, and what its caller got."""
    seen: list[bytes] = []
    target = place.behind.target

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", target)
        back.write(await Wire(reader, writer).request())
        while not b"".join(seen).endswith(b"0\r\n\r\n"):
            seen.append(await there.read(65_536))
        writer.write(b"".join(seen))
        await writer.drain()
        writer.close()
        back.close()

    listener = await asyncio.start_server(note, "127.0.0.1", 0)
    place.behind.target = listener.sockets[0].getsockname()[1]
    reply = await place.send(content)
    place.behind.target = target
    listener.close()
    return b"".join(seen), reply


def event_ends(raw: bytes, ending: bytes) -> list[int]:
    """Return where on the wire each event before the ending is complete."""
    last = raw.index(ending)
    return [at + 2 for at in range(last) if raw[at : at + 2] == b"\n\n"]


def answer_end(raw: bytes) -> int:
    """Return where on the wire the event with a chat's finish_reason is complete."""
    return raw.index(b"\n\n", raw.index(b'"finish_reason":"')) + 2


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("end", ["fin", "rst", "hang"])
async def test_cut_at_every_event(tmp_path, provider, figure, end, kind):
    """Wherever a stream breaks that has begun: what came, an error, the end; never [DONE] or a splice.

    A chat is cut behind its finish_reason: that takes nothing of its answer.
    """
    content, ending = STREAMS[kind]
    async with place_of(tmp_path, provider, silence="400ms", first_byte="5s") as place:
        raw, whole = await raw_answer(place, content)
        assert ending in whole.body
        told = events_of(whole.body)
        ends = event_ends(raw, ending)[first_content(told) :]
        places = [at + 3 for at in ends] + ends[1:]  # in the next event, and between two
        places = places[1 :: len(places) // 6] if end == "hang" else places
        answered = len(raw) if kind == "responses" or end == "hang" else answer_end(raw)
        for at in places:
            place.behind.change(down=_toxics(end, at))
            reply = await place.send(content)
            assert (reply.has_ended, reply.status) == (True, 200), at
            if at >= answered:
                assert events_of(reply.body) == told
                continue
            assert ending not in reply.body
            assert_broken(events_of(reply.body), told)
        await until(place.is_idle)
        place.behind.change(down=HEALTHY)
        again = await place.send(content)
        assert events_of(again.body) == told
        rows = place.gateway.rows()
        assert [row["attempt"] for row in rows] == [1] * (len(places) + 2)
        assert all(row["cost_nano"] > 0 for row in rows)
    figure(f"stream of {kind} cut by {end}: {len(places)} places")


def _toxics(end: str, after: int) -> Toxics:
    if end == "hang":
        return Toxics(hang_after=after)
    return Toxics(cut_after=after) if end == "fin" else Toxics(reset_after=after)


@pytest.mark.parametrize("end", ["fin", "rst"])
async def test_cut_at_any_byte(tmp_path, provider, end):
    """At any byte of head or body: whole, an error event, or another attempt that is whole."""
    chance = random.Random(SEED)
    async with place_of(tmp_path, provider) as place:
        content = STREAMS["chat"][0]
        raw, whole = await raw_answer(place, content)
        told = events_of(whole.body)
        for _ in range(40):
            at = chance.randrange(1, len(raw) - 1)
            place.behind.change_next(down=_toxics(end, at))
            reply = await place.ask(stream=True, model="single")
            assert (reply.has_ended, reply.status) == (True, 200), at
            seen = events_of(reply.body)
            if seen != told:
                assert_broken(seen, told)


async def test_byte_by_byte(tmp_path, provider):
    """A network that delivers one byte at a time, both ways, changes nothing but the time."""
    async with place_of(tmp_path, provider) as place:
        _, whole = await raw_answer(place, STREAMS["chat"][0])
        place.behind.change(up=Toxics(slices=1), down=Toxics(slices=1))
        place.before.change(up=Toxics(slices=2), down=Toxics(slices=2))
        async with line_to(place.before.port) as line:
            for _ in range(2):
                reply = await line.ask(chat(stream=True, model="single"))
                assert events_of(reply.body) == events_of(whole.body)


@dataclass(frozen=True)
class Blocked:
    """A way to the provider that is shut, and what the ledger says of it."""

    entry: Entry
    outcome: str
    stream: bool
    hangs: bool = False


BLOCKED = [
    Blocked("refuse", "upstream_unreachable", stream=False),
    Blocked("refuse", "upstream_unreachable", stream=True),
    Blocked("drop", "upstream_connect_timeout", stream=False),
    Blocked("drop", "upstream_connect_timeout", stream=True),
    Blocked("open", "upstream_first_byte_timeout", stream=True, hangs=True),
]


@pytest.mark.parametrize("case", BLOCKED, ids=lambda case: f"{case.outcome}-{case.stream}")
async def test_fallback_when_the_way_is_shut(tmp_path, provider, case):
    """Refused, swallowed or left hanging, a call is answered by the other upstream, in time."""
    well = port_of(provider.base_url)
    async with chaosnet(well) as ill:
        await ill.enter(case.entry)
        ill.change(up=Toxics(hang_after=0) if case.hangs else HEALTHY)
        file = tmp_path / "headworks.yaml"
        waits = {"connect": "200ms", "first_byte": "300ms"}
        file.write_text(TWO_UPSTREAMS.format(folder=tmp_path, ill=ill.port, well=well, **waits))
        async with gateway_of(file) as gateway, line_to(gateway.port) as line:
            loop = asyncio.get_running_loop()
            begun = loop.time()
            reply = await line.ask(chat(stream=case.stream))
            seconds = loop.time() - begun
            assert (reply.status, reply.has_ended) == (200, True)
            assert reply.headers["x-headworks-route"].startswith("well/gpt-6-luna")
            assert seconds < 2 * 0.3 + BOUND
            *failed, served = gateway.rows()
            assert {row["outcome"] for row in failed} == {case.outcome}
            assert {row["state"] for row in failed} == {"settled" if case.hangs else "released"}
            assert (served["upstream"], served["certainty"]) == ("well", "exact")

            lone = await asyncio.wait_for(line.ask(chat(stream=case.stream, model="single")), 5)
            assert lone.error["code"] == case.outcome
            assert lone.status == (502 if case.entry == "refuse" else 504)


@pytest.mark.parametrize("end", ["fin", "rst"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_caller_gone_at_any_byte(tmp_path, figure, end, stream):
    """Whenever a caller's connection breaks, the provider's is closed and nothing stays held."""
    chance = random.Random(SEED + (end == "rst") + 2 * stream)
    loop = asyncio.get_running_loop()
    slow = msgspec.structs.replace(PRACTICE, latency=Latency(0.01, 3000.0))
    times: list[float] = []
    with running(slow) as provider:
        async with place_of(tmp_path, provider) as place:
            reply = await place.ask(stream=stream)
            most = 300 + len(reply.body)
            for number in range(25):
                is_up = chance.random() < 0.2
                content = chat(stream=stream, key=KEY, headers={"x-headworks-user": f"u{number}"})
                after = chance.randrange(len(content) if is_up else most)
                toxics = _toxics(end, after)
                place.before.change(
                    up=toxics if is_up else HEALTHY, down=HEALTHY if is_up else toxics
                )
                await _leave(place.before, content)
                begun = loop.time()
                await until(place.is_idle)
                await until(lambda: place.behind.open == 0)
                times.append(loop.time() - begun)
            assert provider.wait_settled(2)
            rows = place.gateway.rows()
        attempts = provider.attempts()
    assert {row["state"] for row in rows} == {"settled"}
    assert len(attempts) == len(rows)
    assert max(times) < BOUND
    figure(
        f"caller's connection ended by {end}, stream={stream}: {len(rows)} attempts, "
        f"released after {max(times) * 1000:.0f} ms at most"
    )


async def _leave(net: Chaosnet, content: bytes) -> None:
    """Make a call and wait until the net has ended it."""
    async with line_to(net.port) as line:
        await asyncio.wait_for(_read_all(line, content), 10)


async def _read_all(line: Line, content: bytes) -> None:
    line.writer.write(content)
    try:
        await line.head(Reply())
        while await line.reader.read(4096):
            pass
    except (ConnectionError, asyncio.IncompleteReadError):
        return
