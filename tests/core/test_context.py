"""A request that is too long is made to fit: as little as must be is dropped, and nothing torn."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.context import (
    Policy,
    asking,
    bound,
    margin,
    shorten,
    summary_message,
    too_long,
    transcript,
    unmarked,
    without,
)
from headworks.core.context_units import Keep, droppable, is_marked, units
from headworks.core.context_window import Budget
from headworks.core.strict_json import parse_object
from headworks.core.tokens import count_request
from headworks.types import Request

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
STRATEGIES = ("drop_oldest", "drop_middle", "keep")


def ask(fields: dict[str, Any], path: str = CHAT) -> Request:
    """Return a request whose body is written as people write it, with spaces."""
    return Request("POST", path, content=json.dumps(fields, ensure_ascii=False).encode(), fields=fields)  # fmt: skip


def talk(*items: dict[str, Any], **more: Any) -> Request:
    return ask({"model": "m", "messages": list(items), **more})


def words(fields: Any, path: str = CHAT) -> int:
    """Count a token a word, in the frames of the real formulas."""
    kind = "chat" if path == CHAT else "responses"
    return count_request(fields, lambda text: len(text.split()), kind)  # type: ignore[arg-type]  # one of both


def user(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, **more}


def says(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def calls(*ids: str) -> dict[str, Any]:
    made = [{"id": id_, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id_ in ids]  # fmt: skip
    return {"role": "assistant", "content": None, "tool_calls": made}


def result(id_: str, text: str = "found it") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "content": text}


def item(type_: str, id_: str, **more: Any) -> dict[str, Any]:
    return {"type": type_, "call_id" if "function" in type_ else "id": id_, **more}


SYSTEM = {"role": "system", "content": "Be brief."}
BEAR_IN_MIND = {"headworks": {"keep": True}}


@dataclass(frozen=True)
class Units:
    id: str
    items: list[Any]
    expected: tuple[tuple[int, ...], ...]


UNITS = [
    Units("plain talk", [SYSTEM, user("a"), says("b"), user("c")], ((0,), (1,), (2,), (3,))),
    Units("a call and its results", [user("a"), calls("1", "2"), result("2"), result("1"), says("b")],
          ((0,), (1, 2, 3), (4,))),
    Units("ids that are used again", [calls("1"), result("1"), calls("1"), result("1")], ((0, 1), (2, 3))),
    Units("a result that names no call", [calls("1"), {"role": "tool", "content": "x"}], ((0, 1),)),
    Units("a result of an unknown call", [user("a"), result("9")], ((0, 1),)),
    Units("the old form of a call", [{"role": "assistant", "function_call": {}}, {"role": "function", "name": "f"}],
          ((0, 1),)),
    Units("an item and its output", [user("a"), item("function_call", "1"), user("b"), item("function_call_output", "1")],
          ((0,), (1, 3), (2,))),
    Units("what was thought belongs to what was done",
          [item("reasoning", "r"), item("function_call", "1"), item("function_call", "2"),
           item("function_call_output", "1"), item("function_call_output", "2"), user("b")],
          ((0, 1, 2, 3, 4), (5,))),
    Units("and to what was said", [user("a"), item("reasoning", "r"), item("message", "m", role="assistant"), user("b")],
          ((0,), (1, 2), (3,))),
    Units("two answers are two", [says("a"), says("b")], ((0,), (1,))),
    Units("an approval", [item("mcp_approval_request", "q"),
                          {"type": "mcp_approval_response", "approval_request_id": "q"}], ((0, 1),)),
    Units("nonsense", [1, None, "x", {}], ((0,), (1,), (2,), (3,))),
    Units("nothing", [], ()),
]  # fmt: skip


@pytest.mark.parametrize("case", UNITS, ids=lambda case: case.id)
def test_what_belongs_together_is_one_unit(case):
    """A call never goes without its result, nor what a model did without what it thought."""
    assert units(case.items) == case.expected


TURNS = [SYSTEM, user("1"), says("1"), user("2"), says("2"), user("3"), says("3"), user("4")]


@dataclass(frozen=True)
class Order:
    id: str
    keep: Keep
    order: Any
    expected: list[int]
    items: list[Any] = field(default_factory=lambda: TURNS)


ORDERS = [
    Order("oldest first", Keep(), "oldest", [1, 2, 3, 4, 5, 6]),
    Order("the middle first", Keep(), "middle", [3, 4, 2, 5, 1, 6]),
    Order("the system goes if it may", Keep(system=False), "oldest", [0, 1, 2, 3, 4, 5, 6]),
    Order("the first turn stays", Keep(first=1), "oldest", [3, 4, 5, 6]),
    Order("the last turns stay", Keep(last=3), "oldest", [1, 2]),
    Order("both", Keep(first=1, last=2), "oldest", [3, 4]),
    Order("all turns", Keep(first=9), "oldest", []),
    Order("all turns from the end", Keep(last=9), "oldest", []),
    Order("what is marked stays", Keep(), "oldest", [2, 3], [SYSTEM, user("1", **BEAR_IN_MIND), says("1"), user("2"), user("3")]),
    Order("the last results stay", Keep(), "oldest", [1, 2, 3],
          [SYSTEM, calls("1"), result("1"), says("x"), user("go"), calls("2"), result("2")]),
    Order("what is done for the last question may go", Keep(), "oldest", [2, 3],
          [SYSTEM, user("go"), calls("1"), result("1"), calls("2"), result("2")]),
    Order("nobody spoke", Keep(), "oldest", [0], [says("1"), says("2")]),
]  # fmt: skip


@pytest.mark.parametrize("case", ORDERS, ids=lambda case: case.id)
def test_what_goes_first(case):
    """The order of dropping is the strategy's; what a user said last and what came last stay."""
    found = droppable(case.items, case.keep, case.order)
    assert [at for unit in found for at in unit] == case.expected


