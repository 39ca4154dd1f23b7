"""`headworks config` and `headworks init`, as one types them."""

import json

import pytest
import typer
import yaml
from typer.testing import CliRunner

from headworks.cli.config import app, init_command

KEY = "sk-live-7f3a9c1e5b8d2046"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a command in an empty directory with nothing set but what the test sets."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HEADWORKS_CONFIG", "HEADWORKS_ENV"):
        monkeypatch.delenv(name, raising=False)
    main = typer.Typer()
    main.add_typer(app)
    main.command("init")(init_command)

    def run(*arguments, **environ):
        return CliRunner().invoke(main, arguments, env=environ)

    return run


def test_from_nothing_to_a_valid_configuration(run, tmp_path):
    """`init`, one variable, `validate`: ok."""
    made = run("init")
    assert made.exit_code == 0
    assert "wrote headworks.yaml and headworks.schema.json" in made.output
    checked = run("config", "validate", OPENAI_API_KEY=KEY)
    assert (checked.exit_code, checked.stdout, checked.stderr) == (0, "ok\n", "")
    again = run("init")
    assert again.exit_code == 1
    assert "headworks.yaml exists; overwrite it with --force" in again.stderr
    assert run("init", "--force").exit_code == 0
    assert run("init", "--path", str(tmp_path / "nowhere" / "x.yaml")).exit_code == 1


def test_validate_tells_all_problems_on_stderr(run, tmp_path):
    """A broken configuration fails a build, with every reason."""
    (tmp_path / "headworks.yaml").write_text("sever: {}\nlog: {level: loud}\n")
    found = run("config", "validate")
    assert found.exit_code == 1
    assert found.stdout == ""
    assert found.stderr.splitlines() == [
        "headworks.yaml:1: sever: unknown key, did you mean 'server'?",
        "headworks.yaml:2: log.level: must be one of debug, info, warning, error",
    ]
    asked = run("config", "validate", "--json", "--config", str(tmp_path / "headworks.yaml"))
    assert asked.exit_code == 1
    assert json.loads(asked.stdout)["ok"] is False
    assert len(json.loads(asked.stdout)["problems"]) == 2


def test_validate_tells_warnings_but_passes(run, tmp_path):
    """What is hardly meant is said, and does not fail the build."""
    (tmp_path / "other.yaml").write_text("")
    found = run("config", "validate", HEADWORKS_CONFIG="other.yaml")
    assert (found.exit_code, found.stdout) == (0, "ok\n")
    assert found.stderr.startswith("warning: other.yaml:1: upstreams: no upstream")


def test_show_masks_secrets(run):
    """`show` prints what takes effect, without any secret."""
    shown = run("config", "show", OPENAI_API_KEY=KEY, HEADWORKS__LOG__LEVEL="debug")
    assert shown.exit_code == 0
    assert KEY not in shown.output
    values = yaml.safe_load(shown.stdout)
    assert values["log"]["level"] == "debug"
    assert values["upstreams"]["openai"]["credentials"][0]["api_key"] == "***"


def test_show_without_a_configuration_says_how_to_begin(run):
    """With nothing to show, I am told how to begin."""
    shown = run("config", "show")
    assert shown.exit_code == 1
    assert "headworks init" in shown.stderr


def test_schema_is_json(run):
    """`schema` prints what editors read."""
    printed = run("config", "schema")
    assert json.loads(printed.stdout)["title"] == "headworks.yaml"


@pytest.mark.parametrize("command", [("config", "validate"), ("config", "show"), ("init",)])
def test_help_shows_real_examples(run, command):
    """`--help` shows a line that I can copy."""
    assert f"headworks {' '.join(command)}" in run(*command, "--help").output
