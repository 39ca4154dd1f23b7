"""Whichever way an event is told to be like another one, the same leaves."""

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from headworks.core.buffering import Buffer
from headworks.core.buffering_texts import FORMS
from tests.core.alike import counted, spaced, streams, written
from tests.core.buffered import (
    CHAT,
    COMPLETIONS,
    DELAY,
    MODES,
    RESPONSES,
    Reader,
    chunk,
    delta,
    encode,
    read,
    text_of,
)


def chunk_like(tail: bytes) -> bytes:
    return written(b"", b"TEXT", tail, 0)[CHAT]


def delta_like(head: bytes, tail: bytes) -> bytes:
    return written(head, b"TEXT", tail, 0)[RESPONSES]


class LongWay(Buffer):
    """A buffer that takes every event apart."""

    @override
    def _follow(self, event: bytes, now: float, out: list[bytes]) -> bool:
        return False


def take(pairs: Any, name: str) -> Any:
    """Take the first field of this name out of an object."""
    return pairs.pop([key for key, _ in pairs].index(name))[1]


def taken_apart(event: bytes, path: str) -> tuple[Any, str, str]:
    """Return which text an event is about, what it is besides text, padding and number, and its text."""
    try:
        said = event.partition(b"data: ")[2].decode("utf-8", "replace")
        fields: Any = json.loads(said, strict=False, object_pairs_hook=list)
    except ValueError:
        return None, repr(counted(event, 0) if path == RESPONSES else event), ""
    around, where, name, place = fields, fields, "delta", "content_index"
    if path != RESPONSES:
        [around] = [where] = take(fields, "choices")
        name, place = "text", "index"
    if path == CHAT:
        around, name = take(where, "delta"), "content"
    text, index = take(around, name), take(where, place)
    free = {"obfuscation", "sequence_number"} if path == RESPONSES else {"obfuscation"}
    rest = [field for field in fields if field[0] not in free]
    return index, repr((around is not fields and around, where is not fields and where, rest)), text


def stories(wire: bytes, path: str) -> dict[Any, list[list[str]]]:
    """Return for each text its events in order; those that differ in no more than text as one."""
    told = defaultdict[Any, list[list[str]]](list)
    for event in wire.split(b"\n\n"):
        place, rest, text = taken_apart(event, path)
        if not told[place] or told[place][-1][0] != rest:
            told[place].append([rest, ""])
        told[place][-1][1] += text
    return told


@given(
    streams(),
    st.sampled_from([CHAT, COMPLETIONS, RESPONSES]),
    st.sampled_from(MODES),
    st.booleans(),
    st.data(),
)
def test_the_short_way_leads_where_the_long_one_does(events, path, mode, is_spaced, data):
    """What leaves is the same to the byte, at the same time, however events were recognised."""
    short, long = (make(FORMS[path], mode, DELAY) for make in (Buffer, LongWay))
    wire = [spaced(event[path]) if is_spaced else event[path] for event in events]
    now, at = 100.0, 0
    while at < len(wire):
        count = data.draw(st.sampled_from([1, 1, 1, 2, 5]))
        piece = b"".join(wire[at : at + count])
        assert short.feed(piece, now) == long.feed(piece, now)
        assert short.due == long.due
        at += count
        now += data.draw(st.sampled_from([0.0, 0.001, 0.06]))
    assert short.flush() == long.flush()


@given(streams(), st.sampled_from([CHAT, COMPLETIONS, RESPONSES]), st.sampled_from(MODES))
def test_nothing_but_text_is_joined(events, path, mode):
    """To who reads the JSON, each text says the same, with the same fields around it, in order."""
    wire = [event[path] for event in events]
    buffer = Buffer(FORMS[path], mode, DELAY)
    out = [buffer.feed(event, 0.0) for event in wire]
    out.append(buffer.flush())

    assert stories(b"".join(out), path) == stories(b"".join(wire), path)


@dataclass(frozen=True)
class Case:
    """How a provider writes an event, and how many of forty are taken apart."""

    id: str
    path: str
    pattern: bytes
    apart: int


