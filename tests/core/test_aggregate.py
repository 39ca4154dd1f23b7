"""Answers put together from the events of their streams."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core import convert
from headworks.core.aggregate import Aggregator
from headworks.core.stream_chat import ChatStream
from tests.core.test_aggregate_chat import aggregated, chunks, message
from tests.core.test_convert import completions, made, responses


@pytest.fixture(scope="module", autouse=True)
def _short_pieces():
    """Let texts of a few words come in many pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convert, "PIECE", 7)
        yield


@given(completions())
def test_what_was_made_a_stream_is_made_whole_again(answer):
    """There and back, for chats."""
    for choice in answer["choices"]:
        choice["message"] = {"refusal": None, "annotations": [], **choice["message"]}

    assert aggregated(event for _, event in made("chat", answer)) == answer


@given(responses())
def test_and_so_is_a_response(answer):
    """There and back, whether its end repeats the output or not."""
    *events, last = [event for _, event in made("responses", answer)]

    assert aggregated([*events, last]) == answer
    if answer["status"] == "completed":
        bare = {**last, "response": {**answer, "output": []}}
        assert aggregated([*events, bare]) == answer


names = st.sampled_from(
    (
        *("choices", "delta", "index", "content", "tool_calls", "function", "id", "type", "usage"),
        *("response", "output", "output_index", "content_index", "item", "part", "text", "error"),
        *("logprobs", "audio", "data", "annotations", "summary", "status", "finish_reason"),
    )
)
kinds = st.sampled_from(
    (
        *("response.created", "response.completed", "response.output_item.added", "error"),
        *("response.output_item.done", "response.content_part.added", "response.output_text.delta"),
        *("response.function_call_arguments.delta", "response.output_text.annotation.added"),
        *("response.refusal.done", "transcript.text.delta", "image_generation.completed", "chunk"),
    )
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2, 3), st.floats(), st.text(max_size=3), kinds),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=5)),
    max_leaves=15,
)  # fmt: skip
odd_chunks = st.dictionaries(names, values, max_size=4).map(
    lambda more: {"choices": [more], **more}
)
odd_events = st.builds(
    lambda kind, more, place: {**more, "type": kind, "output_index": place, "content_index": 0},
    kinds,
    st.dictionaries(names, values, max_size=4),
    st.one_of(st.integers(0, 2), values),
)


@given(st.lists(st.one_of(odd_chunks, odd_events, values), max_size=8))
def test_nothing_that_is_fed_raises(events):
    """Whatever shape the events have, what they tell can be asked for at any time."""
    answer = Aggregator()
    for event in events:
        answer.feed(event)
        answer.event(b"", json.dumps(event).encode())
        json.dumps(answer.result())
        assert answer.is_complete in {True, False}


@given(st.lists(st.one_of(st.binary(max_size=40), st.text(max_size=20)), max_size=8))
def test_nor_do_bytes(pieces):
    """Nor bytes that are no stream at all."""
    answer = Aggregator()
    for piece in pieces:
        answer.feed(piece)
        answer.feed(b"data: " + (piece if isinstance(piece, bytes) else b"x") + b"\n\n")
    answer.finish()

    assert answer.result() is None


def nested(levels: int) -> Any:
    """Return an object in an object in an object."""
    value: Any = {"at": "bottom"}
    for _ in range(levels):
        value = {"x": value}
    return value


def test_what_is_too_deep_to_be_merged_is_replaced():
    """No stream can exhaust the stack."""
    assert message(nested(200), nested(200)) == nested(200)
    assert message(nested(10), nested(10)) != nested(10)


def test_json_that_is_too_deep_to_be_read_is_left_out():
    """The rest is put together; the answer is not called complete."""
    answer = Aggregator()
    answer.event(b"", b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}')
    assert answer.is_complete

    answer.event(b"", b"[" * 100_000)

    assert answer.result() is not None
    assert not answer.is_complete


