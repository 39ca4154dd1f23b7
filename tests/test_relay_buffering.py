"""Streams whose text is cut anew on their way: in virtual time, from provider to caller."""

import json
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.absent import NoFilter
from headworks.core.buffering import Buffers
from headworks.errors import StreamTruncated
from headworks.made import made_answer
from headworks.relay import Relay
from headworks.testing import FakeClock, MemoryLedger
from headworks.types import Buffering, Call, Request
from tests.relaying import END, Spoken, Stage, Turn, chunk
from tests.world import FakeEstimator

WORDS = Buffers(Buffering("words", 0.05))
HEADER = b"x-headworks-buffer"
CALL = Call("call-1", Request("POST", "/v1/chat/completions"), 0.0, 0.0)


def spoken(*script, then=END) -> Turn:
    end = (script[-1][0] + 1.0, then)
    return Turn(0.0, Spoken(script=(*script, end)))


def words(stage: Stage) -> list[tuple[float, str]]:
    """Return the pieces of text that the caller got, and when."""
    pieces = [
        (at, line[6:])
        for at, piece in stage.heard
        for line in piece.split(b"\n")
        if line.startswith(b"data: {")
    ]
    told = [(at, json.loads(data)) for at, data in pieces]
    return [
        (at, value["choices"][0]["delta"].get("content", ""))
        for at, value in told
        if value.get("choices")
    ]


def test_words_arrive_whole_and_in_time():
    """A word leaves with the piece that ends it, or 50 ms after it came, on real timers."""
    stage = Stage(
        spoken(
            (0.00, chunk("Hel")),
            (0.02, chunk("lo wo")),
            (0.04, chunk("rld")),
            (0.50, chunk(" and")),
            (0.52, chunk(" so")),
        ),
        buffers=WORDS,
    )

    stage.run(stage.carry())

    assert words(stage) == [
        (0.02, "Hello"),
        (0.07, " world"),
        (0.52, " and"),
        (0.57, " so"),
        (1.52, ""),
    ]
    assert stage.said.endswith(END)


def test_off_costs_nothing_and_changes_nothing():
    """Without a word about it, each packet passes as it came."""
    stage = Stage(spoken((0.0, chunk("Hel")), (0.01, chunk("lo wo"))))

    stage.run(stage.carry())

    assert stage.said == chunk("Hel") + chunk("lo wo") + END
    assert [at for at, _ in stage.heard] == [0.0, 0.01, 1.01, 1.01]


def test_a_request_has_the_last_word():
    """`x-headworks-buffer` goes before all configuration, with a delay of its own if it likes."""
    script = ((0.0, chunk("One is. Two")), (0.9, chunk(" is. Three")))
    stage = Stage(spoken(*script), buffers=WORDS)
    stage.run(stage.carry(headers=((HEADER, b"sentences; max_delay=2s"),)))
    assert words(stage) == [(0.0, "One is. "), (0.9, "Two is. "), (1.9, "Three"), (1.9, "")]

    stage = Stage(spoken(*script), buffers=WORDS)
    stage.run(stage.carry(headers=((HEADER, b"off"),)))
    assert stage.said == chunk("One is. Two") + chunk(" is. Three") + END


@pytest.mark.parametrize(
    "value",
    [b"", b"word", b"words; delay=2s", b"words; max_delay=0", b"words; max_delay=2h", b"words 2s"],
)
def test_a_word_that_is_not_understood_is_refused(value):
    """A mistake in the header is told, not guessed at."""
    stage = Stage()
    with pytest.raises(Exception, match=r"x-headworks-buffer must be one of off, words"):
        stage.loop.run_until_complete(stage.carry(headers=((HEADER, value),)))
    stage.loop.close()


def test_held_text_leaves_before_an_error():
    """What a broken stream has said is not lost."""
    broken = Spoken(script=((0.0, chunk("Hello wor")), (0.01, StreamTruncated("cut"))))
    stage = Stage(Turn(0.0, broken), buffers=WORDS)

    said = stage.run(stage.carry())

    assert said.startswith(chunk("Hello") + chunk(" wor") + b'data: {"error"')


def test_held_text_leaves_before_a_clean_end():
    """A provider that forgets its finish_reason still said its last word."""
    stage = Stage(Turn(0.0, Spoken(script=((0.0, chunk("Hello wor")), (0.01, END)))), buffers=WORDS)

    assert stage.run(stage.carry()) == chunk("Hello") + chunk(" wor") + END


@pytest.mark.anyio
async def test_whatever_ends_a_stream_its_text_leaves_and_its_source_is_closed():
    """Also where a stream ends without any last event, or its reader goes away."""
    relay, ended = Relay(NoFilter(), FakeClock(), buffers=WORDS), list[str]()
    answer = made_answer(b"", CALL, MemoryLedger(), FakeEstimator())

    async def events() -> AsyncGenerator[bytes]:
        try:
            yield chunk("Hello wor")
            yield chunk("ld")
        finally:
            ended.append("closed")

    buffer = WORDS.open(CALL)
    assert buffer is not None
    assert [piece async for piece in relay._recut(answer, events(), buffer)] == [
        chunk("Hello"),
        chunk(" world"),
    ]
    left = relay._recut(answer, events(), buffer)
    await anext(left)
    await left.aclose()
    assert ended == ["closed", "closed"]


@pytest.mark.parametrize("pieces", [1, 2, 3, 4])
def test_a_caller_may_leave_while_text_is_held(pieces):
    """No timer and no connection is left behind."""
    stage = Stage(
        spoken((0.0, chunk("Hel")), (0.2, chunk("lo wo")), (0.21, chunk("rld"))), buffers=WORDS
    )

    stage.run(stage.carry(pieces=pieces))

    assert len(stage.heard) == pieces


def test_the_books_count_what_came():
    """Usage and output are those of the stream as its provider sent it."""
    usage = {"id": "c", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    last = chunk(finish="stop") + b"data: " + json.dumps(usage).encode() + b"\n\ndata: [DONE]\n\n"
    stage = Stage(spoken((0.0, chunk("a")), (0.01, chunk("b c")), then=last), buffers=WORDS)

    stage.run(stage.carry())

    (row,) = stage.world.ledger.rows
    assert (row.usage.input, row.usage.output, row.certainty) == (3, 4, "exact")


SCRIPTS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.001, 0.02, 0.049, 0.2]), st.text("ab .中\n`", max_size=6)),
    min_size=1,
    max_size=25,
)


@given(SCRIPTS, st.sampled_from(["words", "sentences", "interval"]))
def test_every_piece_arrives_in_time_and_all_of_them_add_up(script, mode):
    """At no moment has the caller less than all that came more than 50 ms ago."""
    now, timed = 0.0, list[tuple[float, str]]()
    for pause, text in script:
        now += pause
        timed.append((now, text))
    stage = Stage(
        spoken(*((at, chunk(text)) for at, text in timed)),
        buffers=Buffers(Buffering(mode, 0.05)),
    )

    stage.run(stage.carry())

    told = words(stage)
    assert "".join(text for _, text in told) == "".join(text for _, text in timed)
    begun = next((at for at, text in timed if text), 0.0)  # until then all of it is held
    for at, _ in timed:
        due = max(at, begun) + 0.052
        came = "".join(text for when, text in timed if when <= at)
        heard = "".join(text for when, text in told if when <= due)
        assert heard.startswith(came)
