"""The text of a stream cut anew: what leaves adds up to what came, in its order, in time."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from headworks.core.buffering import MOST_HELD, Buffers
from headworks.types import Buffering, Call, Caller, Request
from tests.core.buffered import (
    CHAT,
    COMPLETIONS,
    DELAY,
    RESPONSES,
    Reader,
    chunk,
    delta,
    encode,
    legacy,
    text_of,
    texts,
)

DONE = b"data: [DONE]\n\n"


def test_words_leave_whole():
    """Pieces of words are joined; what leaves is a chunk like those that came."""
    reader = Reader()

    assert texts(reader.feed(chunk("Hel"))) == []
    assert reader.feed(chunk("lo wor")) == [chunk("Hello")]
    assert reader.feed(chunk(None, finish="stop"), DONE) == [
        chunk(" wor"),
        chunk(None, finish="stop"),
        None,
    ]
    assert reader.buffer.due is None


def test_a_piece_never_waits_longer_than_the_delay():
    """Each piece leaves at the latest so long after it came, whole word or not."""
    reader = Reader()
    reader.feed(chunk("Hel"))
    assert reader.buffer.due == pytest.approx(reader.now + DELAY)

    assert texts(reader.wait(0.04)) == []
    assert texts(reader.feed(chunk("lo"))) == []
    assert texts(reader.wait(0.01)) == ["Hello"]
    assert reader.buffer.due is None


def test_the_delay_begins_anew_with_what_came_last():
    """The rest of a piece that was cut is as old as that piece, not as what has left."""
    reader = Reader()
    reader.feed(chunk("one"))
    reader.wait(0.03)
    assert texts(reader.feed(chunk(" two"))) == ["one"]

    assert texts(reader.wait(0.03)) == []
    assert texts(reader.wait(0.02)) == [" two"]


def test_the_oldest_piece_of_all_choices_decides():
    """What leaves of one choice gives another one's text no more time."""
    reader = Reader()
    reader.feed(chunk("one", 0))
    reader.wait(0.02)
    reader.feed(chunk("two", 1))
    reader.wait(0.02)
    assert texts(reader.feed(chunk(" more", 1))) == ["two"]

    assert texts(reader.wait(0.01)) == ["one", " more"]


def test_a_text_that_leaves_whole_gives_another_no_more_time():
    """Where nothing of one choice stays behind, the other one's piece is as old as before."""
    reader = Reader(mode="sentences")
    reader.feed(chunk("one", 0))
    reader.wait(0.02)
    reader.feed(chunk("two", 1))
    reader.wait(0.02)
    assert texts(reader.feed(chunk("\n", 1))) == ["two\n"]

    assert texts(reader.wait(0.01)) == ["one"]
    assert reader.buffer.due is None


def test_a_piece_of_another_kind_has_all_its_time():
    """A word that is cut because the next chunk differs takes the old piece's time with it."""
    reader = Reader()
    reader.feed(chunk("one", model="a"))
    reader.wait(0.03)
    assert texts(reader.feed(chunk("two", model="b"))) == ["one"]

    assert texts(reader.wait(0.03)) == []
    assert texts(reader.feed(chunk("中", model="b"))) == ["two中"]
    assert reader.buffer.due is None


def test_nothing_is_due_when_nothing_is_held():
    """A text that leaves whole sets no timer."""
    reader = Reader()
    reader.feed(chunk("a"))
    assert texts(reader.feed(chunk("中"))) == ["a中"]

    assert reader.buffer.due is None


def test_an_interval_joins_what_comes_within_it():
    """What comes within the delay leaves as one event."""
    reader = Reader(mode="interval")
    for piece in ("One. ", "Two ", "thr"):
        assert texts(reader.feed(chunk(piece))) == []

    assert texts(reader.wait(DELAY)) == ["One. Two thr"]


@pytest.mark.parametrize(
    "other",
    [
        chunk(None, finish="stop"),
        chunk(delta={"role": "assistant", "content": ""}),
        chunk(delta={"refusal": "No"}),
        chunk(delta={"reasoning_content": "hm"}),
        chunk(delta={"content": "x", "reasoning_content": "hm"}),
        chunk(delta={"tool_calls": [{"index": 0, "function": {"arguments": '{"content":"a b"'}}]}),
        chunk("x", finish="length"),
        chunk("x", logprobs={"content": [{"token": "x", "logprob": -0.5}]}),
        chunk("x", usage={"prompt_tokens": 1}),
        {"id": "c", "choices": [], "usage": {"prompt_tokens": 1}},
        {"choices": [chunk("x")["choices"][0], chunk("y", 1)["choices"][0]]},
        {"error": {"message": "m", "type": "t", "param": None, "code": "c"}},
        {"unknown": 'a "content":"b" c'},
    ],
    ids=lambda event: json.dumps(event)[:60],
)
def test_whatever_is_not_text_alone_passes_as_it_is_behind_the_text(other):
    """Calls of tools, refusals, thoughts, usage, ends and errors keep their bytes and their order."""
    reader = Reader()
    reader.feed(chunk("Hel"))

    reader.feed(chunk("lo"), other, chunk("wor"), other)

    assert reader.out == encode(chunk("Hello")) + encode(other) + encode(chunk("wor")) + encode(
        other
    )


