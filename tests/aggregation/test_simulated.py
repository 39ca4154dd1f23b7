"""Streams of the practice OpenAI, put together: the same as if they had not been streamed."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import headworks
from tests.aggregation.asking import cut, streamed, whole
from tests.aggregation.cases import CASES, CHATS, RESPONDED

_CHANGES = {"status", "incomplete_details", "encrypted_content", "service_tier", "tool_usage"}
"""What an answer says otherwise while it is made than at its end."""

_ENDS = re.compile(rb'"finish_reason":"|\.completed|text\.done|response\.(incomplete|failed)')

each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
each_response = pytest.mark.parametrize("case", RESPONDED, ids=lambda case: case.name)


def is_begun(part: Any, full: Any) -> bool:
    """Return whether something is how the full one may begin."""
    if isinstance(part, dict):
        return part.keys() <= full.keys() and all(
            name in _CHANGES or is_begun(value, full[name]) for name, value in part.items()
        )
    if isinstance(part, list):
        return len(part) <= len(full or ()) and all(map(is_begun, part, full or ()))
    return part is None or (full.startswith(part) if isinstance(part, str) else part == full)


@each
def test_a_stream_adds_up_to_the_whole_answer(case):
    """Field for field, the ids included; and the answer has what the case is named after."""
    answer = headworks.Aggregator()
    answer.feed(streamed(case))
    result = answer.result()

    assert case.has in json.dumps(whole(case), separators=(",", ":"))
    assert result is not None
    assert case.compared(result) == case.compared(whole(case))
    assert (answer.is_complete, answer.gave_up) == (True, False)


@given(case=st.sampled_from(CASES), data=st.data())
def test_it_does_not_matter_how_the_bytes_are_cut(case, data):
    """A read may end anywhere."""
    body = streamed(case)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(body)), max_size=30)))
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]

    assert headworks.aggregate(pieces) == headworks.aggregate(body)


@pytest.mark.parametrize("case", [*CHATS[:3], *RESPONDED[:2]], ids=lambda case: case.name)
def test_nor_if_they_come_one_by_one(case):
    """One byte a read is the hardest cut."""
    body = streamed(case)

    assert headworks.aggregate(bytes([byte]) for byte in body) == headworks.aggregate(body)


@each
def test_a_stream_that_breaks_tells_how_the_answer_begins(case):
    """Wherever it breaks, it says nothing that the whole answer does not, and is not complete."""
    full = whole(case)
    answer = headworks.Aggregator()
    for name, data in cut(streamed(case)):
        if _ENDS.search(name + data):
            break  # what ends one choice may end them all
        answer.event(name, data)
        result = answer.result() or {}
        assert is_begun(case.compared(result), full)
        assert not answer.is_complete
        assert not any(choice["finish_reason"] for choice in result.get("choices", ()))


@each_response
def test_a_response_that_breaks_says_so(case):
    """It is incomplete for a reason of its own, and nothing is missing of what was done."""
    answer = headworks.Aggregator()
    for event in cut(streamed(case))[:-1]:
        answer.event(*event)
    result: Any = answer.result()

    assert (result["status"], answer.is_complete) == ("incomplete", False)
    assert result["incomplete_details"] == {"reason": "upstream_stream_truncated"}
    assert result["output"] == whole(case)["output"]


@each_response
def test_an_output_that_the_last_event_leaves_out_is_known_from_the_others(case):
    """Not every provider repeats the output at the end."""
    *events, (_, last) = cut(streamed(case))
    ending = json.loads(last)
    ending["response"]["output"] = []
    answer = headworks.Aggregator()
    for event in events:
        answer.event(*event)
    answer.feed(ending)
    result = answer.result()

    assert result is not None
    assert case.compared(result) == case.compared(whole(case))


@each_response
def test_deltas_alone_tell_what_they_tell(case):
    """Where neither parts nor items are repeated when they are done, their pieces add up to them."""
    answer = headworks.Aggregator()
    for name, data in cut(streamed(case))[:-1]:
        if not name.endswith(b".done"):
            answer.event(name, data)
    result: Any = answer.result()

    for item, full in zip(result["output"], whole(case)["output"], strict=True):
        assert is_begun(item, full)
        for field in ("arguments", "input", "code", "summary"):
            assert item.get(field) == full.get(field)
        for part, whole_part in zip(item.get("content", ()), full.get("content", ()), strict=True):
            for field in ("text", "refusal", "annotations"):
                assert part.get(field) == whole_part.get(field)
