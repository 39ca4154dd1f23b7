"""However the network cuts a stream, the events are the same."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.sse import SSEDecoder, encode
from headworks.errors import MalformedEvent

payloads = st.lists(st.binary(min_size=1).filter(lambda data: not {10, 13} & set(data)), max_size=6)


def read(wire: bytes, sizes=()) -> list[tuple[bytes, bytes]]:
    decoder, events, at = SSEDecoder(), [], 0
    for size in (*sizes, len(wire)):
        events += decoder.feed(wire[at : at + size])
        at += size
    return events + decoder.flush()


@dataclass(frozen=True)
class Case:
    id: str
    wire: bytes
    events: list[tuple[bytes, bytes]]


CASES = [
    Case("one event", b"data: x\n\n", [(b"", b"x")]),
    Case("no space after the colon", b"data:{}\n\n", [(b"", b"{}")]),
    Case("CRLF", b"data: x\r\n\r\ndata: y\r\n\r\n", [(b"", b"x"), (b"", b"y")]),
    Case("CR alone", b"data: x\r\rdata: y\r\r", [(b"", b"x"), (b"", b"y")]),
    Case("a byte order mark", b"\xef\xbb\xbfdata: x\n\n", [(b"", b"x")]),
    Case("only the first mark is one", b"data: \xef\xbb\xbfx\n\n", [(b"", b"\xef\xbb\xbfx")]),
    Case("comments are no events", b": ping\n\n: \n\ndata: x\n\n", [(b"", b"x")]),
    Case("a comment inside an event", b": c\ndata: x\n\n", [(b"", b"x")]),
    Case("an event without data", b"event: ping\n\ndata: x\n\n", [(b"", b"x")]),
    Case("empty data", b"data:\n\ndata: \n\ndata: x\n\n", [(b"", b"x")]),
    Case("a named event", b"event: e\ndata: x\n\n", [(b"e", b"x")]),
    Case("id and retry are ignored", b"id: 1\nretry: 5\ndata: x\n\n", [(b"", b"x")]),
    Case("data over two lines", b"data: a\ndata: b\n\n", [(b"", b"a\nb")]),
    Case("Unicode line ends are data", "data: a\u2028b\u0085c\n\n".encode(), [(b"", "a\u2028b\u0085c".encode())]),
    Case("the last event without its blank line", b"data: x\n\ndata: y", [(b"", b"x"), (b"", b"y")]),
    Case("extra blank lines", b"\n\n\ndata: x\n\n\n\ndata: y\n\n", [(b"", b"x"), (b"", b"y")]),
    Case("nothing", b"", []),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_events_are_read_as_the_standard_says(case):
    """Every form that providers and proxies send is read; what carries nothing is dropped."""
    assert read(case.wire) == case.events


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_one_byte_at_a_time_gives_the_same_events(case):
    """A reader sees no difference between one packet and many."""
    assert read(case.wire, [1] * len(case.wire)) == case.events


@given(payloads, st.data(), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_split_gives_the_same_events(datas, cuts, newline):
    """Events do not depend on where the network cuts the bytes."""
    wire = b"".join(b"data: " + data + newline * 2 for data in datas)
    sizes = cuts.draw(st.lists(st.integers(1, 9), max_size=40))

    assert read(wire, sizes) == [(b"", data) for data in datas]


@given(payloads)
def test_what_we_encode_we_read(datas):
    """Our own events survive the way to the next reader."""
    wire = b"".join(encode(b"", data) for data in datas)

    assert read(wire) == [(b"", data) for data in datas]


def test_an_endless_event_is_refused():
    """A provider cannot fill our memory with one event."""
    decoder = SSEDecoder(most=1000)
    decoder.feed(b"data: " + b"x" * 900)

    with pytest.raises(MalformedEvent):
        decoder.feed(b"x" * 900)
    assert decoder.feed(b"\n\ndata: next\n\n") == [(b"", b"next")], "it still holds what it refused"
