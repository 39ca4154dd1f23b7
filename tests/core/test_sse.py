"""However the network cuts a stream, the events are the same."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.sse import KEEP_ALIVE, SSEDecoder, encode
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
    """A provider cannot fill our memory with one event, whatever it says afterwards."""
    decoder = SSEDecoder(most=1000)
    decoder.feed(b"data: " + b"x" * 900)

    for chunk in (b"x" * 900, b"\n\ndata: next\n\n"):
        with pytest.raises(MalformedEvent, match="1,000 bytes"):
            decoder.feed(chunk)
    assert len(decoder._buffer) <= 900, "it still holds what it refused"


def test_ten_megabytes_leave_no_trace():
    """An event of 10 MB is refused when the first of it is too much; no more of it is held."""
    decoder, piece, pieces = SSEDecoder(), b"y" * 50_000, 0
    assert decoder.feed(b"data: ok\n\ndata: ") == [(b"", b"ok")]

    while pieces < 19 and not decoder.feed(piece):
        pieces += 1
    with pytest.raises(MalformedEvent, match="1,000,000 bytes"):
        decoder.feed(piece)
    assert pieces == 19
    assert not decoder._buffer


BOUNDED = [
    Case("as large as may be", b"data: 7890\n\ndata: x\n\n", [(b"", b"7890"), (b"", b"x")]),
    Case("a byte more", b"data: 78901\n\ndata: x\n\n", []),
    Case("behind others", b"data: a\n\ndata: b\n\ndata: 78901\n\ndata: c\n\n", [(b"", b"a"), (b"", b"b")]),
    Case("blank lines count for nothing", b"\n\n\n\n\n\n\n\n\n\n\n\n\n\ndata: 7890\n\n", [(b"", b"7890")]),
    Case("many small ones", b"data: 1\n\n" * 50, [(b"", b"1")] * 50),
    Case("an endless comment", b"data: a\n\n: " + b"c" * 20, [(b"", b"a")]),
    Case("too large at the very end", b"data: a\n\ndata: 78901", [(b"", b"a")]),
    Case("as large as may be at the very end", b"data: a\n\ndata: 7890", [(b"", b"a"), (b"", b"7890")]),
]  # fmt: skip


@pytest.mark.parametrize("case", BOUNDED, ids=lambda case: case.id)
@given(sizes=st.lists(st.integers(1, 9), max_size=60), newline=st.sampled_from([b"\n", b"\r\n", b"\r"]))  # fmt: skip
def test_a_bound_holds_the_same_however_the_bytes_came(case, sizes, newline):
    """Ten bytes are allowed: the events before the one that has more are read, and none behind it."""
    wire = case.wire.replace(b"\n", newline)
    decoder, events, at = SSEDecoder(most=10), [], 0
    is_refused = False
    try:
        for size in (*sizes, len(wire), 0):
            events += decoder.feed(wire[at : at + size])
            at += size
        events += decoder.flush()
    except MalformedEvent:
        is_refused = True

    assert events == case.events
    blocks = case.wire.strip(b"\n").split(b"\n\n")
    assert is_refused == any(len(block.strip(b"\n")) > 10 for block in blocks)


ODD = [
    Case("NUL is data", b"data: a\0b\n\n", [(b"", b"a\0b")]),
    Case("only one space is taken", b"data:  x\n\n", [(b"", b" x")]),
    Case("a name without a colon", b"data\n\ndata: x\n\n", [(b"", b"x")]),
    Case("an unknown name", b"dates: y\ndata: x\n\n", [(b"", b"x")]),
    Case("names are in lower case", b"Data: y\ndata: x\n\n", [(b"", b"x")]),
    Case("the last name counts", b"event: a\nevent: b\ndata: x\n\n", [(b"b", b"x")]),
    Case("a name does not last", b"event: a\n\ndata: x\n\n", [(b"", b"x")]),
    Case("colons in data", b"data: a:b: c\n\n", [(b"", b"a:b: c")]),
    Case("an id with NUL", b"id: 1\0\ndata: x\n\n", [(b"", b"x")]),
    Case("a retry that is no number", b"retry: soon\n\ndata: x\n\n", [(b"", b"x")]),
    Case("mixed line ends", b"data: x\r\n\ndata: y\r\r\ndata: z\n\r", [(b"", b"x"), (b"", b"y"), (b"", b"z")]),
    Case("0x1C to 0x1E and 0x85 are data", b"data: \x1c\x1d\x1e\xc2\x85x\n\n", [(b"", b"\x1c\x1d\x1e\xc2\x85x")]),
    Case("an emoji of several", "data: \U0001f469\u200d\U0001f4bb\n\n".encode(), [(b"", "\U0001f469\u200d\U0001f4bb".encode())]),
    Case("half a mark is data", b"\xef\xbbdata: x\n\ndata: y\n\n", [(b"", b"y")]),
    Case("two marks", b"\xef\xbb\xbf\xef\xbb\xbfdata: x\n\ndata: y\n\n", [(b"", b"y")]),
    Case("only comments", b": a\n: b\n\n:\n\n", []),
    Case("a comment at the very end", b"data: x\n\n: a", [(b"", b"x")]),
]  # fmt: skip


@pytest.mark.parametrize("case", ODD, ids=lambda case: case.id)
@given(sizes=st.lists(st.integers(1, 9), max_size=60))
def test_rare_forms_are_read_as_the_standard_says(case, sizes):
    """What the standard allows, and what it ignores, at any split."""
    assert read(case.wire) == read(case.wire, sizes) == case.events


def test_a_thousand_events_in_a_packet_and_one_in_a_thousand():
    """Packets decide nothing, at either end."""
    many = b"".join(b"data: %d\n\n" % number for number in range(1000))
    large = b"data: " + b"x" * 994 + b"\n\n"

    assert read(many) == [(b"", b"%d" % number) for number in range(1000)]
    assert read(large, [1] * 1002) == [(b"", b"x" * 994)]


def test_what_keeps_a_stream_alive_is_no_event():
    """Our own comment is one that every reader skips."""
    assert read(KEEP_ALIVE * 3 + b"data: x\n\n" + KEEP_ALIVE) == [(b"", b"x")]
