"""What `init` writes works as it is, and every comment in it is true."""

import re

import pytest
import yaml

from headworks.config import load, template
from headworks.config.json_schema import json_schema_text
from headworks.config.template import TEMPLATE
from tests.config.files import loaded

ENVIRON = {"OPENAI_API_KEY": "sk-x", "HEADWORKS_WEB_KEY": "hw_web_0123456789abcdef"}
FILES = {"pepper": "0123456789abcdef", "private-ca.pem": "PEM"}


def uncommented() -> str:
    """Return the file with all its settings switched on."""
    head, _, body = TEMPLATE.partition("environment:")
    assert all(line.startswith("#") or not line for line in head.splitlines())
    return "environment:" + re.sub(r"(?m)^( *)# ( *(?:- )?[\w-]+:(?: |$))", r"\1\2", body)


def test_the_written_file_is_valid_with_one_variable(tmp_path):
    """After `init` and one `export`, headworks starts."""
    path, schema = template.write(tmp_path / "headworks.yaml")
    config = load(path, {"OPENAI_API_KEY": "sk-x"})
    assert list(config.upstreams) == ["openai"]
    assert config.warnings == ()
    assert schema.read_text() == json_schema_text()
    assert path.read_text().splitlines()[0].endswith(f"$schema=./{schema.name}")


def test_everything_commented_out_is_valid_too():
    """Each example can be used by deleting the # before it."""
    config = loaded(uncommented(), ENVIRON, FILES)
    assert config.keys[0].grant.limits.rpm == 60
    assert config.prices["my-model"].cached == 125_000_000
    assert config.capabilities["gpt-6-luna"].context == 128_000
    assert config.upstreams["openai"].proxy is not None
    assert len(yaml.safe_load(uncommented())) == 12


def test_nothing_is_overwritten_unasked(tmp_path):
    """My configuration survives a second `init`."""
    path = tmp_path / "headworks.yaml"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        template.write(path)
    assert path.read_text() == "mine"
    template.write(path, force=True)
    assert path.read_text() == TEMPLATE
