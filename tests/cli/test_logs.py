"""The promises of `headworks logs`."""

import json

import pytest
import typer
from typer.testing import CliRunner

from headworks.cli.logs import logs_command
from headworks.errors import ConfigurationError
from headworks.observe.journal import CallLog
from headworks.types import Caller
from tests.observe.conftest import finished

app = typer.Typer(rich_markup_mode=None)
app.command("logs")(logs_command)
app.command("other")(lambda: None)
CALLS = [
    finished(id="call_1"),
    finished(id="call_2", filtered="prompt", outcome="content_filter", status=400),
    finished(id="call_3", filtered="answer", model="other", time=1_900_000_000.0),
    finished(id="call_4", caller=Caller("phone\x1b[31m", "id2"), cost=None),
]
NOISE = '{"time":"2027-01-15T08:00:00Z","logger":"headworks","message":"\\"call\\":\\"x"}\nplain\n'


@pytest.fixture
def file(tmp_path):
    """A file of calls, with what else a log may hold, its last line half written."""
    path = tmp_path / "calls.jsonl"
    with path.open("wb") as out:
        out.write(NOISE.encode())
        for call in CALLS:
            CallLog(out).record(call)
        out.write(b'{"call":"call_5","outco')
    return path


def run(*words, stdin: bytes | None = None) -> str:
    done = CliRunner().invoke(app, ["logs", *map(str, words)], input=stdin, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def found(*words, stdin: bytes | None = None) -> list[str]:
    return [json.loads(line)["call"] for line in run(*words, "--json", stdin=stdin).splitlines()]


CASES = [
    ((), ["call_1", "call_2", "call_3", "call_4"]),
    (("--filtered",), ["call_2", "call_3"]),
    (("--filtered", "--model", "other"), ["call_3"]),
    (("--model", "assistant"), ["call_1", "call_2", "call_4"]),
    (("--key", "web"), ["call_1", "call_2", "call_3"]),
    (("--outcome", "content_filter"), ["call_2"]),
    (("--since", "2030-01-01"), ["call_3"]),
    (("--since", "all"), ["call_1", "call_2", "call_3", "call_4"]),
    (("--last", "2"), ["call_3", "call_4"]),
    (("--last", "0"), ["call_1", "call_2", "call_3", "call_4"]),
    (("--key", "nobody"), []),
]


@pytest.mark.parametrize(("words", "expected"), CASES)
def test_the_calls_that_matter_are_found(file, words, expected):
    """By model, key, end, time and what a content filter stopped; the latest last."""
    assert found("--file", file, *words) == expected


def test_a_pipe_will_do(file):
    """Without a file of calls, the record of standard error holds them as well."""
    assert found("--file", "-", "--filtered", stdin=file.read_bytes()) == ["call_2", "call_3"]


def test_the_configuration_names_the_file(file, tmp_path, monkeypatch):
    """Where the gateway writes is where the command reads."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-simulator")
    config = tmp_path / "headworks.yaml"
    config.write_text(f"log: {{file: {file}}}\n")
    assert found("--config", config, "--filtered") == ["call_2", "call_3"]

    config.write_text("log: {}\n")
    with pytest.raises(ConfigurationError, match=r"log\.file: is not set"):
        run("--config", config)


def test_a_table_for_people(file):
    """Aligned, with what happened to each call; what callers say cannot steer the terminal."""
    lines = run("--file", file).splitlines()

    assert lines[0].split() == [
        "time", "call", "key", "model", "route", "status", "outcome", "filtered", "ms", "usd",
    ]  # fmt: skip
    assert lines[2].split()[1:] == [
        "call_2", "web", "assistant", "openai/gpt-5", "400", "content_filter", "prompt", "2000.0",
        "0.001500",
    ]  # fmt: skip
    assert "phone?[31m" in lines[4]
    assert lines[4].endswith("-")
    assert "\x1b" not in "".join(lines)


def test_a_file_that_is_not_there_is_told(tmp_path):
    """A mistyped name gives one line that says so."""
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        run("--file", tmp_path / "none")
