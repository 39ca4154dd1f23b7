"""An event that is like the one before is known by a few comparisons to mean what it means read in full."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from headworks.core.stream_base import Stream
from headworks.core.streams import ChatStream, ResponsesStream
from headworks.errors import InternalError
from tests.core.alike import spaced, streams
from tests.core.buffered import CHAT, COMPLETIONS, RESPONSES, chunk, delta, encode, legacy

MOST = 400


class Chat(ChatStream):
    """A reader that counts the events it takes apart."""

    apart = 0

    @override
    def _interpret(self, name: bytes, data: bytes) -> bytes | None:
        self.apart += 1
        return super()._interpret(name, data)


class Responses(ResponsesStream):
    """A reader that counts the events it takes apart."""

    apart = 0

    @override
    def _interpret(self, name: bytes, data: bytes) -> bytes | None:
        self.apart += 1
        return super()._interpret(name, data)


def chat(*, shows_usage: bool = False) -> Chat:
    return Chat(MOST, shows_usage=shows_usage)


READERS: dict[str, list[Callable[[], Chat | Responses]]] = {
    CHAT: [chat, lambda: chat(shows_usage=True)],
    COMPLETIONS: [chat, lambda: chat(shows_usage=True)],
    RESPONSES: [lambda: Responses(MOST)],
}


@dataclass
class Seen:
    """What a reader shows, and what it knows in the end."""

    stream: Stream
    takes_apart: bool = False
    events: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])

    def __post_init__(self) -> None:
        self.stream.seen = lambda name, data: self.events.append((name, data))

    def feed(self, piece: bytes) -> bytes:
        if self.takes_apart:
            self.stream._recurring.is_on = False
        return self.stream.feed(piece)

    def known(self) -> Any:
        one = self.stream
        broken = one.error and (type(one.error), str(one.error))
        ended = one.ending, one.is_answered, one.is_said, one.begun, one.filtered
        said = one.reported, one.pieces, bytes(one.text), one.encode_error(InternalError())
        return broken, ended, said, self.events


BETWEEN = {
    CHAT: [
        chunk(finish="stop"),
        chunk("x", role="assistant"),
        chunk("y", usage={"prompt_tokens": 1}),
    ],
    COMPLETIONS: [legacy("x") | {"usage": {"prompt_tokens": 3}}, legacy("y")],
    RESPONSES: [delta("z", 3), {"type": "response.completed", "response": {"id": "r"}}],
}
RAW_BETWEEN = [
    b": keepalive\n\n",
    b"data: [DONE]\n\n",
    b"data: {\n\n",
    b"id: 7\n",
    b"\n",
    b"\xef\xbb\xbf",
]


@given(streams(), st.sampled_from([CHAT, COMPLETIONS, RESPONSES]), st.data())
def test_what_is_not_taken_apart_means_the_same(events, path, data):
    """Whatever comes, in whichever pieces: the same leaves, and the same is known of it."""
    make = data.draw(st.sampled_from(READERS[path]))
    short, long = Seen(make()), Seen(make(), takes_apart=True)
    wire = [event[path] for event in events]
    change = data.draw(st.sampled_from(["", "", "null", "spaced", "crlf"]))
    if change == "null":
        wire = [event.replace(b"}\n\n", b',"usage":null}\n\n') for event in wire]
    elif change:
        wire = [spaced(one) if change == "spaced" else one.replace(b"\n", b"\r\n") for one in wire]
    others = st.sampled_from([*(encode(one) for one in BETWEEN[path]), *RAW_BETWEEN])
    for at, other in data.draw(st.lists(st.tuples(st.integers(0, 25), others), max_size=3)):
        wire.insert(at, other)
    cut = data.draw(st.integers(0, 200))
    for one in wire:
        at = cut if data.draw(st.integers(0, 9)) == 0 else len(one)
        for piece in (one[:at], one[at:]):
            assert short.feed(piece) == long.feed(piece)
            assert (short.stream.begun, short.stream.is_over) == (
                long.stream.begun,
                long.stream.is_over,
            )
    assert short.known() == long.known()
    assert short.stream.finish() == long.stream.finish()
    assert short.known() == long.known()


def arguments(text: str, name: str | None = None) -> Any:
    call = {
        "index": 0,
        "function": {"name": name, "arguments": text} if name else {"arguments": text},
    }
    return chunk(delta={"tool_calls": [call]})


def refusal(text: str) -> Any:
    return chunk(delta={"refusal": text})


def padded(text: str) -> Any:
    return chunk(text) | {"usage": None, "obfuscation": "aB" * len(text)}


@dataclass(frozen=True)
class Case:
    """Forty events of a stream, and how many of them are taken apart."""

    id: str
    make: Callable[[], Chat | Responses]
    event: Callable[[int], Any]
    apart: int
    is_spaced: bool = False


WORDS = ["a", " bc", "é", '"', "\n"]


def word(at: int) -> str:
    return WORDS[at % len(WORDS)]


CASES = [
    Case("text", chat, lambda at: chunk(word(at)), 2),
    Case("text, written with spaces", chat, lambda at: chunk(word(at)), 2, is_spaced=True),
    Case("as OpenAI pads it", chat, lambda at: padded(word(at)), 2),
    Case("a usage that is none, with spaces", chat, lambda at: chunk(word(at), usage=None), 2, is_spaced=True),
    Case("with usage shown", lambda: chat(shows_usage=True), lambda at: padded(word(at)), 2),
    Case("legacy completions", chat, lambda at: legacy(word(at)), 2),
    Case("arguments of a tool", chat, lambda at: arguments(word(at)), 2),
    Case("numbers grow longer once", lambda: Responses(MOST), lambda at: delta(word(at), at + 20), 2),
    Case("numbers grow longer", lambda: Responses(MOST), lambda at: delta(word(at), at), 3),
    Case("empty texts", chat, lambda at: chunk(word(at) if at % 8 else ""), 11),
    Case("two choices in turn", chat, lambda at: chunk(word(at), index=at % 2), 40),
    Case("refusals", chat, lambda _: refusal("no"), 40),
    Case("log probabilities", chat, lambda at: chunk("a", logprobs={"content": [{"logprob": at}]}), 40),
    Case("usage all along", chat, lambda at: chunk("a", usage={"completion_tokens": at}), 40),
    Case("a field of the same name", chat, lambda _: chunk("a", meta={"content": "b"}), 40),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_is_plain_is_taken_apart_twice_at_most(case):
    """Whatever way a provider writes: once a kind is known, its events are no more taken apart."""
    stream, long = case.make(), Seen(case.make(), takes_apart=True)
    for at in range(40):
        event = encode(case.event(at), spaced=case.is_spaced)
        assert stream.feed(event) == long.feed(event)
    assert stream.apart == case.apart
    assert (stream.text, stream.pieces) == (long.stream.text, long.stream.pieces)


def test_an_event_that_is_too_large_is_refused_though_it_is_like_the_last():
    """The bound holds for each event."""
    stream = chat()
    for text in ("a", "b", "c"):
        assert stream.feed(encode(chunk(text)))
    assert stream.feed(encode(chunk("d" * MOST))) == b""
    assert "over 400 bytes" in str(stream.error)


def test_after_many_kinds_in_turn_no_more_is_looked_for():
    """A stream whose events are each of their own costs no search for another like it."""
    stream = chat()
    for at in range(40):
        stream.feed(encode(chunk("a", logprobs=at)))
    noted = stream._recurring._likeness.kind
    assert b'"logprobs":16' in noted
    stream.feed(encode(chunk("a", logprobs=99)))
    assert stream._recurring._likeness.kind == noted


def test_every_event_is_shown_as_the_provider_sent_it():
    """Who sees the events sees all of them, and the usage that their caller does not."""
    seen = Seen(chat())
    events = [padded(word(at)) for at in range(9)]
    for event in events:
        assert b"usage" not in seen.feed(encode(event))
    assert [json.loads(data) for _, data in seen.events] == events