class Odd:
    """Has a method of the name that official clients' objects have, and takes nothing of theirs."""

    def model_dump(self) -> object:
        return {"choices": []}


def test_objects_of_others_are_left_out():
    """What has no meaning here is not guessed at."""
    odd: list[object] = [Odd(), {"choices": [object()]}, {"choices": [nested(100_000)]}]
    for event in odd:
        answer = Aggregator()
        answer.feed(chunks({"content": "a"}, finish_reason="stop")[0])
        answer.feed(event)
        result: Any = answer.result()

        assert result["choices"][0]["message"]["content"] == "a"
        assert not answer.is_complete


def test_what_official_parsers_take_is_taken():
    """Half a surrogate pair and numbers out of range are no JSON to all, but to most."""
    answer = Aggregator()
    answer.event(b"", rb'{"choices":[{"index":0,"delta":{"content":"\ud83d","x":1e999}}]}')
    answer.event(b"", rb'{"choices":[{"index":0,"delta":{"content":"\ude00"}}]}')
    result: Any = answer.result()

    assert result["choices"][0]["message"]["content"] == "😀"


def test_it_gives_up_beyond_its_bound():
    """More than it may hold is forgotten, whatever form it came in, and it says so."""
    event = {"choices": [{"index": 0, "delta": {"content": "x" * 500}}]}
    data = b"data: " + json.dumps(event).encode() + b"\n\n"
    for fed in ([event] * 2, [data] * 2, [data + data], [b"data: " + b"x" * 2000], "x" * 2000):
        answer = Aggregator(most=1000)
        for piece in [fed] if isinstance(fed, str) else fed:
            answer.feed(piece)
        answer.feed(event)
        answer.feed(data)
        assert (answer.gave_up, answer.is_complete, answer.result()) == (True, False, None)


def test_within_its_bound_it_does_not():
    """The bound is on bytes as they came."""
    data = b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
    answer = Aggregator(most=len(data))
    answer.event(b"", data)
    answer.event(b"", b"[DONE]")

    assert (answer.gave_up, answer.is_complete) == (False, True)


@pytest.mark.timeout(30)
def test_a_long_answer_is_joined_once():
    """20 MB in pieces of a kilobyte: adding them to each other would copy 200 GB."""
    answer = Aggregator()
    event = b'{"choices":[{"index":0,"delta":{"content":"' + b"x" * 1000 + b'"}}]}'
    for _ in range(20_000):
        answer.event(b"", event)
    result: Any = answer.result()

    assert len(result["choices"][0]["message"]["content"]) == 20_000_000


def test_results_before_the_end_do_not_change_afterwards():
    """What was handed out is not written to."""
    answer = Aggregator()
    results = []
    for text in "abc":
        answer.feed({"choices": [{"index": 0, "delta": {"content": text}, "logprobs": {"content": [text]}}]})  # fmt: skip
        results.append(answer.result())

    told = [(one["choices"][0]["message"]["content"], one["choices"][0]["logprobs"]["content"]) for one in results if one]  # fmt: skip
    assert told == [("a", ["a"]), ("ab", ["a", "b"]), ("abc", ["a", "b", "c"])]


def test_a_last_event_without_its_end_counts():
    """Some providers close the connection right behind it."""
    answer = Aggregator()
    answer.feed(b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n')
    assert answer.result() is None

    answer.finish()

    assert answer.is_complete


def test_it_sees_what_a_relayed_stream_hides():
    """As the reader of a stream that passes: the usage chunk too, though the caller gets none."""
    answer = Aggregator()
    stream = ChatStream(shows_usage=False)
    stream.seen = answer.event
    stream.feed(b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n')
    out = stream.feed(b'data: {"choices":[],"usage":{"total_tokens":7}}\n\ndata: [DONE]\n\n')
    result: Any = answer.result()

    assert (out, result["usage"]) == (b"", {"total_tokens": 7})
