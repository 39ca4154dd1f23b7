"""Chats and legacy completions put together from their chunks."""

from dataclasses import dataclass
from typing import Any

import pytest

from headworks.core.aggregate import Aggregator

CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}


def aggregated(events: Any) -> Any:
    """Return what events add up to."""
    answer = Aggregator()
    for event in events:
        answer.feed(event)
    return answer.result()


def chunks(*deltas: object, **choice: object) -> list[dict[str, Any]]:
    return [{"choices": [{"index": 0, "delta": delta, **choice}]} for delta in deltas]


def message(*deltas: object) -> Any:
    """Return the message that deltas add up to, without what is always there."""
    found = aggregated(chunks(*deltas))["choices"][0]["message"]
    usual: dict[str, Any] = {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "annotations": [],
    }
    return {name: value for name, value in found.items() if usual.get(name, "-") != value}


def part(index: int | None = None, arguments: str | None = None, **more: object) -> Any:
    """Return a delta with a piece of a tool call."""
    place = {} if index is None else {"index": index}
    given_ = {} if arguments is None else {"function": {"arguments": arguments}}
    return {"tool_calls": [{**place, **given_, **more}]}


def named(id_: str, name: str, arguments: str = "") -> Any:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


@dataclass(frozen=True)
class Case:
    name: str
    deltas: tuple[object, ...]
    expected: object


