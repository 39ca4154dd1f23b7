"""Client tokens from the command line, as an operator ends them and tries them out."""

import json
import re
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from headworks.cli import app
from headworks.cli.tokens import app as tokens
from headworks.config.loading import load
from headworks.errors import Unauthenticated
from headworks.stores.keys import ConfiguredKey, SqliteKeys
from headworks.stores.pepper import load_pepper
from headworks.system import SystemClock
from headworks.types import Caller, Secret

FILE = """\
upstreams: {openai: {base_url: "https://x.example/v1", credentials: [{name: main, api_key: sk-simulator}]}}
keys:
  - {name: web, secret: sixteen-letters!, client_tokens: {limits: {rpm: 9}}}
  - {name: plain, secret: sixteen-letters?}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a configuration, and a shell that knows nothing of headworks."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "HEADWORKS_CONFIG", "HEADWORKS_ENV"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "headworks.yaml").write_text(FILE)
    return tmp_path


@pytest.fixture
def run(folder):
    """Run `headworks tokens …` in the folder."""

    def run_(*words: str) -> Result:
        return CliRunner().invoke(tokens, words)

    assert folder.exists()
    return run_


def minted(result: Result) -> Secret:
    """Return the token that was shown."""
    assert result.exit_code == 0, result.output
    (text,) = re.findall(r"eyJ[\w.-]+", result.stdout)
    return Secret(text)


def caller(folder: Path, text: Secret) -> Caller:
    """Return whom a gateway takes a token for."""
    config = load(folder / "headworks.yaml", {})
    configured = [ConfiguredKey(one.grant, one.secret) for one in config.keys]
    path = folder / "headworks.db"
    with closing(SqliteKeys(path, load_pepper(path), SystemClock(), configured)) as keys:
        return keys.authenticate(text)


def test_a_token_minted_here_works_at_the_gateway(folder, run):
    """For a configured key or a stored one, with what was asked for."""
    made = run("mint", "--key", "web", "--user", "u42", "--model", "a", "--rpm", "3")
    found = caller(folder, minted(made))
    assert (found.name, found.models) == ("web", frozenset({"a"}))
    assert found.token is not None
    assert (found.token.user, found.token.limits.rpm) == ("u42", 3)
    assert f"Token {found.token.id} of key 'web' for user 'u42', until" in made.stdout

    words = ["keys", "create", "--name", "app", "--client-tokens", "5m"]
    assert CliRunner().invoke(app, words).exit_code == 0
    told = json.loads(run("mint", "--key", "app", "--user", "u1", "--json").stdout)
    assert told["expires_at"] - told["created_at"] == 300
    assert caller(folder, Secret(told["token"])).name == "app"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--key", "plain", "--user", "u"), "the key 'plain' may not mint client tokens"),
        (("--key", "nobody", "--user", "u"), "no key that is in force has the name 'nobody'"),
        (("--key", "web", "--user", ""), "user: Expected `str` of length >= 1"),
        (
            ("--key", "web", "--user", "u", "--rpm", "10"),
            "limits.rpm is 10, but tokens of this key",
        ),
        (("--key", "web", "--user", "u", "--expires-in", "2h"), "expires_in is longer than the 1h"),
    ],
)
def test_what_cannot_be_minted_is_told_in_one_line(run, words, told):
    """With exit code 1, and what is wrong."""
    result = run("mint", *words)

    assert result.exit_code == 1
    assert result.stderr.lower().startswith(f"headworks tokens: {told}".lower())
    assert result.stderr.count("\n") == 1


def test_a_revoked_token_is_over(folder, run):
    """By user, by key, or by both; each is listed until no token is left that it could concern."""
    assert "Nothing is revoked." in run("revocations").stdout
    text = minted(run("mint", "--key", "web", "--user", "u42"))
    other = minted(run("mint", "--key", "web", "--user", "u43"))

    told = run("revoke", "--user", "u42").stdout
    assert re.match(r"Client tokens of user 'u42' minted until .* UTC are revoked\.", told)
    with pytest.raises(Unauthenticated):
        caller(folder, text)
    assert caller(folder, other).name == "web"
    assert run("revoke", "--user", "u43", "--key", "plain").exit_code == 0
    assert caller(folder, other).name == "web"
    found = json.loads(run("revoke", "--key", "web", "--json").stdout)
    assert (found["user"], found["key"]) == (None, "web")
    with pytest.raises(Unauthenticated):
        caller(folder, other)

    lines = run("revocations").stdout.splitlines()
    assert [line.partition("client tokens ")[2] for line in lines] == [
        "of user 'u42'",
        "of user 'u43' of key 'plain'",
        "of key 'web'",
    ]
    listed = json.loads(run("revocations", "--json").stdout)
    assert [(one["user"], one["key"]) for one in listed] == [
        ("u42", None),
        ("u43", "plain"),
        (None, "web"),
    ]


def test_a_key_may_be_named_by_its_id(folder, run):
    """And one that nobody has is a slip, which revokes nothing."""
    made = CliRunner().invoke(app, ["keys", "create", "--name", "app", "--json"])
    id_ = json.loads(made.stdout)["id"]

    assert "of key 'app'" in run("revoke", "--key", id_).stdout
    for words, told in (
        (("--key", "wob"), "no key has the name or id 'wob'"),
        ((), "say whose tokens end: --user USER, --key KEY, or both"),
        (("--user", ""), "say whose tokens end"),
    ):
        result = run("revoke", *words)
        assert result.exit_code == 1
        assert told in result.stderr
    assert len(json.loads(run("revocations", "--json").stdout)) == 1
