"""Files are read by fixed rules, with every line remembered, and cannot hurt the reader."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.config import tree


def parsed(text):
    problems: list[tree.Problem] = []
    root = tree.parse(text.encode() if isinstance(text, str) else text, "f.yaml", problems)
    return (tree.flatten(root) if root else None), [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("no", "no"),
        ("1:30", "1:30"),
        ("2027-01-01", "2027-01-01"),
        ("0x10", "0x10"),
        ("010", 10),
        ("-5", -5),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        (".inf", ".inf"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("9" * 30, "9" * 30),
        ("[a, {b: c}]", ["a", {"b": "c"}]),
        ("{1: a, true: b}", {"1": "a", "true": "b"}),
        ("[&x {a: 1}, *x]", [{"a": 1}, {"a": 1}]),
        ("[&x {a: 1, b: 1}, {<<: *x, b: 2}]", [{"a": 1, "b": 1}, {"a": 1, "b": 2}]),
    ],
)
def test_values_mean_what_they_look_like(text, value):
    """`no` is a word, a date is a date, and a number is a number."""
    reading, problems = parsed(f"k: {text}")
    assert not problems
    assert reading is not None
    assert reading.values == {"k": value}


def test_each_value_knows_its_line():
    """An error leads me to the line that I must change."""
    reading, _ = parsed("a:\n  b: 1\n  c:\n    - x\n    - y: 2\n")
    assert reading is not None
    lines = {tree.dotted(path): place.line for path, place in reading.places.items()}
    assert lines == {"": 1, "a": 1, "a.b": 2, "a.c": 3, "a.c[0]": 4, "a.c[1]": 5, "a.c[1].y": 5}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "a: 1\na: 2\na: 3",
            ["f.yaml:2: a: stands here twice, first in line 1", "f.yaml:3: a: stands here twice"],
        ),
        ("a: [", ["f.yaml:2: not valid YAML"]),
        ("a: 1\n b: 2", ["f.yaml:2: not valid YAML"]),
        ("a: *sk-secret", ["f.yaml:1: not valid YAML: found undefined alias"]),
        ("a: !!python/object:os.system x", ["f.yaml:1: a: only plain YAML values"]),
        ("a: !!binary aGk=", ["f.yaml:1: a: only plain YAML values"]),
        ("a: !!int x", ["f.yaml:1: a: only plain YAML values"]),
        ("a: !!set {x}", ["f.yaml:1: a: only plain YAML values"]),
        ("? [a]\n: b", ["f.yaml:1: a key must be plain text"]),
        ("<<: 5", ["f.yaml:1: << takes a mapping or a list of mappings"]),
        ("a: 1\n---\nb: 2", ["f.yaml:2: not valid YAML"]),
        ("a: \x07", ["f.yaml:1: not valid YAML: holds a control character"]),
        (b"\xff\xfe\xfa", ["f.yaml:1: is not UTF-8 text"]),
        ("[" * 100_000, ["f.yaml:1: is nested more than 50 levels deep"]),
        ("&a [*a]", ["f.yaml:1: is nested more than 50 levels deep"]),
        ("- " * 51 + "x", ["f.yaml:1: is nested more than 50 levels deep"]),
        ("[" + "a," * 100_001 + "]", ["f.yaml:1: holds more than 100000 values"]),
        ("#" * 1_000_001, ["f.yaml:1: is larger than 1000000 bytes"]),
    ],
)
def test_what_is_not_plain_is_refused_at_its_line(text, said):
    """A broken or hostile file is refused at once, with the line, and never shows its values."""
    _, problems = parsed(text)
    assert len(problems) == len(said)
    for problem, start in zip(problems, said, strict=True):
        assert problem.startswith(start)
    assert "sk-secret" not in str(problems)


def test_aliases_cannot_multiply_without_bound():
    """A billion laughs end after a hundred thousand values."""
    levels = [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]" for at in range(1, 10)]
    _, problems = parsed("\n".join(["a0: &a0 [lol]", *levels]))
    assert problems == ["f.yaml:1: holds more than 100000 values"]


def test_odd_names_cannot_disturb_a_terminal():
    """Control characters in names are shown as escapes, and long names are cut."""
    assert tree.dotted(("a", 0, "x.y", "\x1b[2J\n")) == 'a[0]."x.y"."\\x1b[2J\\n"'
    assert len(tree.dotted(("n" * 5000,))) < 300


@given(st.text())
def test_a_scalar_is_always_some_value(text):
    """Whatever a variable holds can be read; quotes make it text."""
    assert isinstance(tree.scalar(text), str | int | float | bool | None)
    assert tree.scalar('"5"') == "5"


@given(st.binary(max_size=300))
def test_any_bytes_give_a_tree_or_problems(content):
    """No file makes the reader fail in another way than by saying what is wrong."""
    reading, problems = parsed(content)
    assert reading is not None or problems
