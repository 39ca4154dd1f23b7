"""References lead to values, and what they lead to stays hidden."""

from pathlib import Path

import pytest

from headworks.config.secrets import References
from headworks.config.tree import UNRESOLVED, Node, Place, Problem
from tests.config.files import BASE, reader

ENVIRON = {"NAME": "value", "EMPTY": "", "BRACES": "${env:NAME}"}
FILES: dict[str, str | bytes] = {
    "secret": "from file\n",
    "crlf": "x\r\n",
    "two": "x\n\n",
    "bom": b"\xef\xbb\xbfx",
    "binary": b"\xff\xfe",
    "long": "x" * 64_001,
}


def resolve(text):
    references = References(ENVIRON, reader(FILES), BASE.parent)
    problems: list[Problem] = []
    node = references.resolve(Node(text, Place("f.yaml", 3)), problems, ("a", "b"))
    return node, [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("text", "value", "origin"),
    [
        ("plain", "plain", "literal"),
        ("$HOME $", "$HOME $", "literal"),
        ("${env:NAME}", "value", "reference"),
        ("${env:EMPTY}", "", "reference"),
        ("x-${env:NAME}", "x-value", "mixed"),
        ("${env:NAME}${file:secret}", "valuefrom file", "reference"),
        ("${env:NOPE:-fallback}", "fallback", "literal"),
        ("${env:EMPTY:-fallback}", "fallback", "literal"),
        ("${env:NOPE:-}", "", "literal"),
        ("${env:NAME:-fallback}", "value", "reference"),
        ("${env:NAME}${env:NOPE:-x}", "valuex", "mixed"),
        ("${file:secret}", "from file", "reference"),
        ("${file:/etc/headworks/secret}", "from file", "reference"),
        ("${file:crlf}", "x", "reference"),
        ("${file:two}", "x\n", "reference"),
        ("${file:bom}", "x", "reference"),
        ("$${env:NAME}", "${env:NAME}", "literal"),
        ("${env:BRACES}", "${env:NAME}", "reference"),
    ],
)
def test_references_are_followed_once(text, value, origin):
    """A reference stands for exactly what is there, and what is there is not read again."""
    node, problems = resolve(text)
    assert (node.value, node.origin, problems) == (value, origin, [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${env:NOPE}", "the environment variable NOPE is not set"),
        ("${file:nope}", "cannot read the file nope: No such file or directory"),
        ("${file:binary}", "the file binary is not UTF-8 text"),
        ("${file:long}", "the file long is larger than 64000 bytes"),
        ("${file:a\0b}", "cannot read the file a\\x00b"),
        ("${file:}", "unknown kind of reference"),
        ("${sk-pasted-key}", "unknown kind of reference"),
        ("${env:sk-pasted-key}", "not a variable's name"),
        ("${env:}", "not a variable's name"),
        ("${env:NAME", "this reference is not closed"),
        ("${vault:x}", "vault: references are not available in this version"),
    ],
)
def test_a_reference_that_leads_nowhere_is_a_problem(text, said):
    """The line, the key and the missing thing are named; a pasted key is not."""
    node, problems = resolve(text)
    assert node.value is UNRESOLVED
    assert len(problems) == 1
    assert problems[0].startswith(f"f.yaml:3: a.b: {said}")
    assert "sk-pasted" not in problems[0]


def test_a_directory_in_place_of_a_file_is_a_problem(tmp_path):
    """A reference to something that is no file says so."""
    references = References({}, Path.read_bytes, tmp_path)
    problems: list[Problem] = []
    references.resolve(Node("${file:.}", Place("f.yaml", 1)), problems)
    assert "Is a directory" in str(problems[0])
