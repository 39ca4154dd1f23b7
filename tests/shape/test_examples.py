"""Promises to whoever copies an example: it is accepted as it stands."""

import ast
import re
from pathlib import Path

import pytest

from headworks.config.loading import load
from headworks.simulator.config import load as load_simulator
from tests.shape.tree import blocks, documents, text

EXAMPLES = [(path, block) for path in documents() for block in blocks(path, "yaml")]
SIMULATOR = [(path, block) for path, block in EXAMPLES if "faults:" in block]
GATEWAY = [(path, block) for path, block in EXAMPLES if "upstreams:" in block]
PYTHON = [(path, block) for path in documents() for block in blocks(path, "python")]
REFERENCE = re.compile(r"\$\{env:(\w+)\}")


def named(examples: list[tuple[Path, str]]) -> list[str]:
    """Return a name for each example."""
    return [f"{path}-{number}" for number, (path, _) in enumerate(examples)]


def test_there_are_examples():
    """The documents show a configuration, a simulator's faults and a program."""
    assert GATEWAY
    assert SIMULATOR
    assert PYTHON


@pytest.mark.parametrize(("path", "block"), GATEWAY, ids=named(GATEWAY))
def test_configurations_in_the_documents_are_valid(path: Path, block: str):
    """An example configuration works once the variables that it names are set."""
    environ = dict.fromkeys(REFERENCE.findall(block), "0123456789abcdef")
    config = load(path.with_name("headworks.yaml"), environ, lambda _: block.encode())
    assert config.upstreams


@pytest.mark.parametrize(("path", "block"), SIMULATOR, ids=named(SIMULATOR))
def test_simulator_configurations_in_the_documents_are_valid(
    path: Path, block: str, tmp_path: Path
):
    """An example for the simulator is accepted."""
    file = tmp_path / path.name
    file.write_text(block, encoding="utf-8")
    assert load_simulator(file).faults


@pytest.mark.parametrize(("path", "block"), PYTHON, ids=named(PYTHON))
def test_programs_in_the_documents_use_what_exists(path: Path, block: str):
    """Every name of headworks that an example program uses is there."""
    import headworks
    from headworks.inprocess.face import Headworks

    owners = {"headworks": headworks, "hw": Headworks}
    used = [
        (node.value.id, node.attr)
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    ]
    for owner, name in used:
        assert owner not in owners or hasattr(owners[owner], name), f"{path}: {owner}.{name}"


def test_no_example_holds_a_secret():
    """Nobody learns from the documents to write a provider's key into a file."""
    for path in documents():
        for value in re.findall(r"api_key: *([^,}\n]+)", text(path)):
            assert "${" in value, f"{path}: {value}"
