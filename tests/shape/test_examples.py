"""Promises to whoever copies an example: it is accepted as it stands."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from headworks.config.loading import load
from headworks.simulator.config import load as load_simulator
from headworks.wiring.standing import with_standing
from tests.shape.tree import blocks, documents, text

TODAY = 1_800_000_000.0
"""A day in January 2027, after all shutdowns that the documents' models must outlive."""
EXAMPLES = [(path, block) for path in documents() for block in blocks(path, "yaml")]
SIMULATOR_KEYS = {"faults", "credentials", "batches"}
SIMULATOR = [one for one in EXAMPLES if yaml.safe_load(one[1]).keys() & SIMULATOR_KEYS]
GATEWAY = [one for one in EXAMPLES if one not in SIMULATOR]
ROUTE = re.compile(r"\b([a-z]+)/[\w.-]+")
"""A route; a part of a path looks the same, and does no harm."""
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


def beneath(block: str) -> str:
    """Return a configuration with the upstreams, routes and models that an example mentions."""
    routes = {
        "openai/gpt-6-sol",
        "openai/gpt-6-luna",
        *(found[0] for found in ROUTE.finditer(block)),
    }
    urls = {route.split("/")[0]: f"https://{route.split('/')[0]}.example/v1" for route in routes}
    urls["openai"] = "https://api.openai.com/v1"
    credentials = [{"name": "main", "api_key": "${env:KEY}"}]
    upstreams = {name: {"base_url": url, "credentials": credentials} for name, url in urls.items()}
    models = {name: {"routes": sorted(routes)} for name in ("assistant", "small", "mentioned")}
    return yaml.safe_dump({"upstreams": upstreams, "models": models})


@pytest.mark.parametrize(("path", "block"), GATEWAY, ids=named(GATEWAY))
def test_configurations_in_the_documents_are_valid(path: Path, block: str):
    """An example works, laid over a file with all that it only names, and warns of nothing."""
    environ = {name: f"0123456789abcdef-{name}" for name in ("KEY", *REFERENCE.findall(block))}
    texts = {"headworks.yaml": beneath(block), "headworks.development.yaml": block}
    config = load(path.with_name("headworks.yaml"), environ, lambda file: texts[file.name].encode())
    assert config.warnings == ()
    with_standing(config, TODAY)


@pytest.mark.parametrize(("path", "block"), SIMULATOR, ids=named(SIMULATOR))
def test_simulator_configurations_in_the_documents_are_valid(
    path: Path, block: str, tmp_path: Path
):
    """An example for the simulator is accepted."""
    file = tmp_path / path.name
    file.write_text(block, encoding="utf-8")
    config = load_simulator(file)
    assert all(getattr(config, name) for name in yaml.safe_load(block))


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
