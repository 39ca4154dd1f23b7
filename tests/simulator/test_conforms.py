"""Whether a value is valid, as the public suite of JSON Schema sees it."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import jsonschema
import pytest

from headworks.simulator.chance import Chance
from headworks.simulator.conforms import conforms, resolve, same
from headworks.simulator.examples import example
from tests.corpora import corpus

ELSEWHERE = {
    *("dynamicRef", "refRemote", "anchor", "vocabulary", "unevaluatedProperties"),
    *("unevaluatedItems", "format", "default", "infinite-loop-detection"),
}
"""Files about keywords that are not judged: they refer to other documents, or look at annotations."""
BEYOND = {
    "not/collect annotations inside a 'not', even if collection is disabled",
    "defs/validate definition against metaschema",
    "ref/ref creates new scope when adjacent to keywords",
}
"""Groups that need the same in passing."""


class Group(NamedTuple):
    name: str
    schema: Any
    tests: Any


def groups() -> Iterator[Group]:
    for file in sorted(corpus("JSON-Schema-Test-Suite").glob("tests/draft2020-12/*.json")):
        if file.stem not in ELSEWHERE:
            for group in json.loads(file.read_text()):
                name = f"{file.stem}/{group['description']}"
                refers = re.search(r'"\$id"|"\$ref": "[^#]', json.dumps(group["schema"]))
                if name not in BEYOND and not (file.stem == "ref" and refers):
                    yield Group(name, group["schema"], group["tests"])


def test_the_public_suite_agrees():
    """Every verdict of the suite is ours, but for what refers to other documents."""
    judged = [(group, test) for group in groups() for test in group.tests]
    wrong = [
        f"{group.name}: {test['description']}"
        for group, test in judged
        if conforms(test["data"], group.schema) is not test["valid"]
    ]

    assert len(judged) > 800
    assert wrong == []


UNMADE = {
    "contains/contains keyword with boolean schema false",  # only a value that is no array
    "not/forbidden property",
    "multipleOf/by small number",  # the library divides floats
    "pattern/pattern with Unicode property escape requires unicode mode",  # and knows no \p
}


def test_something_valid_is_made_for_the_public_suite():
    """For every schema of the suite that something fits, what is made fits, says another validator."""
    tried = [
        group
        for group in groups()
        if group.name not in UNMADE and any(test["valid"] for test in group.tests)
    ]
    wrong = [
        group.name
        for group in tried
        for seed in range(3)
        if not jsonschema.Draft202012Validator(group.schema).is_valid(
            example(group.schema, Chance(seed))
        )
    ]

    assert len(tried) > 180
    assert wrong == []


@pytest.mark.parametrize(
    ("one", "other", "are_same"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        ([1, {"a": 2}], [1.0, {"a": 2}], True),
        ([1], [1, 2], False),
        ({"a": [True]}, {"a": [1]}, False),
        ("1", 1, False),
        (None, None, True),
    ],
)
def test_values_are_equal_as_json_is(one, other, are_same):
    """1 is 1.0; true is not 1, however deep."""
    assert same(one, other) is same(other, one) is are_same


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("#", "root"),
        ("#/a~1b/0", 1),
        ("#/%25", 2),
        ("#/a~1b/9", {}),
        ("#/x/y", {}),
        ("other.json", {}),
    ],
)
def test_references_point_into_the_document(reference, found):
    """A pointer is followed, escapes and all; one that leads nowhere allows everything."""
    root = {"a/b": [1], "%": 2}

    assert resolve(root, reference) == (root if found == "root" else found)
