"""Responses put together from streams that broke, or that left things out."""

import json
from typing import Any

import pytest

from headworks.core.aggregate import Aggregator
from headworks.core.stream_responses import ResponsesStream
from headworks.errors import StreamTruncated

CREATED = {
    "type": "response.created",
    "response": {"id": "r", "object": "response", "model": "m", "status": "in_progress", "output": [], "usage": None},
}  # fmt: skip
BROKEN = {"reason": "upstream_stream_truncated"}


def aggregated(*events: dict[str, Any]) -> Any:
    """Return what events add up to."""
    answer = Aggregator()
    for event in events:
        answer.feed(event)
    return answer.result()


def at(kind: str, place: Any = 0, **more: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "output_index": place, "item_id": f"i{place}", **more}


def output(*events: dict[str, Any]) -> Any:
    """Return the output of a response that broke after these events."""
    return aggregated(CREATED, *events)["output"]


def item(kind: str, **more: Any) -> dict[str, Any]:
    return {"id": "i0", "type": kind, "status": "incomplete", **more}


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": said, "annotations": [], "logprobs": [], **more}


def test_a_response_without_anything_else():
    """It has begun, and that is all."""
    assert aggregated(CREATED) == {
        "id": "r",
        "object": "response",
        "model": "m",
        "status": "incomplete",
        "incomplete_details": BROKEN,
        "output": [],
        "usage": None,
    }


TEXTS = [
    ("function_call_arguments", "function_call", "arguments"),
    ("mcp_call_arguments", "mcp_call", "arguments"),
    ("custom_tool_call_input", "custom_tool_call", "input"),
    ("code_interpreter_call_code", "code_interpreter_call", "code"),
]


@pytest.mark.parametrize(("stem", "kind", "name"), TEXTS)
def test_inputs_of_tools(stem, kind, name):
    """Pieces add up, the whole text replaces them, with the item's begin or without it."""
    begun = at(
        "output_item.added", item={**item(kind), "status": "in_progress", "name": "f", name: ""}
    )
    pieces = [at(f"{stem}.delta", delta=delta) for delta in ("a", "b")]

    assert output(begun, *pieces) == [item(kind, name="f", **{name: "ab"})]
    assert output(*pieces) == [item(kind, **{name: "ab"})]
    early = at("output_item.added", item={**begun["item"], name: "0"})
    assert output(early, *pieces) == [item(kind, name="f", **{name: "0ab"})]
    assert output(begun, at("output_item.done", item=item(kind)), *pieces) == [item(kind)]
    assert output(begun, *pieces, at(f"{stem}.done", **{name: "abc"})) == [
        item(kind, name="f", **{name: "abc"})
    ]
    assert output(at(f"{stem}.done", **{name: "abc"})) == [item(kind, **{name: "abc"})]


def test_a_message_of_several_parts():
    """Words, notes on them, their probabilities, a refusal: each in its place."""
    pieces = [
        at("output_text.delta", content_index=0, delta="a", logprobs=[{"token": "a"}]),
        at("refusal.delta", content_index=1, delta="n"),
        at("output_text.delta", content_index=0, delta="b", logprobs=[{"token": "b"}]),
        at(
            "output_text.annotation.added", content_index=0, annotation={"n": 1}, annotation_index=0
        ),
        at("refusal.delta", content_index=1, delta="o"),
    ]

    assert output(*pieces) == [
        item(
            "message",
            role="assistant",
            content=[
                text("ab", annotations=[{"n": 1}], logprobs=[{"token": "a"}, {"token": "b"}]),
                {"type": "refusal", "refusal": "no"},
            ],
        )
    ]


def test_thoughts():
    """Summaries and, where they are shown, the thoughts themselves; the seal is kept."""
    begun = at(
        "output_item.added",
        item={"id": "i0", "type": "reasoning", "summary": [], "encrypted_content": "seal", "content": None},
    )  # fmt: skip
    pieces = [
        at("reasoning_summary_part.added", summary_index=0, part={"type": "summary_text", "text": ""}),
        at("reasoning_summary_text.delta", summary_index=0, delta="a"),
        at("reasoning_summary_text.delta", summary_index=1, delta="b"),
        at("reasoning_summary_text.done", summary_index=0, text="ac"),
    ]  # fmt: skip
    summary = [{"type": "summary_text", "text": "ac"}, {"type": "summary_text", "text": "b"}]

    assert output(begun, *pieces) == [
        {"id": "i0", "type": "reasoning", "summary": summary, "encrypted_content": "seal", "content": None}
    ]  # fmt: skip
    assert output(at("reasoning_text.delta", content_index=0, delta="t")) == [
        item("reasoning", content=[{"type": "reasoning_text", "text": "t"}])
    ]