CASES = [
    Case("nothing but text", CHAT, chunk_like(b""), 2),
    Case("padding", CHAT, chunk_like(b',"obfuscation":"PAD"'), 2),
    Case("a number is one of the fields of a chunk", CHAT, chunk_like(b',"sequence_number":7'), 2),
    Case("text, number", RESPONSES, delta_like(b"", b',"sequence_number":NUMBER'), 3),
    Case("text, padding, number", RESPONSES, delta_like(b"", b',"obfuscation":"PAD","n":1,"sequence_number":NUMBER'), 3),
    Case("number, text", RESPONSES, delta_like(b'"sequence_number":NUMBER,', b',"logprobs":[]'), 3),
    Case("number, text, padding", RESPONSES, delta_like(b'"sequence_number":NUMBER,', b',"obfuscation":"PAD"'), 3),
    Case("no number", RESPONSES, delta_like(b"", b""), 2),
    Case("another order", RESPONSES, delta_like(b"", b',"sequence_number":NUMBER,"obfuscation":"PAD"'), 40),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_an_event_like_the_one_before_is_not_taken_apart(case):
    """The first two of a kind are, and the first whose number is longer; all are joined."""
    apart = list[bytes]()

    class Watched(Buffer):
        @override
        def _hold(self, event: bytes, now: float, out: list[bytes]) -> bool:
            apart.append(event)
            return super()._hold(event, now, out)

    buffer = Watched(FORMS[case.path], "interval", DELAY)
    buffer.feed(encode({"type": "response.created", "sequence_number": 69}), 0.0)
    apart.clear()
    for at in range(40):
        event = case.pattern.replace(b"NUMBER", b"%d" % (at + 70))
        assert (
            buffer.feed(
                event.replace(b"PAD", b"x" * (at % 5)).replace(b"TEXT", b'%d\\" ' % at), 0.0
            )
            == b""
        )
    [event] = read(buffer.flush())

    assert text_of(event) == "".join(f'{at}" ' for at in range(40))
    assert len(apart) == case.apart
    if b"NUMBER" in case.pattern:
        assert event["sequence_number"] == 70
    if b"PAD" in case.pattern:
        assert event["obfuscation"] == "x" * 4  # the last one's


PLAIN = delta_like(b'"sequence_number":7,', b',"a":1,"obfuscation":"PAD","b":1')
COUNTED = delta_like(b"", b',"a":1,"obfuscation":"PAD","b":1,"sequence_number":7,"c":1')


@pytest.mark.parametrize(
    ("event", "old", "new"),
    [
        (PLAIN, b'{"type"', b'{"Type"'),
        (PLAIN, b'"content_index":0', b'"content_index":1'),
        (PLAIN, b'"a":1', b'"a":2'),
        (PLAIN, b'"b":1', b'"b":2'),
        (PLAIN, b'"b":1}', b'"b":12}'),
        (COUNTED, b'"item_id":"m"', b'"item_id":"n"'),
        (COUNTED, b'"a":1', b'"a":2'),
        (COUNTED, b'"b":1', b'"b":2'),
        (COUNTED, b'"c":1', b'"c":2'),
        (COUNTED, b":7", b":-"),
    ],
)
def test_one_byte_elsewhere_keeps_pieces_apart(event, old, new):
    """Wherever events differ in more than text, padding and number, a cut stands between them."""
    buffer = Buffer(FORMS[RESPONSES], "interval", DELAY)
    wire = [event, event, event, event.replace(old, new)]
    out = b"".join(buffer.feed(one, 0.0) for one in wire) + buffer.flush()
    joined, other, rest = out.split(b"\n\n")

    assert b'"TEXTTEXTTEXT"' in joined
    assert new not in joined
    assert b'"TEXT"' in other
    assert new in other
    assert not rest


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("choices", [2, 4, 7])
def test_choices_that_take_turns_do_not_mix(choices, mode):
    """However many choices a call asks for, each one's text adds up, and its words are joined."""
    reader = Reader(mode=mode)
    for piece in ("Hel", "lo", " wor", "ld. ", "Bye"):
        for index in range(choices):
            reader.feed(chunk(f"{piece}{index}", index, obfuscation=piece))
    reader.flush()

    for index in range(choices):
        of_it = [event for event in reader.events if event["choices"][0]["index"] == index]
        said = "".join(text_of(event) or "" for event in of_it)
        assert said == "".join(f"{piece}{index}" for piece in ("Hel", "lo", " wor", "ld. ", "Bye"))
        assert len(of_it) < 5


@pytest.mark.parametrize("packed", [1, 8])
def test_choices_that_take_turns_are_not_taken_apart_either(packed):
    """Each of eight is expected after the one that it has followed, also where they come together."""
    apart = list[bytes]()

    class Watched(Buffer):
        @override
        def _hold(self, event: bytes, now: float, out: list[bytes]) -> bool:
            apart.append(event)
            return super()._hold(event, now, out)

    buffer = Watched(FORMS[CHAT], "interval", DELAY)
    wire = [written(b"", b"a ", b"", at % 8)[CHAT] for at in range(320)]
    for at in range(0, 320, packed):
        assert buffer.feed(b"".join(wire[at : at + packed]), 0.0) == b""

    assert [text_of(event) for event in read(buffer.flush())] == ["a " * 40] * 8
    assert len(apart) <= 2 * 8 + 1


FIRST = written(b'"obfuscation":"p",', b"a", b"", 0)[CHAT]
PADDED = written(b"", b"a", b',"obfuscation":"p"', 0)[CHAT]


@pytest.mark.parametrize(
    "last",
    [
        (FIRST, b"1" + FIRST.replace(b'"p"', b'""')),
        (PADDED, PADDED.replace(b'"p"', b'"p\n\nq"')),
        (PADDED, PADDED.replace(b'"a"', rb'"\ud83d"').replace(b'"p"', b'"q"')),
    ],
    ids=["digits before an event", "two that are broken", "half a character"],
)
def test_what_looks_like_the_one_before_is_looked_at_in_full(last):
    """Such events leave by themselves, and lend nothing to the text before them."""
    event, other = last
    buffer = Buffer(FORMS[CHAT], "interval", DELAY)
    assert [buffer.feed(event, 0.0) for _ in range(3)] == [b"", b"", b""]

    out = buffer.feed(other, 0.0) + buffer.flush()
    assert out == event.replace(b'"a"', b'"aaa"') + other


def test_another_field_of_that_name_is_not_taken_for_the_text():
    """Where a field with the name of the text's comes before it, pieces pass as they are."""
    event = written(b'"content":"x",', b"a", b"", 0)[CHAT]
    buffer = Buffer(FORMS[CHAT], "interval", DELAY)

    assert [buffer.feed(event, 0.0) for _ in range(3)] == [event] * 3


@pytest.mark.parametrize("raw", [rb"\ud83d", rb"\ude00 b", b"\xff", rb"\x", b"\t"], ids=repr)
def test_what_is_no_text_passes_as_it_came(raw):
    """Half of a surrogate pair, or bytes that are no JSON, break no stream and change no place."""
    reader = Reader()
    broken = encode(chunk("@")).replace(b"@", raw)
    reader.feed(chunk("a b"), chunk("c"))
    left = len(reader.out)

    out = reader.buffer.feed(broken, reader.now)
    assert reader.out[:left] + out == encode(chunk("a")) + encode(chunk(" bc")) + broken
    assert reader.feed(chunk("d")) == []
    assert reader.flush() == [chunk("d")]


def test_a_number_that_is_none_is_left_alone():
    """A provider that writes null for its numbers gets no other ones, and breaks nothing."""
    reader = Reader(RESPONSES)
    reader.feed(*(delta(text, 0, sequence_number=None) for text in ("a", "b c", "d")))
    reader.flush()

    assert reader.events == [
        delta("ab", 0, sequence_number=None),
        delta(" cd", 0, sequence_number=None),
    ]


def test_two_paddings_are_none():
    """Where it is not plain which of two fields pads an event, it passes as it is."""
    reader = Reader()
    pieces = [{**chunk(text, obfuscation=text), "x": {"obfuscation": text}} for text in "ab"]

    assert reader.feed(*pieces) == pieces


def test_a_provider_with_ever_new_texts_fills_no_memory():
    """Places without end, as new items in each event of a response, are forgotten and lose nothing."""
    buffer = Buffer(FORMS[RESPONSES], "words", 1e9)
    wire = [delta(f"a {at}", at, item_id=f"msg_{at % 1100}") for at in range(2200)]
    out = b"".join(buffer.feed(encode(event), 0.0) for event in wire)
    assert len(buffer._texts) <= 1024
    events = read(out + buffer.flush())

    said = defaultdict[str, str](str)
    for event in events:
        said[event["item_id"]] += event["delta"]
    assert said == {f"msg_{at}": f"a {at}a {at + 1100}" for at in range(1100)}
    numbers = [event["sequence_number"] for event in events]
    assert numbers == list(range(len(numbers)))
