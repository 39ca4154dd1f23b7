"""A whole answer, made the stream that it would have been."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from headworks.core import convert
from headworks.core.convert import as_events
from headworks.core.stream_chat import ChatStream
from headworks.core.stream_responses import ResponsesStream
from headworks.types import Usage

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

texts = st.text(max_size=40)
ids = st.text("abcdef0123456789", min_size=1, max_size=8)


@pytest.fixture(scope="module", autouse=True)
def _short_pieces():
    """Let texts of a few words be long ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convert, "PIECE", 7)
        yield


def call(id_: str, name: str, arguments: str) -> dict[str, object]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


calls = st.lists(st.builds(call, ids, ids, texts), min_size=1, max_size=3)
messages = st.one_of(
    texts.map(lambda text: {"role": "assistant", "content": text, "refusal": None}),
    texts.map(lambda text: {"role": "assistant", "content": None, "refusal": text or "No."}),
    calls.map(lambda made: {"role": "assistant", "content": None, "tool_calls": made}),
)
reasons = st.sampled_from(["stop", "length", "tool_calls", "content_filter"])


@st.composite
def completions(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a chat completion."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "service_tier": "default",
        "choices": [
            {"index": n, "message": message, "logprobs": None, "finish_reason": draw(reasons)}
            for n, message in enumerate(draw(st.lists(messages, min_size=1, max_size=3)))
        ],
        **draw(st.sampled_from([{}, {"usage": USAGE}])),
    }


def made(dialect: Any, answer: object) -> list[tuple[bytes, dict[str, Any]]]:
    """Return the events of an answer, [DONE] left out."""
    events = as_events(dialect, json.dumps(answer).encode())
    assert events is not None
    return [(name, json.loads(data)) for name, data in events if data != b"[DONE]"]


@given(completions())
def test_the_chunks_of_a_completion_add_up_to_it(answer):
    """The official client puts the chunks together to the completion that the provider sent."""
    state = ChatCompletionStreamState()
    for _, chunk in made("chat", answer):
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    summed = state.current_completion_snapshot
    whole = ChatCompletion.model_validate(answer)

    assert (summed.id, summed.model, summed.usage) == (whole.id, whole.model, whole.usage)
    assert summed.service_tier == whole.service_tier
    for got, want in zip(summed.choices, whole.choices, strict=True):
        assert (got.index, got.finish_reason) == (want.index, want.finish_reason)
        assert (got.message.content or None) == (want.message.content or None)
        assert (got.message.refusal or None) == (want.message.refusal or None)
        assert told(got.message.tool_calls) == told(want.message.tool_calls)


def told(tool_calls: Any) -> list[tuple[str, str, str]]:
    return [(one.id, one.function.name, one.function.arguments) for one in tool_calls or ()]


@given(completions(), st.booleans())
def test_our_own_reader_takes_the_chunks_of_a_completion(answer, shows_usage):
    """A made stream ends well, and its usage is booked whether or not the caller sees it."""
    stream = ChatStream(shows_usage=shows_usage)
    out = stream.take(as_events("chat", json.dumps(answer).encode()) or ())

    assert (stream.error, stream.ending) == (None, b"data: [DONE]\n\n")
    assert stream.reported == ((Usage(3, 4), ()) if "usage" in answer else None)
    assert (b'"usage"' in out) == (shows_usage and "usage" in answer)
    filtered = any(one["finish_reason"] == "content_filter" for one in answer["choices"])
    assert stream.filtered == filtered


def test_a_completion_begins_as_the_providers_do():
    """The first chunk names the role, what is said comes after it, the reason of the end apart."""
    message = {"role": "assistant", "content": "Hi", "refusal": None, "reasoning_content": "Hm"}
    filters = {"hate": {"filtered": False}}
    choice = {"index": 0, "message": message, "content_filter_results": filters}
    answer = {"id": "c", "prompt_filter_results": [1], "choices": [choice]}

    chunks = [chunk for _, chunk in made("chat", answer)]

    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"reasoning_content": "Hm"},
        {"content": "Hi"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "stop"]
    assert ["prompt_filter_results" in chunk for chunk in chunks] == [True, False, False, False]
    assert chunks[-1]["choices"][0]["content_filter_results"] == filters


