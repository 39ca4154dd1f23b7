"""What requests need, and which models cannot do it."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.capability import Fitness, fitness, needs
from headworks.core.context_window import Window
from headworks.types import Need, Request, Usage

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "f"}}


def said(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def put(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": list(parts)}]}


NEEDED: list[tuple[str, dict[str, Any], tuple[Need, ...]]] = [
    ("a plain chat", {"messages": [USER]}, ()),
    ("a plain question", {"input": "Hi"}, ()),
    ("tools", {"messages": [USER], "tools": [TOOL]}, ("tools",)),
    ("old functions", {"messages": [USER], "functions": [{"name": "f"}]}, ("tools",)),
    ("an empty list of tools", {"messages": [USER], "tools": []}, ()),
    ("a picture", said({"type": "image_url", "image_url": {"url": "https://x/y.png"}}), ("vision",)),
    ("a picture in the Responses API", put({"type": "input_image", "image_url": "https://x"}), ("vision",)),
    ("a picture that a tool made", {"input": [{"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image", "image_url": "u"}]}]}, ("vision",)),
    ("a screenshot", {"input": [{"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": "u"}}]}, ("vision",)),
    ("sound", said({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}), ("audio",)),
    ("a spoken answer", {"messages": [USER], "modalities": ["text", "audio"]}, ("audio",)),
    ("a file", said({"type": "file", "file": {"file_id": "f"}}), ("files",)),
    ("a file in the Responses API", put({"type": "input_file", "file_id": "f"}), ("files",)),
    ("a schema", {"messages": [USER], "response_format": {"type": "json_schema", "json_schema": {}}}, ("json_schema",)),
    ("a schema in the Responses API", {"input": "Hi", "text": {"format": {"type": "json_schema"}}}, ("json_schema",)),
    ("mere JSON", {"messages": [USER], "response_format": {"type": "json_object"}}, ()),
    ("a prefill", {"messages": [USER, {"role": "assistant", "content": "Sure:"}]}, ("prefill",)),
    ("a prefill in the Responses API", {"input": [USER, {"role": "assistant", "content": "Sure:"}]}, ("prefill",)),
    ("an answer in the past", {"messages": [USER, {"role": "assistant", "content": "Hi"}, USER]}, ()),
    ("an earlier picture", {"messages": [said({"type": "image_url", "image_url": {}})["messages"][0], USER]}, ("vision",)),
    ("several", {**said({"type": "image_url"}), "tools": [TOOL]}, ("tools", "vision")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "expected"), [row[1:] for row in NEEDED], ids=[row[0] for row in NEEDED]
)
def test_what_a_request_needs(fields, expected):
    """What a model has to be able to do is read from the request, in either API."""
    assert needs(fields) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["messages", "input", "content", "type", "output", "text", "format", "tools", "role", "modalities"]) | st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(
    st.dictionaries(
        st.sampled_from(["messages", "input", "text", "response_format", "modalities", "tools"]),
        JSON,
    )
)
def test_no_request_is_too_odd(fields):
    """Whatever stands in a request, looking at it raises nothing: the provider is to judge it."""
    assert set(needs(fields)) <= {"tools", "vision", "audio", "files", "json_schema", "prefill"}


ESTIMATE = Usage(10, 100)


@dataclass(frozen=True)
class Case:
    id: str
    fields: dict[str, Any]
    expected: dict[str, Need]
    estimate: Usage = ESTIMATE
    path: str = CHAT
    windows: dict[str, Window] = field(default_factory=dict[str, Window])


SMALL, LARGE = Window(8_192, 8_192), Window(128_000, 128_000)
TWO = {"a/x": SMALL, "b/y": LARGE}
PICTURE = said(
    {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64," + "A" * 200_000}}
)
CASES = [
    Case("nothing needed", {"messages": [USER]}, {}),
    Case("what one lacks", {"messages": [USER], "tools": [TOOL]}, {"a/x": "tools"}),
    Case("the first of two lacks is told", {**PICTURE, "tools": [TOOL]}, {"a/x": "tools", "b/y": "vision"}),
    Case("other endpoints need nothing", {"tools": [TOOL]}, {}, path="/v1/embeddings"),
    Case("too long for one", {"messages": [{"role": "user", "content": "word " * 8_000}]}, {"a/x": "context"}, Usage(10_000, 1_000), windows=TWO),
    Case("too long with its answer", {"messages": [USER], "max_tokens": 9_000}, {"a/x": "context"}, Usage(20, 9_000), windows=TWO),
    Case("the answer asked for just fits", {"messages": [USER], "max_tokens": 8_000}, {}, Usage(20, 8_000), windows=TWO),
    Case("no bound is no wish", {"messages": [USER]}, {}, Usage(8_100, 1_000), windows=TWO),
    Case("a picture is not its bytes", PICTURE, {"b/y": "vision"}, Usage(50_000, 1_000), windows=TWO),
    Case("the provider counts more than we", {"messages": [{"role": "user", "content": "word " * 4_000}]}, {"a/x": "context"}, Usage(5_000, 1_000), windows={**TWO, "a/x": Window(8_192, 8_192, 2.0)}),
    Case("an input bound of its own", {"messages": [{"role": "user", "content": "word " * 8_000}]}, {"a/x": "context"}, Usage(10_000, 0), windows={**TWO, "a/x": Window(8_192, 400_000)}),
    Case("the Responses API", {"input": "word " * 8_000, "max_output_tokens": 10}, {"a/x": "context"}, Usage(10_000, 10), RESPONSES, windows=TWO),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_who_cannot(case):
    """A model is left out for what it lacks or for want of room, and the reason is known."""
    judge = Fitness(
        {"a/x": frozenset[Need]({"tools"}), "b/y": frozenset[Need]({"vision"})},
        lambda place: case.windows.get(place, Window()),
    )
    request = Request("POST", case.path, content=b"{}", fields=case.fields)

    assert judge.unfit(request, case.estimate) == case.expected


def test_what_is_learnt_of_a_window_counts():
    """A provider that has said its real limit is not sent what is over it."""
    known = {"a/x": LARGE, "b/y": LARGE}
    judge = fitness(
        dict.fromkeys(known, frozenset[Need]()), known, lambda place: known[place], learns=True
    )
    request = Request(
        "POST", CHAT, fields={"messages": [{"role": "user", "content": "word " * 8_000}]}
    )
    assert judge is not None
    assert judge.unfit(request, Usage(10_000, 100)) == {}

    known["a/x"] = SMALL
    assert judge.unfit(request, Usage(10_000, 100)) == {"a/x": "context"}


NO_VISION, NO_TOOLS = frozenset[Need]({"vision"}), frozenset[Need]({"tools"})


@pytest.mark.parametrize(
    ("lacks", "windows", "learns", "is_needed"),
    [
        ({"a/x": NO_VISION}, {"a/x": SMALL}, True, False),
        ({"a/x": NO_VISION, "b/x": NO_VISION}, {"a/x": SMALL, "b/x": SMALL}, False, False),
        ({"a/x": NO_VISION, "b/x": NO_VISION}, {"a/x": SMALL, "b/x": SMALL}, True, True),
        ({"a/x": NO_VISION, "b/x": NO_TOOLS}, {"a/x": SMALL, "b/x": SMALL}, False, True),
        ({"a/x": NO_VISION, "b/x": NO_VISION}, {"a/x": SMALL, "b/x": LARGE}, False, True),
    ],
)
def test_models_that_can_the_same_are_not_compared(lacks, windows, learns, is_needed):
    """Where it is all or none of the routes, no call pays for the question."""
    found = fitness(lacks, windows, windows.__getitem__, learns=learns)
    assert (found is not None) is is_needed
    if found is not None and "b/x" in lacks and lacks["b/x"] == NO_VISION:
        assert not any(found.lacks.values())


def test_a_short_request_is_not_measured():
    """What fits the smallest window is not compared with any: most calls ask for no look-up."""

    def window(_: str) -> Window:
        raise AssertionError

    found = fitness({"a/x": frozenset(), "b/y": frozenset()}, TWO, window, learns=False)
    assert found is not None
    request = Request("POST", CHAT, fields={"messages": [USER]})

    assert found.unfit(request, Usage(7_000, 1_000)) == {}