def test_chunks_that_differ_are_not_joined():
    """A field that changes in the middle of a word is not lost: the word is cut there."""
    reader = Reader()
    reader.feed(chunk("Hel", model="a"))

    assert reader.feed(chunk("lo", model="b")) == [chunk("Hel", model="a")]
    assert reader.flush() == [chunk("lo", model="b")]


def test_padding_differs_from_chunk_to_chunk():
    """OpenAI pads chunks so that their sizes tell nothing; that keeps no words apart."""
    reader = Reader()
    reader.feed(chunk("Hel", obfuscation="aB"), chunk("lo", obfuscation="c"))
    reader.feed(chunk(" w", obfuscation=""))

    assert texts(reader.events) == ["Hello"]


def test_a_role_in_every_chunk_is_told_once():
    """Some providers say who speaks with each piece: the first tells it, as it came."""
    reader = Reader()
    says = [chunk(delta={"role": "assistant", "content": text}) for text in ("Hel", "lo ", "wor")]

    assert reader.feed(says[0]) == [says[0]]
    assert texts(reader.feed(*says[1:])) == ["lo"]


def test_choices_are_texts_of_their_own():
    """With `n` choices each one's words are joined, though their chunks take turns."""
    reader = Reader()
    for piece in ("Hel", "lo", " wo", "rld"):
        reader.feed(chunk(piece, 0), chunk(piece.upper(), 1))
    reader.feed(chunk(None, 0, "stop"))

    told = [(event["choices"][0]["index"], text_of(event)) for event in reader.events[:-1]]
    assert told == [(0, "Hello"), (1, "HELLO"), (0, " world"), (1, " WORLD")]


def test_json_with_spaces_is_read_as_well():
    """Providers that put spaces into their JSON are buffered like others."""
    reader = Reader()
    for piece in ("Hel", "lo", " wo"):
        reader.feed(chunk(piece, obfuscation=piece), spaced=True)

    assert texts(reader.events) == ["Hello"]


def test_escapes_are_read():
    """Quotes, backslashes and letters that are escaped come out as the same text."""
    reader = Reader()
    for piece in (r"\"a\\", r"\"\u00e9\n", r"b \"c"):
        reader.feed(encode(chunk("@")).replace(b'"@"', b'"' + piece.encode() + b'"'))
    reader.flush()

    assert "".join(text or "" for text in texts(reader.events)) == '"a\\"é\nb "c'