def test_log_probabilities_come_with_the_text():
    """What the caller asked for beside the text is not lost, and comes once."""
    logprobs = {"content": [{"token": "Hi", "logprob": -0.1, "bytes": None, "top_logprobs": []}]}
    message = {"role": "assistant", "content": "Hi"}
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": "stop"}

    chunks = [chunk["choices"][0] for _, chunk in made("chat", {"id": "c", "choices": [choice]})]

    assert [chunk["logprobs"] for chunk in chunks] == [None, logprobs, None]


@given(st.lists(texts, min_size=1, max_size=3), st.sampled_from(["stop", "length"]))
def test_the_chunks_of_a_legacy_completion_add_up_to_it(said, reason):
    """Legacy completions are made streams as well."""
    choices = [
        {"index": n, "text": text, "logprobs": None, "finish_reason": reason}
        for n, text in enumerate(said)
    ]
    answer = {"id": "cmpl", "object": "text_completion", "created": 1, "model": "m"}
    chunks = [chunk for _, chunk in made("chat", {**answer, "choices": choices, "usage": USAGE})]

    for chunk in chunks:  # as recorded, a chunk before the last has no finish_reason
        ended = [{**one, "finish_reason": reason} for one in chunk["choices"]]
        Completion.model_validate({**chunk, "choices": ended})
    for n, text in enumerate(said):
        mine = [one for chunk in chunks for one in chunk["choices"] if one["index"] == n]
        assert "".join(one["text"] for one in mine) == text
        assert [one["finish_reason"] for one in mine if one["finish_reason"]] == [reason]
    assert (chunks[-1]["choices"], chunks[-1]["usage"]) == ([], USAGE)


def part(kind: str, text: str) -> dict[str, object]:
    if kind == "refusal":
        return {"type": kind, "refusal": text}
    citation = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}
    return {"type": kind, "text": text, "annotations": [citation] if text else [], "logprobs": []}


def message(id_: str, parts: list[dict[str, object]]) -> dict[str, object]:
    done = {"status": "completed", "role": "assistant"}
    return {"id": f"msg_{id_}", "type": "message", **done, "content": parts}


def function(id_: str, arguments: str) -> dict[str, object]:
    named = {"call_id": "call", "name": "look", "status": "completed"}
    return {"id": f"fc_{id_}", "type": "function_call", **named, "arguments": arguments}


def custom(id_: str, text: str) -> dict[str, object]:
    named = {"call_id": "call", "name": "write"}
    return {"id": f"ctc_{id_}", "type": "custom_tool_call", **named, "input": text}


def thought(id_: str, summary: str, text: str) -> dict[str, object]:
    more = {"content": [{"type": "reasoning_text", "text": text}]} if text else {}
    parts = [{"type": "summary_text", "text": summary}]
    return {"id": f"rs_{id_}", "type": "reasoning", "summary": parts, **more}


def search(id_: str) -> dict[str, object]:
    action = {"type": "search", "query": "q"}
    return {"id": f"ws_{id_}", "type": "web_search_call", "status": "completed", "action": action}


items = st.one_of(
    st.builds(
        message,
        ids,
        st.lists(st.builds(part, st.sampled_from(["output_text", "refusal"]), texts), max_size=2),
    ),
    st.builds(function, ids, texts),
    st.builds(custom, ids, texts),
    st.builds(thought, ids, texts, texts),
    st.builds(search, ids),
)
ENDS: dict[str, dict[str, object]] = {
    "completed": {},
    "incomplete": {"incomplete_details": {"reason": "content_filter"}},
    "failed": {"error": {"code": "server_error", "message": "m"}},
}


def numbered(item: dict[str, Any], n: int) -> dict[str, Any]:
    """Return the item with ids that no other one has."""
    return item | {name: f"{item[name]}_{n}" for name in ("id", "call_id") if name in item}


