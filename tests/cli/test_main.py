"""The `headworks` command: it explains itself, and tells what must be changed in one line each."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from headworks import cli
from headworks._version import __version__
from headworks.errors import ConfigurationError

COMMANDS = {"init", "serve", "demo", "simulate", "usage", "keys", "ledger", "models", "config"}


def test_help_lists_the_commands_and_shows_where_to_begin():
    """Whoever types `headworks --help` sees every command and the first two to try."""
    shown = CliRunner().invoke(cli.app, ["--help"]).stdout
    listed = {
        line.split()[0] for line in shown.splitlines() if line.startswith("  ") and line.split()
    }
    assert listed >= COMMANDS
    assert "headworks demo" in shown
    assert "headworks init && headworks serve" in shown


def test_no_command_is_a_request_for_help():
    """`headworks` alone explains itself."""
    assert "Usage:" in CliRunner().invoke(cli.app, []).output


def test_the_version_is_told():
    """`headworks --version` names the version and nothing else."""
    assert CliRunner().invoke(cli.app, ["--version"]).stdout == f"headworks {__version__}\n"


def test_the_module_is_the_command(tmp_path):
    """`python -m headworks` does what `headworks` does, its exit code included."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "headworks", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert run("--version").stdout == f"headworks {__version__}\n"
    refused = run("simulate", "--config", "nowhere.yaml")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "headworks: nowhere.yaml: No such file or directory\n"
    mistyped = run("srve")
    assert mistyped.returncode == 2
    assert "srve" in mistyped.stderr


def test_every_problem_is_a_line(monkeypatch, capsys):
    """A wrong configuration is told line by line on stderr, without a traceback; the code is 1."""

    def fail() -> None:
        raise ConfigurationError(["file:1: one", "file:2: two"])

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr() == ("", "headworks: file:1: one\nheadworks: file:2: two\n")
