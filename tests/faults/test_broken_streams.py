"""A stream that breaks says so at once, whatever breaks it and wherever; [DONE] means done."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest

from headworks.tokenizer import Tokenizer
from tests.faults.processes import KEY, Gateway, Reply, chat, configuration, gateway_of, line_to
from tests.upstream.scripted import Wire, serve, whole

pytestmark = pytest.mark.anyio

BOUND = 1.0
SILENCE = 0.3
"""Seconds that the gateway waits for the next byte; then the stream has broken."""

HELD = "  held: {routes: [up/gpt-6-sol, up/gpt-6-luna], stream: {commit: complete}}\n"

WORDS = ["Streams", " that", " break", " say", " so", " at once", " \u2014 always", "."]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def event(delta: dict[str, str] | None, finish: str | None = None, **more: Any) -> bytes:
    """Return one event of a chat stream."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps(base | {"choices": choices} | more).encode() + b"\n\n"


USAGE = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
EVENTS = [
    event({"role": "assistant", "content": ""}),
    *(event({"content": word}) for word in WORDS),
    event({}, "stop"),
    event(None, usage=USAGE),
    b"data: [DONE]\n\n",
]
SPOKEN = 2
"""From so many events on the provider has said something."""

ANSWERED = EVENTS.index(event({}, "stop")) + 1
"""From so many events on all of the answer has come."""

REPORTED = EVENTS.index(event(None, usage=USAGE)) + 1
"""From so many events on the provider has said what it bills."""


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def fin(_wire: Wire, _following: bytes) -> None:
    """Close the connection."""


async def rst(wire: Wire, _following: bytes) -> None:
    """Reset the connection."""
    wire.reset()


async def bad_framing(wire: Wire, following: bytes) -> None:
    """Send something else where the next chunk's size should stand."""
    await wire.send(b"no size\r\n" + following)
    await wire.gone()


async def silence(wire: Wire, _following: bytes) -> None:
    """Say nothing more."""
    await wire.gone()


async def chatter(wire: Wire, _following: bytes) -> None:
    """Say that one is still there, again and again, and nothing else."""
    with suppress(OSError):
        while True:
            await wire.send(chunk(b": keepalive\n\n"))
            await asyncio.sleep(SILENCE / 6)


async def bad_json(wire: Wire, following: bytes) -> None:
    """Send an event that is not JSON, then go on as if nothing had been."""
    await wire.send(chunk(b'data: {"choices": [}\n\n') + chunk(following) + b"0\r\n\r\n")


