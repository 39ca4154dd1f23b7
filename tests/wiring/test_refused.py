"""Wherever a configuration takes effect, a model that is gone is told before any call."""

import json
from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

import headworks
from headworks.build import Assembly
from headworks.cli.config import app
from headworks.config import Config, ModelConfig, RouteConfig
from headworks.errors import ConfigurationError
from headworks.gateway.station import Station
from headworks.testing import FakeClock
from tests.config.files import MINIMAL
from tests.ground import config

GONE = "models.a.routes[1]: gpt-4 was shut down on 2026-10-23; name another model"
FILE = f"{MINIMAL}models: {{a: {{routes: [openai/gpt-6-sol, openai/gpt-4]}}}}\n"


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEY", "sk-live-7f3a9c1e5b8d2046")
    path = tmp_path / "headworks.yaml"
    path.write_text(FILE)
    return path


def test_opening_an_engine_in_process_fails_at_once(file):
    """`headworks.open` says it, not the first call."""
    with pytest.raises(ConfigurationError) as caught:
        headworks.open(file)
    assert caught.value.problems == (f"{file}:5: {GONE}",)


def test_validating_tells_it_with_its_line(file):
    """A build that validates the configuration fails on the day after the shutdown."""
    main = typer.Typer()
    main.add_typer(app)
    for command in (["config", "validate"], ["config", "show"]):
        done = CliRunner().invoke(main, command)
        assert (done.exit_code, done.stdout) == (1, "")
        assert f"headworks.yaml:5: {GONE}" in done.stderr
    found = json.loads(CliRunner().invoke(main, ["config", "validate", "--json"]).stdout)
    assert found["problems"] == [f"headworks.yaml:5: {GONE}"]


def with_model(before: Config, model: str) -> Config:
    """Return the configuration with another model, at an upstream of this machine."""
    return replace(before, models={**before.models, "a": ModelConfig((RouteConfig("up", model),))})


def test_an_engine_does_not_start_with_it(tmp_path):
    """`headworks serve` ends with the reason; nothing stays open."""
    with pytest.raises(ConfigurationError) as caught:
        Assembly(with_model(config(tmp_path), "gpt-4"))
    assert caught.value.problems[0].startswith("models.a: gpt-4 was shut down on 2026-10-23")
    assert not (tmp_path / "store.db").exists()


@pytest.mark.anyio
async def test_a_reload_keeps_what_is_in_force(tmp_path, caplog):
    """The running configuration stays, and the log says why."""
    before = config(tmp_path)
    assembly = Assembly(before)
    try:
        await Station(assembly, lambda: with_model(before, "gpt-4")).reload()
        assert list(assembly.config.models) == list(before.models)
        assert "the old one stays: models.a: gpt-4 was shut down" in caplog.text
    finally:
        await assembly.aclose()


@pytest.mark.anyio
async def test_a_coming_end_is_told_at_each_reload(tmp_path, caplog):
    """While the model still answers, the log warns with the date."""
    before = config(tmp_path)
    own = replace(before.upstreams["up"], base_url="https://api.openai.com/v1")
    soon = with_model(replace(before, upstreams={**before.upstreams, "up": own}), "gpt-4o")
    assembly = Assembly(soon, clock=FakeClock(epoch=1.795e9))  # 2026-11-18
    told = "models.a: gpt-4o will be shut down on 2027-01-14"
    try:
        assert assembly.config.warnings[-1] == told
        await Station(assembly, lambda: soon).reload()
        assert f"configuration: {told}" in caplog.text
    finally:
        await assembly.aclose()