def test_as_little_as_must_be_is_dropped():
    """One word too many costs one message, not the conversation."""
    request = talk(*TURNS)
    room = words(request.fields) - 1
    shorter = shorten(request, Policy("drop_oldest"), room, words)
    assert shorter is not None
    assert shorter.dropped == (1,)
    assert shorter.request.fields["messages"] == [TURNS[0], *TURNS[2:]]


def test_what_fits_is_left_alone():
    """A request of exactly the limit goes out byte for byte."""
    request = talk(*TURNS)
    shorter = shorten(request, Policy("drop_oldest"), words(request.fields), words)
    assert shorter is not None
    assert shorter.request is request


def test_what_has_to_stay_may_be_too_much():
    """Neither the last question nor a text as a whole is cut."""
    assert shorten(talk(SYSTEM, user("one two three")), Policy("drop_oldest"), 5, words) is None
    whole = ask({"model": "m", "input": "one two three"}, RESPONSES)
    assert shorten(whole, Policy("drop_oldest"), 2, lambda f: words(f, RESPONSES)) is None
    completion = ask({"model": "m", "prompt": "one two three"}, "/v1/completions")
    assert shorten(completion, Policy("drop_oldest"), 2, lambda _: 3) is None


def test_what_stays_keeps_its_bytes():
    """Odd spacing, escapes and long numbers of what stays are sent as the caller wrote them."""
    odd = b'{ "role" : "user", "content" : "caf\\u00e9", "x" : 1.10000000000000000001e2 }'
    old = b'{"role":"assistant","content":"' + b"old " * 50 + b'"}'
    content = b'{"temperature" : 0.50, "messages" : [' + old + b" , " + odd + b'], "model":"m"}'
    request = Request("POST", CHAT, content=content, fields=parse_object(content))
    shorter = shorten(request, Policy("drop_oldest"), 20, words)
    assert shorter is not None
    assert odd in shorter.request.content
    assert b'"temperature":0.50' in shorter.request.content
    assert b"old" not in shorter.request.content
    assert parse_object(shorter.request.content) == shorter.request.fields


def test_marks_are_for_us_alone():
    """A mark keeps its message, is not sent on, and is still known when a request is fitted again."""
    request = talk(user("first", **BEAR_IN_MIND), says("b " * 50), user("c"))
    shorter = shorten(request, Policy("drop_oldest"), 15, words)
    assert shorter is not None
    assert json.loads(shorter.request.content)["messages"] == [user("first"), user("c")]
    assert is_marked(shorter.request.fields["messages"][0])
    assert unmarked(shorter.request) is shorter.request
    assert json.loads(unmarked(request).content)["messages"][0] == user("first")