@st.composite
def responses(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a response."""
    status = draw(st.sampled_from([*ENDS]))
    counts = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    cached = {"cached_tokens": 0, "cache_write_tokens": 0}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "completed_at": 2 if status == "completed" else None,
        "model": "m",
        "status": status,
        "error": None,
        "incomplete_details": None,
        **ENDS[status],
        "output": [numbered(item, n) for n, item in enumerate(draw(st.lists(items, max_size=3)))],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            **counts,
            "input_tokens_details": cached,
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }


@given(responses())
def test_the_events_of_a_response_are_what_official_clients_know(answer):
    """Every event is valid, numbered without a gap, and they add up to the response."""
    events = made("responses", answer)
    state: ResponseStreamState[None] = ResponseStreamState(input_tools=[], text_format=omit)

    for n, (name, event) in enumerate(events):
        assert (name.decode(), event["sequence_number"]) == (event["type"], n)
        state.handle_event(EVENT.validate_python(event))

    *filling, last = [event for _, event in events]
    assert [event["type"] for event in filling[:2]] == ["response.created", "response.in_progress"]
    assert (filling[0]["response"]["output"], filling[0]["response"]["usage"]) == ([], None)
    assert last == {
        "type": f"response.{answer['status']}",
        "response": answer,
        "sequence_number": len(filling),
    }
    Response.model_validate(last["response"])
    assert summed(filling) == answer["output"]


def summed(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put the items together from what filled them, and see that the last word is the same."""
    output: list[dict[str, Any]] = []
    for event in events[2:]:
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.added":
            assert event["output_index"] == len(output)
            output.append(json.loads(json.dumps(event["item"])))
        else:
            fill(output[-1], kind, event)
    return output


def fill(item: dict[str, Any], kind: str, event: dict[str, Any]) -> None:
    if kind == "output_item.done":
        item |= {name: event["item"][name] for name in ("status",) if name in item}
        assert item == event["item"]
    elif kind.endswith("part.added"):
        parts(item, kind).append(json.loads(json.dumps(event["part"])))
    elif kind.endswith("part.done"):
        assert parts(item, kind)[-1] == event["part"]
    elif kind.endswith("annotation.added"):
        parts(item, kind)[-1]["annotations"].append(event["annotation"])
    elif kind.endswith(".delta"):
        assert len(event["delta"]) <= convert.PIECE
        add(item, kind.removesuffix(".delta"), event["delta"])
    else:
        assert (event["item_id"], kind.endswith(".done")) == (item["id"], True)


def parts(item: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = item["summary" if "summary" in kind else "content"]
    return found


def add(item: dict[str, Any], kind: str, delta: str) -> None:
    names = {"function_call_arguments": "arguments", "custom_tool_call_input": "input"}
    if kind in names:
        item[names[kind]] += delta
    else:
        parts(item, kind)[-1]["refusal" if kind == "refusal" else "text"] += delta


@given(responses())
def test_our_own_reader_takes_the_events_of_a_response(answer):
    """A made stream ends as the response did, and its usage is booked."""
    stream = ResponsesStream()
    stream.take(as_events("responses", json.dumps(answer).encode()) or ())

    assert stream.error is None
    assert stream.ending is not None
    assert stream.reported is not None
    assert stream.reported[0] == Usage(3, 4)
    assert stream.filtered == (answer["status"] == "incomplete")
    assert (stream.failure is not None) == (answer["status"] == "failed")


@pytest.mark.parametrize(
    ("dialect", "answer"),
    [
        ("chat", {}),
        ("chat", {"choices": []}),
        ("chat", {"choices": [{"index": 0}]}),
        ("chat", {"choices": "odd"}),
        ("chat", []),
        ("responses", {}),
        ("responses", {"status": "queued", "output": []}),
        ("opaque", {"choices": [{"message": {}}]}),
    ],
)
def test_what_is_no_finished_answer_is_not_made_one(dialect, answer):
    """Nothing is invented: what is not understood is left to be told as a failure."""
    assert as_events(dialect, json.dumps(answer).encode()) is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_no_answer(content):
    """No content of a provider breaks us."""
    assert as_events("chat", content) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([
                "choices", "message", "text", "content", "tool_calls", "function", "index", "output",
                "type", "summary", "annotations", "arguments", "status", "usage", "id", "refusal",
                "logprobs", "finish_reason",
            ]),
            inner | st.sampled_from(["message", "reasoning", "function_call", "output_text"]),
            max_size=5,
        )
    ),
    max_leaves=20,
)  # fmt: skip


@given(st.sampled_from(["chat", "responses"]), json_values)
def test_any_json_is_made_events_or_none(dialect, answer):
    """Answers of any shape are read without an accident."""
    events = as_events(dialect, json.dumps(answer).encode())

    assert events is None or all(json.loads(data) for _, data in events if data != b"[DONE]")
