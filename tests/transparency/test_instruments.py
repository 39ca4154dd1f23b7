"""Promises to whoever trusts the comparison: it sends everything, and sees every difference."""

import json
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Any

import pytest

from tests.transparency.asking import requests
from tests.transparency.description import Bodies, description, operations
from tests.transparency.differences import Difference, kept_fields, of_fields, of_json
from tests.transparency.listed import Listed, match
from tests.transparency.messages import Fields, Message
from tests.transparency.spelling import Speller
from tests.transparency.values import MOST, Values

BODY = b'{"a":1.0,"b":[1e3,"\\u00e9"]}'


def all_bodies() -> list[Bodies]:
    """Return every body that is described."""
    return [
        bodies for one in operations() for bodies in (one.bodies, *one.answers.values()) if bodies
    ]


def test_every_branch_and_word_of_every_schema_is_used():
    """No alternative and no word of an enumeration is left out of requests or answers."""
    for bodies in all_bodies():
        for told in bodies.values():
            values = Values(told)
            made = sum(1 for _ in values.all())
            assert values.unused == 0
            assert 0 < made < MOST


def choices(schema: Any) -> int:
    """Return how many alternatives and words a schema has, without those of what it refers to."""
    if isinstance(schema, list):
        return sum(map(choices, schema))
    if not isinstance(schema, dict):
        return 0
    own = sum(len(schema[name]) for name in ("oneOf", "anyOf") if name in schema)
    words = schema["enum"] if isinstance(schema.get("enum"), list) else ()
    return own + len(words) + sum(map(choices, schema.values()))


def test_what_is_chosen_from_is_what_is_described():
    """A field's words are all sent: as many as the description has for it."""
    told = description()["components"]["schemas"]["CreateSpeechRequest"]
    words = told["properties"]["response_format"]["enum"]
    sent = {one["response_format"] for one in Values(told).all()}
    assert sent == set(words)
    assert choices(told) >= len(words) > 3


def test_all_optional_fields_are_set():
    """A request has every field that its operation takes."""
    (chat,) = (one for one in operations() if str(one) == "POST /chat/completions")
    for asked in islice(requests(chat), 5):
        fields = json.loads(asked.body or b"")
        assert {"model", "stream", "tools", "service_tier", "x_unknown"} <= fields.keys()
        assert len(fields) > 35


def known(value: Any) -> Any:
    """Return a value without the fields that nobody knows."""
    if isinstance(value, list):
        return [known(one) for one in value]
    if isinstance(value, dict):
        return {name: known(one) for name, one in value.items() if name != "x_unknown"}
    return value


def number(spelled: str) -> float:
    """Return a number without losing digits of a whole one."""
    exact = Decimal(spelled)
    return int(exact) if exact == exact.to_integral_value() else float(exact)


@pytest.mark.parametrize("spaced", [False, True])
def test_every_spelling_means_the_same(spaced: bool):  # noqa: FBT001 - a parameter of the test
    """However JSON is written, it says what it should."""
    speller = Speller()
    for bodies in all_bodies():
        for told in bodies.values():
            for value in Values(told).all():
                written = speller.spell(value, spaced=spaced)
                assert known(json.loads(written, parse_float=number)) == value


@dataclass(frozen=True)
class Case:
    """Two bodies, and what is seen to differ."""

    name: str
    sent: bytes
    got: bytes
    seen: tuple[tuple[str, str], ...]


CASES = (
    Case("equal", BODY, BODY, ()),
    Case("a number", BODY, BODY.replace(b"1.0", b"1"), (("a", "replaced"),)),
    Case("an escape", BODY, BODY.replace(b"\\u00e9", "\u00e9".encode()), (("b", "replaced"),)),
    Case("white space inside", BODY, BODY.replace(b'3,"', b'3, "'), (("b", "replaced"),)),
    Case(
        "white space outside",
        b'{"a" : 1}',
        b'{"a":1}',
        (("white space around the outermost fields", "dropped"),),
    ),
    Case("white space that was not there", b'{"a":1}', b'{"a" : 1}', (("the bytes", "changed"),)),
    Case("one less", b'{"a":1,"b":2}', b'{"a":1}', (("b", "dropped"),)),
    Case("one more", b'{"a":1}', b'{"a":1,"b":2}', (("b", "added"),)),
    Case(
        "the order",
        b'{"a":1,"b":2}',
        b'{"b":2,"a":1}',
        (("the order of the outermost fields", "changed"),),
    ),
    Case("no JSON", b'{"a":1}', b"{", (("all of it", "replaced"),)),
)


@pytest.mark.parametrize("case", CASES, ids=[one.name for one in CASES])
def test_bodies_are_compared_to_the_byte(case: Case):
    """A body that is not the same is seen, and it is said in what."""
    assert tuple(one[1:3] for one in of_json("body", case.sent, case.got)) == case.seen


def message(*fields: tuple[str, str]) -> Message:
    given: Fields = fields
    return Message("GET / HTTP/1.1", given, b"")


def test_header_fields_are_compared_by_name_and_value():
    """A field that is missing, new, changed, renamed or of another number is seen."""
    sent = message(("a", "1"), ("a", "2"), ("b", "1"), ("c", "1"), ("x-d", "1"), ("e", "1"))
    got = message(("a", "2"), ("b", "2"), ("x-headworks-upstream-d", "1"), ("e", "1"), ("f", "1"))
    assert {one[1:3] for one in of_fields("head", sent, got)} == {
        ("a", "replaced"), ("b", "replaced"), ("c", "dropped"), ("x-d", "renamed"), ("f", "added"),
    }  # fmt: skip
    assert kept_fields(sent, got) == {"e"}


def test_the_row_that_names_a_thing_speaks_of_it():
    """A row for all is no excuse for a thing that has a row of its own."""
    rows = [Listed("head", "*", "dropped"), Listed("head", "x-a", "replaced"), Listed("head", "x-*", "dropped")]  # fmt: skip
    assert match(Difference("head", "x-a", "dropped"), rows) == rows[2]
    assert match(Difference("head", "x-a", "replaced"), rows) == rows[1]
    assert match(Difference("head", "b", "replaced"), rows) is None
    assert match(Difference("body", "b", "dropped"), rows) is None