def test_a_text_about_us_is_no_mark():
    """Who talks about headworks is not edited."""
    request = talk(user('what is "headworks"?'), headworks={"keep": True})
    assert json.loads(unmarked(request).content) == request.fields


def test_a_summary_stands_where_the_first_message_was_dropped():
    """It comes before what stays, as a user's words: what users said gains no authority."""
    request = talk(*TURNS)
    summed = without(request, {1, 2}, summary_message("They met."))
    roles = [message["role"] for message in summed.fields["messages"]]
    assert roles == ["system", "user", *[message["role"] for message in TURNS[3:]]]
    assert summed.fields["messages"][1]["content"].endswith("They met.")
    assert parse_object(summed.content) == summed.fields


def test_what_is_dropped_can_be_read():
    """Whoever sums up sees who said what, what tools were called with and what they found."""
    picture = {"type": "image_url", "image_url": {"url": "data:x"}}
    request = talk(
        user("Look"), {"role": "user", "content": [{"type": "text", "text": "here"}, picture]},
        calls("1"), result("1", "42"), user("ok"),
    )  # fmt: skip
    text = transcript(request, (0, 1, 2, 3))
    assert text == "user: Look\n\nuser: here [image_url]\n\nassistant: f {}\n\ntool: 42"
    items = [item("reasoning", "r", summary=[{"type": "summary_text", "text": "hm"}]),
             item("function_call", "1", arguments='{"q":1}'), item("function_call_output", "1", output="7"), 3]  # fmt: skip
    other = ask({"model": "m", "input": items}, RESPONSES)
    assert transcript(other, (0, 1, 2, 3)) == (
        'reasoning: hm\n\nfunction_call: {"q":1}\n\nfunction_call_output: 7\n\n'
    )


def test_another_model_is_asked_in_the_same_words():
    """A larger model gets the same bytes, but for its name."""
    request = talk(user("Hi"), temperature=0.5)
    larger = asking(request, "big")
    assert larger.model == "big"
    assert json.loads(larger.content) == {**request.fields, "model": "big"}


def test_a_refusal_tells_the_counts():
    """The caller learns the limit, what was counted, what is kept for the answer, and what to do."""
    error = too_long(talk(user("Hi")), 130, Budget(100, 10), "Shorten it.")
    assert str(error) == (
        "This model's maximum context length is 100 tokens. However, your messages resulted in "
        "130 tokens, and 10 more are kept for the answer. Shorten it."
    )
    assert (error.status, error.code, error.param) == (400, "context_length_exceeded", "messages")
    assert too_long(ask({}, RESPONSES), 1, Budget(1, 0), "").param == "input"


def test_a_margin_is_for_what_the_formulas_do_not_know():
    """Plain talk is counted exactly; tools, schemas and pictures get room for what may be more."""
    assert margin({"messages": [user("Hi")]}, 1000) == 0
    assert margin({"tools": [{}]}, 1000) == 50
    assert margin({"response_format": {"type": "json_object"}}, 1000) == 100
    assert margin({"messages": [user("x", content=[{"type": "image_url"}])]}, 1000) == 100
    assert margin({"input": [{"content": [{"type": "input_image"}]}]}, 1000) == 100


texts = st.text("ab ", max_size=30)
ids = st.sampled_from("123")
plain = st.builds(user, texts) | st.builds(says, texts) | st.just(SYSTEM) | st.builds(lambda t: user(t, **BEAR_IN_MIND), texts)  # fmt: skip
exchanges = st.lists(ids, min_size=1, max_size=3, unique=True).flatmap(
    lambda made: st.permutations(made).map(
        lambda answered: [calls(*made), *(result(one) for one in answered)]
    )
)
chats = st.lists(plain.map(lambda one: [one]) | exchanges, min_size=1, max_size=12).map(
    lambda parts: [one for part in parts for one in part]
)
thoughts = st.lists(ids, min_size=1, max_size=3, unique=True).map(
    lambda made: [item("reasoning", "r", summary=[]), *(item("function_call", one, arguments="a b") for one in made),
                  *(item("function_call_output", one, output="c d") for one in made)]
)  # fmt: skip
inputs = st.lists(plain.map(lambda one: [one]) | thoughts, min_size=1, max_size=12).map(
    lambda parts: [one for part in parts for one in part]
)
policies = st.builds(
    lambda strategy, first, last: Policy(strategy, keep=Keep(first=first, last=last)),
    st.sampled_from(STRATEGIES), st.integers(0, 3), st.integers(0, 3),
)  # fmt: skip