async def half_event(wire: Wire, following: bytes) -> None:
    """Send half of the next event, then end the body as if it were whole."""
    await wire.send(chunk(following[: len(following) // 2]) + b"0\r\n\r\n")


Fault = Callable[[Wire, bytes], Any]
FAULTS: list[Fault] = [fin, rst, bad_framing, silence, bad_json, half_event]
CUTS: list[Fault] = [fin, rst, half_event]
"""Faults that say nothing wrong: behind the answer's end they take nothing of it."""


def breaking(fault: Fault, first: int = 0) -> range:
    """Return after how many events, from the first on, a fault breaks an answer."""
    return range(first, ANSWERED if fault in CUTS else len(EVENTS))


@dataclass
class Provider:
    """Breaks the first answer to each call after as many events as the call says."""

    fault: Fault
    seen: Counter[str] = field(default_factory=Counter)

    async def __call__(self, wire: Wire) -> None:
        while True:
            content = await wire.request()
            prompt = json.loads(content.partition(b"\r\n\r\n")[2])["messages"][0]["content"]
            after = int(prompt.rpartition(" ")[2])
            self.seen[prompt] += 1
            is_first = self.seen[prompt] == 1
            sent = EVENTS[:after] if is_first else EVENTS
            await wire.send(HEAD + b"".join(map(chunk, sent)))
            if is_first:
                await self.fault(wire, EVENTS[after])
                return
            await wire.send(b"0\r\n\r\n")


@asynccontextmanager
async def broken(
    folder: Any, fault: Fault, first_byte: str = ""
) -> AsyncGenerator[tuple[Gateway, Provider]]:
    """Run a gateway in front of a provider whose streams break."""
    provider = Provider(fault)
    async with serve(provider) as server:
        file = configuration(folder, server.port, silence=f"{SILENCE}s", first_byte=first_byte)
        file.write_text(file.read_text().replace("models:\n", f"models:\n{HELD}", 1))
        async with gateway_of(file) as gateway:
            yield gateway, provider


async def ask(gateway: Gateway, after: int, model: str = "assistant") -> tuple[Reply, float]:
    """Make a call whose stream breaks after so many events; return the reply and its seconds."""
    loop = asyncio.get_running_loop()
    content = chat(
        model=model,
        stream=True,
        messages=[{"role": "user", "content": f"break {after}"}],
        headers={"x-headworks-user": f"raw-{after}"},
    )
    async with line_to(gateway.port) as line:
        begun = loop.time()
        reply = await line.ask(content)
        return reply, loop.time() - begun


def visible(events: list[bytes]) -> list[dict[str, Any]]:
    """Return what a caller sees of events that carry choices."""
    read = [json.loads(one[6:]) for one in events if one.startswith(b"data: {")]
    return [one for one in read if one["choices"]]


def assert_broken(reply: Reply, after: int) -> None:
    """The caller had every event that came, then an error, then the end; never [DONE]."""
    assert reply.has_ended
    assert reply.status == 200
    assert b"[DONE]" not in reply.body
    *events, last, nothing = reply.body.split(b"\n\n")
    assert nothing == b""
    error = json.loads(last.removeprefix(b"data: "))["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "upstream_error"
    assert error["code"].startswith("upstream_")
    assert visible(events) == visible(EVENTS[:after])


def assert_booked(gateway: Gateway, user: str, after: int) -> None:
    """The call's one row is closed, flagged, and not below what was relayed."""
    row = gateway.row(user)
    assert row["state"] == "settled"
    assert row["outcome"].startswith("upstream_")
    text = "".join(WORDS[: max(0, after - 1)])
    pieces = min(max(0, after - 1), len(WORDS))
    relayed = max(pieces, Tokenizer().count(text, "o200k_base"))
    if after >= REPORTED:
        assert (row["certainty"], row["output"]) == ("exact", USAGE["completion_tokens"])
    else:
        assert row["certainty"] == "estimated"
        assert row["output"] >= relayed
    assert row["input"] > 0
    assert row["cost_nano"] > 0


@pytest.fixture(scope="module", autouse=True)
def vocabulary():
    """Load the vocabulary that broken answers are counted with: it takes a moment, once a process."""
    Tokenizer().count("", "o200k_base")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_broken_after_any_event(tmp_path, figure, fault):
    """After any content: the rest of what came, an error event, the end, within a second."""
    places = breaking(fault, SPOKEN)
    async with broken(tmp_path, fault) as (gateway, provider):
        told = await asyncio.gather(*(ask(gateway, after) for after in places))

        for after, (reply, seconds) in zip(places, told, strict=True):
            assert_broken(reply, after)
            assert seconds < BOUND + (SILENCE if fault is silence else 0)
            assert_booked(gateway, f"raw-{after}", after)
        assert set(provider.seen.values()) == {1}
    slowest = max(seconds for _, seconds in told)
    figure(f"broken stream by {fault.__name__}: told after {slowest * 1000:.0f} ms at most")


@pytest.mark.parametrize("fault", CUTS, ids=lambda fault: fault.__name__)
async def test_cut_behind_the_answer(tmp_path, fault):
    """Where every choice has ended, all of the answer is here: it is whole, and is not asked for again."""
    async with broken(tmp_path, fault) as (gateway, provider):
        for after in range(ANSWERED, len(EVENTS)):
            reply, _ = await ask(gateway, after)

            assert reply.has_ended
            assert visible(reply.body.split(b"\n\n")) == visible(EVENTS)
            assert reply.body.endswith(b"data: [DONE]\n\n")
            row = gateway.row(f"raw-{after}")
            is_told = after >= REPORTED
            assert (row["state"], row["outcome"]) == ("settled", "completed")
            assert row["certainty"] == ("exact" if is_told else "estimated")
            assert row["output"] >= (USAGE["completion_tokens"] if is_told else len(WORDS))
        assert set(provider.seen.values()) == {1}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_the_official_client_raises(tmp_path, fault):
    """No break passes for an answer: the official client raises in its loop over the events."""
    # The client's imports hold up the provider, which shares its loop: that is not a silence.
    async with broken(tmp_path, fault, first_byte="30s") as (gateway, _):
        base_url = f"http://127.0.0.1:{gateway.port}/v1"
        async with openai.AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=0) as client:
            for after in breaking(fault, SPOKEN):
                said: list[str] = []
                with pytest.raises(openai.APIError, match=r"provider|connection") as raised:
                    await read(client, after, said)
                assert str(raised.value.code).startswith("upstream_")
                assert said == WORDS[: max(0, after - 1)]


async def read(client: openai.AsyncOpenAI, after: int, said: list[str]) -> None:
    stream = await client.chat.completions.create(
        model="assistant",
        messages=[{"role": "user", "content": f"break {after}"}],
        stream=True,
    )
    async for part in stream:
        said += [one.delta.content for one in part.choices if one.delta.content]


@pytest.mark.parametrize("after", range(SPOKEN))
@pytest.mark.parametrize("fault", [*FAULTS, chatter], ids=lambda fault: fault.__name__)
async def test_broken_before_the_first_content(tmp_path, fault, after):
    """Before the first content nobody has seen anything: the call is tried again, unseen."""
    async with broken(tmp_path, fault) as (gateway, provider):
        reply, seconds = await ask(gateway, after)

        assert_repaired(gateway, reply)
        assert provider.seen == {f"break {after}": 2}
        assert seconds < BOUND + (SILENCE if fault in {silence, chatter} else 0)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_a_stream_held_whole_breaks_unseen_after_any_event(tmp_path, fault):
    """With `commit: complete` no break at all reaches the caller; each attempt is booked."""
    places = breaking(fault)
    async with broken(tmp_path, fault) as (gateway, provider):
        for after in places:
            reply, seconds = await ask(gateway, after, "held")

            assert_repaired(gateway, reply)
            assert seconds < BOUND + (SILENCE if fault is silence else 0)
        assert set(provider.seen.values()) == {2}


def assert_repaired(gateway: Gateway, reply: Reply) -> None:
    """The caller had a whole stream, of the second of two attempts, both booked."""
    assert reply.has_ended
    assert visible(reply.body.split(b"\n\n")) == visible(EVENTS)
    assert reply.body.endswith(b"data: [DONE]\n\n")
    assert reply.headers["x-headworks-attempts"] == "2"
    first, second = (row for row in gateway.rows() if row["call"] == reply.call)
    assert (first["state"], first["attempt"]) == ("settled", 1)
    assert (second["certainty"], second["output"]) == ("exact", USAGE["completion_tokens"])
    assert (first["certainty"], first["output"]) == ("exact", USAGE["completion_tokens"]) or (
        first["certainty"] in {"estimated", "unknown"}
    )


WHOLE = json.dumps({
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Whole."}}],
    "usage": USAGE,
}).encode()  # fmt: skip
BROKEN = [
    b"", b"[1,", b'{"choices"', b'{"usage": 5', WHOLE[:-1], WHOLE + b"}", b"\xff\xfe", b"<html>",
]  # fmt: skip


@pytest.mark.parametrize("is_cut", [False, True], ids=["complete", "cut"])
@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
async def test_whole_answers_that_are_not_json(tmp_path, content, is_cut):
    """An answer that is no JSON, or is cut short, never passes for one: another is fetched."""
    answers = [content, WHOLE]

    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            body = answers.pop(0)
            answer = whole(body, fields=b"content-type: application/json\r\n")
            if is_cut and body is content:
                length = b"content-length: %d" % len(body)
                await wire.send(answer.replace(length, b"content-length: %d" % (len(body) + 1)))
                return
            await wire.send(answer)

    async with serve(script) as server, gateway_of(configuration(tmp_path, server.port)) as gateway:
        async with line_to(gateway.port) as line:
            reply = await asyncio.wait_for(line.ask(chat()), 5)

        assert (reply.status, reply.body) == (200, WHOLE)
        assert reply.headers["x-headworks-attempts"] == "2"
        first, second = gateway.rows()
        assert first["state"] == "settled"
        assert first["certainty"] in {"estimated", "unknown"}
        assert (second["certainty"], second["output"]) == ("exact", USAGE["completion_tokens"])