CASES = [
    Case("content is joined", ({"content": "a"}, {"content": ""}, {"content": "b"}), {"content": "ab"}),
    Case("content beside other things", ({"content": "a"}, {"content": "b", "x": "c"}), {"content": "ab", "x": "c"}),
    Case("an empty text is a text", ({"role": "assistant", "content": ""},), {"content": ""}),
    Case("null takes nothing away", ({"content": "a"}, {"content": None}), {"content": "a"}),
    Case("a role that is repeated is one", ({"role": "tool"}, {"role": "tool"}, {"role": ""}), {"role": "tool"}),
    Case("texts that nobody knows are joined", ({"reasoning_content": "hm"}, {"reasoning_content": "m"}), {"reasoning_content": "hmm"}),
    Case("lists that nobody knows are joined", ({"x": [1]}, {"x": [{"y": 2}]}), {"x": [1, {"y": 2}]}),
    Case("objects that nobody knows are merged", ({"x": {"a": "1", "b": 1}}, {"x": {"a": "2", "b": 2}}), {"x": {"a": "12", "b": 2}}),
    Case("indexed lists keep their index", ({"x": [{"index": 1, "text": "b"}, {"index": 0, "text": "a"}]}, {"x": [{"index": 1, "text": "c"}]}), {"x": [{"index": 0, "text": "a"}, {"index": 1, "text": "bc"}]}),
    Case("other values replace", ({"x": 1, "y": True}, {"x": 2.5, "y": False}), {"x": 2.5, "y": False}),
    Case("a value of another kind replaces", ({"x": "a"}, {"x": {"y": "b"}}, {"x": ["c"]}, {"x": "d"}), {"x": "d"}),
    Case("annotations are appended", ({"annotations": [{"type": "url_citation", "n": 1}]}, {"annotations": [{"type": "url_citation", "n": 2}]}), {"annotations": [{"type": "url_citation", "n": 1}, {"type": "url_citation", "n": 2}]}),
    Case("two pieces of a call in one delta", ({"tool_calls": [{"index": 0, **CALL}, {"index": 0, "function": {"arguments": "{}"}}]},), {"tool_calls": [named("a", "f", "{}")]}),
    Case("calls by turns", (part(1, **named("b", "g")), part(0, **named("a", "f")), part(1, "2"), part(0, "1"), part(1, "3")), {"tool_calls": [named("a", "f", "1"), named("b", "g", "23")]}),
    Case("a call whose id is repeated", (part(0, **named("a", "f")), part(0, "1", id="a", type="function"), part(0, "2", id="")), {"tool_calls": [named("a", "f", "12")]}),
    Case("calls that are not counted", (part(**named("a", "f", "1")), part(None, "2"), part(**named("b", "f", "3"))), {"tool_calls": [named("a", "f", "12"), named("b", "f", "3")]}),
    Case("a third one", (part(**named("a", "f")), part(**named("b", "f")), part(**named("c", "f")), part(None, "1")), {"tool_calls": [named("a", "f"), named("b", "f"), named("c", "f", "1")]}),
    Case("calls that are all the first", (part(0, **named("a", "f", "1")), part(0, **named("b", "g", "2")), part(0, "3")), {"tool_calls": [named("a", "f", "1"), named("b", "g", "23")]}),
    Case("a call far away", (part(10**12, **named("a", "f", "1")),), {"tool_calls": [named("a", "f", "1")]}),
    Case("a piece of a call whose begin is lost", (part(3, "1"),), {"tool_calls": [{"function": {"arguments": "1"}}]}),
    Case("what is no call", ({"tool_calls": ["odd", None, {"id": ["x"]}, {"id": ["y"], "function": 3}]},), {"tool_calls": [{"id": ["x", "y"], "function": 3}, "odd", None]}),
    Case("a custom tool", (part(0, id="a", type="custom", custom={"name": "sh", "input": "l"}), part(0, custom={"input": "s"})), {"tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "sh", "input": "ls"}}]}),
    Case("a function of old", ({"function_call": {"name": "f", "arguments": ""}}, {"function_call": {"arguments": "{}"}}), {"function_call": {"name": "f", "arguments": "{}"}}),
    Case("speech", ({"audio": {"id": "s", "transcript": "Hel"}}, {"audio": {"data": "AAE=", "transcript": "lo"}}, {"audio": {"data": "Ag=="}}, {"audio": {"expires_at": 9}}), {"audio": {"id": "s", "transcript": "Hello", "data": "AAEC", "expires_at": 9}}),
    Case("speech that is no base64", ({"audio": {"data": "A"}}, {"audio": {"data": "é"}}), {"audio": {"data": "Aé"}}),
    Case("speech that is base64 to the lenient", ({"audio": {"data": "AAA!A"}},), {"audio": {"data": "AAA!A"}}),
    Case("a character in two halves", ({"content": "a\ud83d"}, {"content": "\ude00b"}), {"content": "a😀b"}),
    Case("half a character", ({"content": "a\ud83d"}, {"content": "b"}), {"content": "a\ufffdb"}),
    Case("what is no delta", (None, 1, [], "x"), {}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_deltas_add_up(case):
    """Whatever providers say in whatever order, nothing of it is lost or said twice."""
    assert message(*case.deltas) == case.expected


def test_fields_of_chunks_that_nobody_knows_are_kept():
    """The last value that says something, wherever it stands; padding is of the stream alone."""
    events: list[Any] = [
        {"id": "", "object": "", "created": 0, "choices": [], "prompt_filter_results": [1]},
        {"id": "c", "object": "chat.completion.chunk", "created": 5, "model": "m", "choices": None},
        {"id": "c", "choices": [{"index": 0, "delta": {}, "x": 1}], "citations": ["u"], "obfuscation": "ab"},
        {"id": "c", "choices": [{"index": 0, "delta": {}, "x": None, "finish_reason": "stop"}], "usage": None},
    ]  # fmt: skip

    result = aggregated(events)

    choice = result.pop("choices")[0]
    assert result == {
        "id": "c",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "prompt_filter_results": [1],
        "citations": ["u"],
    }
    assert (choice["x"], choice["finish_reason"]) == (1, "stop")


def test_the_last_usage_holds():
    """Some providers count in every chunk; a null between two counts is none."""
    events: list[Any] = [{"choices": [], "usage": usage} for usage in ({"total_tokens": 1}, {"total_tokens": 2}, None)]  # fmt: skip

    assert aggregated(events)["usage"] == {"total_tokens": 2}


def test_log_probabilities_are_joined():
    """Each list by itself, whether its chunk has the others or not."""
    parts = [None, {"content": [1], "refusal": None}, {"content": [2]}, {"refusal": [3]}, None]
    events = [chunks({}, logprobs=part_)[0] for part_ in parts]

    assert aggregated(events)["choices"][0]["logprobs"] == {"content": [1, 2], "refusal": [3]}


def test_legacy_completions_have_no_message():
    """Text is text, and its probabilities are four lists in step."""
    tokens = {"tokens": ["a"], "token_logprobs": [None], "top_logprobs": None, "text_offset": [0]}
    more = {"tokens": ["b"], "token_logprobs": [-1.0], "top_logprobs": [{}], "text_offset": [1]}
    events = [
        {"object": "text_completion", "choices": [{"index": 0, "text": "a", "logprobs": tokens}]},
        {"choices": [{"index": 0, "text": "b", "logprobs": more, "finish_reason": "stop"}]},
    ]

    assert aggregated(events) == {
        "object": "text_completion",
        "choices": [
            {
                "index": 0,
                "text": "ab",
                "logprobs": {
                    "tokens": ["a", "b"],
                    "token_logprobs": [None, -1.0],
                    "top_logprobs": [{}],
                    "text_offset": [0, 1],
                },
                "finish_reason": "stop",
            }
        ],
    }


def test_choices_without_a_place_have_that_in_their_list():
    """Not every provider counts a single choice."""
    events = [{"choices": ["odd", {"index": "1", "text": "a"}]}, {"choices": [{"text": "b"}]}]

    assert [one["text"] for one in aggregated(events)["choices"]] == ["b", "a"]


def test_a_chat_is_complete_when_all_its_choices_have_ended():
    """One that goes on, an error, and garbage keep it from being so."""
    ended: list[Any] = [
        {"choices": [{"index": n, "delta": {}, "finish_reason": "stop"}]} for n in (0, 1)
    ]
    begun = [{"choices": [{"index": n, "delta": {"content": "a"}}]} for n in (0, 1)]
    told: list[tuple[list[Any], bool]] = [
        ([], False),
        ([{"choices": []}], False),
        (chunks({"audio": {"data": "AAE="}}), False),
        (chunks({"audio": {"data": "AAE="}}, {"audio": {"expires_at": 1}}), True),
        (begun, False),
        ([*begun, ended[0]], False),
        ([*begun, *ended], True),
        ([*begun, *ended, {"error": {"message": "m"}}], False),
        ([*begun, *ended, {"error": None}], True),
        ([*begun, *ended, b"data: {\n\n"], False),
        ([*begun, *ended, b"data: 3\n\n: ping\n\nevent: ping\ndata: {}\n\n"], True),
    ]
    for events, is_complete in told:
        answer = Aggregator()
        for event in events:
            answer.feed(event)
        assert answer.is_complete is is_complete


def test_what_broke_a_chat_is_told():
    """The error stays with what came before it."""
    error = {"message": "m", "type": "server_error", "param": None, "code": None}
    result = aggregated([*chunks({"content": "a"}), {"error": error}])

    assert result["error"] == error
    assert result["choices"][0]["finish_reason"] is None