def test_what_is_done_is_done():
    """A part that is done replaces its pieces, an item its parts; no later piece changes it."""
    done = {"id": "i0", "type": "message", "status": "completed", "content": [text("x")]}
    pieces = [
        at("output_text.delta", content_index=0, delta="a"),
        at("content_part.done", content_index=0, part=text("b")),
        at("output_text.delta", content_index=0, delta="c"),
    ]

    assert output(*pieces)[0]["content"] == [text("bc")]
    assert output(*pieces, at("output_item.done", item=done), pieces[0], pieces[1]) == [done]


def test_items_are_in_their_order():
    """By their index, not by when they came; holes close."""
    items = [at("output_item.done", place, item={"id": f"i{place}"}) for place in (5, 0, 2)]

    assert [one["id"] for one in output(*items)] == ["i0", "i2", "i5"]


def test_items_of_kinds_that_nobody_knows():
    """As they begin, and as they end."""
    begun = at("output_item.added", item={"type": "new_call", "status": "in_progress", "x": 1})
    ended = at("output_item.done", item={"type": "new_call", "status": "completed", "x": 2})

    assert output(begun, at("new_call.delta", delta="?")) == [
        {"type": "new_call", "status": "incomplete", "x": 1}
    ]
    assert output(begun, ended) == [ended["item"]]


def test_events_of_no_item_are_left_out():
    """Progress, keep-alives, sound, and places that are none."""
    assert output({"type": "keepalive"}, {"type": "response.audio.delta", "delta": "AA=="}) == []
    assert output(at("output_text.delta", "0", content_index=0, delta="a")) == []
    assert output(at("web_search_call.searching")) == []


def test_pieces_that_say_nothing():
    """A part without a place, a piece that is no text: the item is there, and empty."""
    pieces = [
        at("output_text.delta", delta="a"),
        at("output_text.annotation.added", annotation={"n": 1}),
        at("content_part.added", part=text("a")),
        at("custom_tool_call_input.delta", delta=1),
        at("custom_tool_call_input.done", input=None),
    ]

    assert output(at("output_item.added", item=item("x")), *pieces) == [item("x")]


def test_notes_to_a_part_without_a_list_of_them():
    """The list is made."""
    part = {"type": "output_text", "text": "a"}
    pieces = [
        at("content_part.added", content_index=0, part=part),
        at("output_text.annotation.added", content_index=0, annotation={"n": 1}),
    ]

    assert output(*pieces)[0]["content"] == [{**part, "annotations": [{"n": 1}]}]


def test_after_its_end_nothing_changes_a_response():
    """The terminal event is the last word."""
    ending = {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": [{"id": "i0"}]}}  # fmt: skip
    late = at("output_item.done", item={"id": "late"})

    assert aggregated(CREATED, ending, late)["output"] == [{"id": "i0"}]


def test_an_error_makes_it_failed():
    """In the flat form and in the nested one."""
    for error in ({"code": "c", "message": "m"}, {"error": {"code": "c", "message": "m"}}):
        piece = at("output_text.delta", content_index=0, delta="a")
        result = aggregated(CREATED, piece, {"type": "error", **error})

        assert (result["status"], result["error"]) == ("failed", {"code": "c", "message": "m"})
        assert result["output"][0]["content"] == [text("a")]


def test_a_break_that_was_told_by_us_keeps_what_came_before():
    """Our own terminal event of a broken stream has no output; the items are known all the same."""
    stream = ResponsesStream()
    piece = at("output_text.delta", content_index=0, delta="a")
    sent = b"".join(stream.feed(f"data: {json.dumps(event)}\n\n".encode()) for event in (CREATED, piece))  # fmt: skip
    answer = Aggregator()
    answer.feed(sent + stream.encode_error(StreamTruncated("It broke.")))
    result: Any = answer.result()

    assert (result["status"], result["model"], answer.is_complete) == ("failed", "m", False)
    assert result["error"] == {"code": "upstream_stream_truncated", "message": "It broke."}
    assert result["output"] == [item("message", role="assistant", content=[text("a")])]


def test_a_completed_response_without_its_output_has_complete_items():
    """Where the provider repeats neither output nor items, the pieces are all there is."""
    ending = {"type": "response.completed", "response": {"id": "r", "status": "completed"}}
    result = aggregated({"type": "response.created", "response": {"id": "r"}},
                        at("output_text.delta", content_index=0, delta="a"), ending)  # fmt: skip

    assert result["output"] == [
        {**item("message", role="assistant", content=[text("a")]), "status": "completed"}
    ]
