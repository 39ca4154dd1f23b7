"""Whatever comes, and however it is packed: a stream cut anew says the same, in order and in time."""

import json
from collections import defaultdict
from itertools import chain
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.core.buffered import CHAT, DELAY, MODES, RESPONSES, Reader, chunk, delta, text_of, texts

PIECES = st.text(
    alphabet=st.sampled_from('ab .!\n`"\\/é中。\u2028\U0001f600'), min_size=0, max_size=8
)
OTHERS = st.sampled_from([
    chunk(delta={"tool_calls": [{"index": 0, "function": {"arguments": '{"content":"a'}}]}),
    chunk(delta={"refusal": "no "}),
    chunk(delta={"reasoning_content": "hm "}),
    chunk(delta={"role": "assistant", "content": ""}),
    chunk(delta={"role": "assistant", "content": "so"}),
    chunk("a b", logprobs={"content": [{"token": "a b"}]}),
    chunk("end", finish="stop"),
    {"id": "c", "choices": [], "usage": {"prompt_tokens": 1}},
])  # fmt: skip
CHUNKS = st.one_of(
    st.builds(chunk, PIECES, st.integers(0, 2), obfuscation=st.sampled_from(["", "aB1", "zz"])),
    st.builds(chunk, PIECES, st.integers(0, 1), model=st.sampled_from(["a", "b"])),
    st.builds(chunk, PIECES),
    OTHERS,
)
RESPONSE_EVENTS = st.one_of(
    st.builds(delta, PIECES, st.just(0), st.integers(0, 1)),
    st.builds(delta, PIECES, st.just(0), obfuscation=st.sampled_from(["", "x", "yyy"])),
    st.builds(
        delta,
        PIECES,
        st.just(0),
        type=st.sampled_from(["response.refusal.delta", "response.function_call_arguments.delta"]),
    ),
    st.just({"type": "response.output_text.done", "text": "t", "sequence_number": 0}),
    st.just({"type": "response.vendor"}),
)
PAUSES = st.sampled_from([0.0, 0.0, 0.001, 0.02, 0.049, 0.06])


def place(event: Any) -> Any:
    """Return which text an event is about."""
    if "choices" in event:
        return tuple(choice["index"] for choice in event["choices"])
    return event.get("content_index")


def essence(event: Any) -> str:
    kept = {name: value for name, value in event.items() if name != "sequence_number"}
    return json.dumps(kept, sort_keys=True)


def is_text(event: Any) -> bool:
    """Return whether an event brings text alone, as a client would see it."""
    if event.get("type") == "response.output_text.delta":
        return True
    if "choices" not in event or event.get("usage") or len(event["choices"]) != 1:
        return False
    choice = event["choices"][0]
    if choice["finish_reason"] or choice["logprobs"]:
        return False
    says = choice["delta"]  # who speaks may be told with each piece, and is joined with them
    return list(says) == ["content"] or (
        list(says) == ["role", "content"] and says["content"] != ""
    )


def said(event: Any) -> str:
    """Return the text of an event that brings text alone, "" for any other."""
    return (text_of(event) or "") if is_text(event) else ""


def stories(events: list[Any]) -> dict[Any, list[str]]:
    """Return for each text what happens to it, in order; neighbouring pieces of text as one."""
    told = defaultdict[Any, list[str]](list)
    for event in events:
        where = place(event)
        if not is_text(event):
            told[where].append(essence(event))
        elif text := text_of(event):
            if told[where] and told[where][-1].startswith("text: "):
                told[where][-1] += text
            else:
                told[where].append("text: " + text)
    return told


@given(
    st.one_of(
        st.tuples(st.just(CHAT), st.lists(CHUNKS, max_size=30)),
        st.tuples(st.just(RESPONSES), st.lists(RESPONSE_EVENTS, max_size=30)),
    ),
    st.sampled_from(MODES),
    st.booleans(),
    st.data(),
)
def test_every_text_adds_up_in_its_order_and_in_time(stream, mode, spaced, data):
    """Whatever comes, however it is packed: the same texts, the same rest, and none waits too long."""
    path, events = stream
    for number, event in enumerate(events):
        if "sequence_number" in event:
            events[number] = {**event, "sequence_number": number}
    reader = Reader(path, mode)
    ages = defaultdict[Any, list[float]](list)
    at = 0
    while at < len(events):
        count = data.draw(st.integers(1, 3))
        for event in events[at : at + count]:
            ages[place(event)] += [reader.now] * len(said(event))
        left = reader.feed(*events[at : at + count], spaced=spaced)
        at += count
        left += reader.wait(data.draw(PAUSES))
        for event in left:
            del ages[place(event)][: len(said(event))]
        assert all(reader.now - born < DELAY for born in chain(*ages.values()))
    reader.flush()

    assert stories(reader.events) == stories(events)
    assert reader.buffer.due is None
    numbers = [event["sequence_number"] for event in reader.events if "sequence_number" in event]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True


@given(st.lists(st.text(max_size=6), max_size=30), st.sampled_from(MODES))
def test_any_text_at_all_adds_up(pieces, mode):
    """Every character that JSON can hold survives."""
    reader = Reader(mode=mode)
    pieces = [piece.encode("utf-8", "replace").decode() for piece in pieces]
    for piece in pieces:
        reader.feed(chunk(piece))
    reader.flush()

    assert "".join(text or "" for text in texts(reader.events)) == "".join(pieces)