def test_no_text_is_held_without_bound():
    """A word without an end leaves when much of it has come."""
    reader = Reader(mode="sentences", delay=1e9)
    for _ in range(MOST_HELD // 1000):
        assert reader.feed(chunk("x" * 1000)) == []

    assert texts(reader.feed(chunk("x" * 1000))) == ["x" * (MOST_HELD // 1000 + 1) * 1000]


def test_a_provider_that_never_repeats_itself_fills_no_memory():
    """Fields that change with each chunk cost joining, not memory."""
    reader = Reader()
    for number in range(1000):
        reader.feed(chunk("x", created=number))
    reader.flush()

    assert "".join(text or "" for text in texts(reader.events)) == "x" * 1000
    assert len(reader.buffer._kinds) <= 64


def test_legacy_completions():
    """Their text stands elsewhere, and is cut the same."""
    reader = Reader(COMPLETIONS)
    reader.feed(legacy("Hel"), legacy("lo wor"), legacy("ld", 1))

    assert texts(reader.events) == ["Hello"]
    assert texts(reader.flush()) == [" wor", "ld"]


CREATED = {"type": "response.created", "sequence_number": 0, "response": {"id": "r"}}


def test_events_of_a_response_are_counted_anew():
    """Numbers go up by one, with no gap where events were joined."""
    reader = Reader(RESPONSES)
    reader.feed(CREATED, delta("Hel", 1), delta("lo", 2), delta(" wor", 3), delta("ld", 4))
    reader.feed({"type": "response.output_text.done", "sequence_number": 5, "text": "Hello world"})
    reader.feed({"type": "response.completed", "sequence_number": 6, "response": {"id": "r", "metadata": {"sequence_number": "6"}}})  # fmt: skip

    assert [event["sequence_number"] for event in reader.events] == [0, 1, 2, 3, 4]
    assert texts(reader.events) == [None, "Hello", " world", None, None]
    assert reader.events[-1]["response"]["metadata"] == {"sequence_number": "6"}


def test_a_number_within_an_event_is_not_taken_for_its_own():
    """Only the event's own number changes, wherever else such a name stands."""
    reader = Reader(RESPONSES)
    tool = {"sequence_number": 7, "parameters": {"sequence_number": 7}}
    reader.feed(CREATED, delta("a", 1), delta("b", 2))
    reader.feed({"type": "response.completed", "tools": [tool], "sequence_number": 3})

    assert reader.events[-1] == {
        "type": "response.completed",
        "tools": [tool],
        "sequence_number": 2,
    }


def test_a_piece_with_two_numbers_is_left_alone():
    """Where it is not plain which number is the event's, it is not joined with others."""
    reader = Reader(RESPONSES)
    pieces = [{"note": {"sequence_number": 9}} | delta(text, at) for at, text in enumerate("ab")]

    assert reader.feed(*pieces) == pieces


def test_more_events_than_came_are_counted_too():
    """A piece that is cut makes two events; the numbers behind it go up."""
    reader = Reader(RESPONSES)
    reader.feed(CREATED, delta("one two", 1), {"type": "response.completed", "sequence_number": 2})

    assert [event["sequence_number"] for event in reader.events] == [0, 1, 2, 3]


def test_parts_of_a_response_are_texts_of_their_own():
    """Each content part has its words."""
    reader = Reader(RESPONSES)
    reader.feed(CREATED, delta("Hel", 1), delta("AB", 2, 1), delta("lo w", 3), delta("C D", 4, 1))

    told = [(event["content_index"], event["delta"]) for event in reader.events[1:]]
    assert told == [(0, "Hello"), (1, "ABC")]


@pytest.mark.parametrize(
    "kind",
    [
        "response.function_call_arguments.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning_text.delta",
        "response.refusal.delta",
        "response.custom_tool_call_input.delta",
    ],
)
def test_other_deltas_of_a_response_pass_one_by_one(kind):
    """Arguments, thoughts and refusals are neither cut nor held."""
    reader = Reader(RESPONSES)
    others = [delta('{"a b', 1, type=kind), delta(" c", 2, type=kind)]

    assert reader.feed(others[0]) == [others[0]]
    assert reader.feed(others[1]) == [others[1]]


def test_log_probabilities_stay_with_their_pieces():
    """Where a client asked for them, a piece and its tokens are not torn apart."""
    reader = Reader(RESPONSES)
    piece = delta("Hel", 1, logprobs=[{"token": "Hel", "logprob": -0.1}])

    assert reader.feed(piece) == [piece]


def call(path: str = CHAT, key: Buffering | None = None, asked: Buffering | None = None, **fields: Any) -> Call:  # fmt: skip
    said = {} if asked is None else {"buffering": asked}
    request = Request("POST", path, fields={"model": "m", "stream": True, **fields}, **said)  # type: ignore[arg-type] # one name only
    caller = Caller("k", "k1") if key is None else Caller("k", "k1", buffering=key)
    return Call("call-1", request, 0.0, 0.0, caller=caller)


WORDS, SENTENCES, OFF = Buffering("words", 0.1), Buffering("sentences"), Buffering("off")


@dataclass(frozen=True)
class Choice:
    """What is said where, and what comes of it: the mode and the delay, None for nothing."""

    id: str
    buffers: Buffers
    call: Call
    chosen: tuple[str, float] | None


CHOICES = [
    Choice("nothing is said", Buffers(), call(), None),
    Choice("off by default", Buffers(Buffering("off", 0.05)), call(), None),
    Choice("for all", Buffers(WORDS), call(), ("Words", 0.1)),
    Choice("the model's word goes before", Buffers(WORDS, {"m": SENTENCES}), call(), ("Sentences", 0.1)),
    Choice("another model's does not", Buffers(WORDS, {"n": SENTENCES}), call(), ("Words", 0.1)),
    Choice("the key's before that", Buffers(WORDS, {"m": SENTENCES}), call(key=Buffering("interval", 1)), ("Anywhere", 1)),
    Choice("the request's before all", Buffers(OFF, {"m": OFF}), call(key=OFF, asked=SENTENCES), ("Sentences", 0.05)),
    Choice("a request can switch it off", Buffers(WORDS), call(asked=OFF), None),
    Choice("a delay alone changes no mode", Buffers(WORDS), call(key=Buffering(None, 0.2)), ("Words", 0.2)),
    Choice("responses", Buffers(WORDS), call(RESPONSES), ("Words", 0.1)),
    Choice("legacy completions", Buffers(WORDS), call(COMPLETIONS), ("Words", 0.1)),
    Choice("other endpoints have no text", Buffers(WORDS), call("/v1/images/generations"), None),
    Choice("JSON is not cut", Buffers(WORDS), call(response_format={"type": "json_schema"}), None),
    Choice("nor that of a response", Buffers(WORDS), call(RESPONSES, text={"format": {"type": "json_object"}}), None),
    Choice("text is text", Buffers(WORDS), call(response_format={"type": "text"}), ("Words", 0.1)),
    Choice("a background response can be taken up again by number", Buffers(WORDS), call(RESPONSES, background=True), None),
]  # fmt: skip


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.id)
def test_which_streams_are_cut(choice):
    """What is nearest to the call counts; JSON and what can be resumed are left alone."""
    buffer = choice.buffers.open(choice.call)

    assert choice.chosen == (buffer and (buffer._new_cuts.__name__, buffer._delay))
