"""JSON from strangers means one thing, or it is refused."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.strict_json import edit, parse_object
from headworks.errors import InvalidJSON
from tests.corpora import corpus

DECIDED = {
    "accepted": {
        "i_number_double_huge_neg_exp.json", "i_number_huge_exp.json", "i_number_neg_int_huge_exp.json",
        "i_number_pos_double_huge_exp.json", "i_number_real_neg_overflow.json",
        "i_number_real_pos_overflow.json", "i_number_real_underflow.json",
        "i_number_too_big_neg_int.json", "i_number_too_big_pos_int.json",
        "i_number_very_big_negative_int.json",
    },
}  # fmt: skip


def read(value: bytes) -> dict[str, object]:
    return parse_object(b'{"v":' + value + b"}")


def suite(prefix: str) -> list[Path]:
    found = sorted((corpus("JSONTestSuite") / "test_parsing").glob(f"{prefix}*.json"))
    assert found
    return found


def test_every_valid_text_of_the_suite_is_read():
    """Nobody's legal JSON is refused, except for keys that stand twice."""
    refused = []
    for path in suite("y_"):
        try:
            read(path.read_bytes())
        except InvalidJSON:
            refused.append(path.name)

    assert refused == ["y_object_duplicated_key.json", "y_object_duplicated_key_and_value.json"]


def test_no_invalid_text_of_the_suite_is_read():
    """What is not JSON goes no further; a value inside an object stands for each text."""
    for path in suite("n_"):
        for content in (path.read_bytes(), b'{"v":' + path.read_bytes() + b"}"):
            if path.name.startswith("n_structure_whitespace_formfeed") or content != b'{"v":}':
                with pytest.raises(InvalidJSON):
                    parse_object(content)


def test_undecided_texts_are_decided():
    """Where the standard leaves room, an upgrade of the parser must not change our mind unseen."""
    accepted = set()
    for path in suite("i_"):
        try:
            read(path.read_bytes())
        except InvalidJSON:
            continue
        accepted.add(path.name)

    assert accepted == DECIDED["accepted"]


@pytest.mark.parametrize(
    "content",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":"a","\\u006dodel":"b"}',
        b'{"x":{"y":1,"y":2}}',
        b'{"x":[{"y":1,"y":2}]}',
        b'{"x":NaN}',
        b"[]",
        b'"text"',
        b"null",
        b"",
        b"\xef\xbb\xbf{}",
        '{"x":1}'.encode("utf-16"),
        b'{"x":1} {"x":2}',
        b'{"x":"\\ud800"}',
        b'{"x":' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"x":' + b"[" * 100_000 + b"}",
        b'{"x":' + b"9" * 5000 + b"}",
    ],
    ids=range(16),
)
def test_texts_with_two_meanings_or_none_are_refused(content):
    """Duplicate keys, however spelled, and depth are refused with a message, never a crash."""
    with pytest.raises(InvalidJSON):
        parse_object(content)


def test_a_hundred_levels_are_fine():
    """The bound is where it is said to be."""
    assert parse_object(b'{"x":' + b"[" * 99 + b"]" * 99 + b"}")


def test_too_many_values_are_refused():
    """A small body cannot become a large object."""
    with pytest.raises(InvalidJSON, match="values"):
        parse_object(b'{"x":[' + b"0," * 1_000_001 + b"0]}")


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), values, max_size=5), st.text("ab", max_size=3))  # fmt: skip
def test_an_edit_changes_one_field_and_no_other_byte(fields, model):
    """What the caller sent reaches the provider, but for the named fields."""
    content = json.dumps(fields).encode()

    edited = edit(content, {"model": model})

    assert parse_object(edited) == {**fields, "model": model}
    before, after = (msgspec.json.decode(c, type=dict[str, msgspec.Raw]) for c in (content, edited))
    assert all(bytes(after[k]) == bytes(v) for k, v in before.items() if k != "model")


def test_a_removed_field_is_gone():
    """None takes a field away."""
    assert edit(b'{"a": 1, "b": [1,  2]}', {"a": None}) == b'{"b":[1,  2]}'