def shortened(
    path: str, items: list[Any], policy: Policy, share: float
) -> tuple[Request, Any, int]:
    """Return a request, what became of it, and the room it had."""
    name = "messages" if path == CHAT else "input"
    request = ask({"model": "m", name: items, "tools": [{"type": "function"}]}, path)
    room = int(words(request.fields, path) * share)
    return request, shorten(request, policy, room, lambda fields: words(fields, path)), room


cases = (
    st.tuples(st.just(CHAT), chats) | st.tuples(st.just(RESPONSES), inputs)
).flatmap(lambda case: st.tuples(st.just(case), policies, st.floats(0, 1)))  # fmt: skip


@given(cases)
def test_whatever_is_sent_fits_and_is_whole(case):
    """By our own count it fits; order, bytes, pairs, marks, system and the last question are kept."""
    (path, items), policy, share = case
    request, shorter, room = shortened(path, items, policy, share)
    if shorter is None:
        return
    sent = json.loads(shorter.request.content)
    name = "messages" if path == CHAT else "input"
    stays = [one for at, one in enumerate(items) if at not in shorter.dropped]
    assert words(shorter.request.fields, path) <= room
    assert shorter.request.fields[name] == stays
    assert sent == {**request.fields, name: [without_mark(one) for one in stays]} or not shorter.dropped  # fmt: skip
    for unit in units(items):
        assert len(set(unit) & set(shorter.dropped)) in {0, len(unit)}
    for at in shorter.dropped:
        assert items[at].get("role") != "system"
        assert not is_marked(items[at])
    said = [at for at, one in enumerate(items) if one.get("role") == "user"]
    assert not {*said[-1:], len(items) - 1} & set(shorter.dropped)
    again = shorten(shorter.request, policy, room, lambda fields: words(fields, path))
    assert again is not None
    assert again.request is shorter.request


@given(cases)
def test_what_cannot_be_shortened_has_nothing_left_to_drop(case):
    """A request is refused only when what has to stay is too long by itself."""
    (path, items), policy, share = case
    request, shorter, room = shortened(path, items, policy, share)
    if shorter is None:
        free = {at for unit in droppable(items, policy.keep, policy.order) for at in unit}
        least = without(request, free)
        assert words(least.fields, path) > room


def without_mark(one: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in one.items() if name != "headworks"}


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["role", "type", "content", "text", "image_url", "tool_calls", "function", "name", "id",
                         "call_id", "properties", "parameters", "enum", "arguments", "output", "headworks", "keep", "x"]),
        inner | st.sampled_from(["image_url", "input_image", "file", "input_audio", "user", "function_call", "tool"]),
        max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.lists(junk, max_size=5), st.lists(junk, max_size=3), junk, st.sampled_from(["messages", "input"]))  # fmt: skip
def test_the_cheap_bound_is_never_too_low(items, tools, form, name):
    """A request that the bound lets pass is not too long, however odd it is."""
    fields = {name: items, "tools": tools, "response_format": {"json_schema": form}, "text": {"format": {"schema": form}}}  # fmt: skip
    content = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    kind: Any = "chat" if name == "messages" else "responses"
    assert count_request(fields, lambda text: len(text.encode(errors="replace")), kind) <= bound(content, fields)  # fmt: skip


@given(st.lists(junk, max_size=6), policies, st.floats(0, 1))
def test_no_request_makes_fitting_fail(items, policy, share):
    """Whatever an app sends, it fits or it does not; nothing else happens."""
    fields = {"model": "m", "messages": items}
    request = ask(json.loads(json.dumps(fields)))
    room = int(words(request.fields) * share)
    shorter = shorten(request, policy, room, words)
    assert shorter is None or words(shorter.request.fields) <= room
    transcript(request, range(len(items)))
