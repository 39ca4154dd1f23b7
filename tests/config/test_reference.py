"""The published schema and reference say what the code does."""

import json
from typing import Any, get_args

import msgspec
import pytest
from scripts import config_reference

from headworks.config import schema
from headworks.config.json_schema import json_schema
from headworks.config.section import Section


def known_sections(base: type[Section] = Section) -> list[type[Section]]:
    """Every section of headworks.yaml; the simulator's file has sections of its own."""
    kinds = [one for kind in base.__subclasses__() for one in (kind, *known_sections(kind))]
    return [kind for kind in kinds if kind.__module__.startswith("headworks.config.")]


@pytest.mark.parametrize("path", config_reference.rendered(), ids=lambda path: path.name)
def test_committed_pages_are_current(path):
    """What I read in the documentation is what this version does."""
    assert path.read_text(encoding="utf-8") == config_reference.rendered()[path], (
        "run python scripts/config_reference.py"
    )


def test_every_section_and_key_is_documented():
    """No key exists that the reference does not explain."""
    sections = {kind for _, kind in config_reference.SECTIONS}
    assert sections == set(known_sections()) - {schema.Grant}  # it is shown as a part of Key
    for kind in sections:
        for field in msgspec.structs.fields(kind):
            metas = [meta for meta in get_args(field.type) if isinstance(meta, msgspec.Meta)]
            assert any(meta.description for meta in metas), f"{kind.__name__}.{field.name}"


def test_the_schema_refuses_unknown_keys_and_takes_references():
    """My editor marks misspelt keys, and does not mark references."""
    made = json_schema()
    sections: dict[str, Any] = made["$defs"]
    assert all(section["additionalProperties"] is False for section in sections.values())
    connections = sections["Upstream"]["properties"]["connections"]
    assert {"type": "string", "pattern": r"^\$\{(env|file):"} in connections["anyOf"]
    assert r"\Z" not in json.dumps(made).replace("\\\\", "\\")


def test_no_name_is_promised_and_available_at_once():
    """A key that works is not called unavailable."""
    for kind in known_sections():
        assert not kind.later & {field.encode_name for field in msgspec.structs.fields(kind)}
