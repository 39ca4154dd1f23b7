"""Keys from the command line, as an operator types them."""

import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass

import pytest
from typer.testing import CliRunner, Result

from headworks.cli.keys import app
from headworks.core.keys import parse
from headworks.stores.keys import SqliteKeys
from headworks.stores.pepper import load_pepper
from headworks.testing import FakeClock
from headworks.types import Caller, RateLimits, Secret

SECRETS = {
    "TEST_PEPPER": "a pepper of enough characters",
    "TEST_API_KEY": "sk-for-this-test-only",
    "TEST_KEY": "sixteen-letters!",
}
FAR = 4_000_000_000.0
"""A wall clock in 2096."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory, and a shell that knows nothing of headworks."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "HEADWORKS_CONFIG", "HEADWORKS_ENV"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def run(folder):
    """Run `headworks keys …` in the folder."""

    def run_(*words: str) -> Result:
        return CliRunner().invoke(app, words)

    assert folder.exists()
    return run_


def made(result: Result) -> Secret:
    """Return the secret that was shown."""
    assert result.exit_code == 0, result.output
    (secret,) = re.findall(r"hw_\w+", result.stdout)
    assert parse(secret)
    return Secret(secret)


def caller(folder, secret: Secret, *, pepper: Secret | None = None, time: float = 0) -> Caller:
    """Return whom a gateway on the default store takes this key for."""
    path = folder / "headworks.db"
    with closing(SqliteKeys(path, load_pepper(path, pepper), FakeClock(epoch=time))) as keys:
        return keys.authenticate(secret)


def test_a_key_made_here_works_at_the_gateway(folder, run):
    """Create a key, hand it to an app, and the app is in with what was granted."""
    options = ("--project", "shop", "--model", "assistant", "--model", "x")
    secret = made(run("create", "--name", "web", *options, "--rpm", "60", "--parallel", "8"))

    found = caller(folder, secret)

    assert (found.name, found.project) == ("web", "shop")
    assert (found.models, found.limits) == (frozenset({"assistant", "x"}), RateLimits(60, 8))


def test_the_secret_is_shown_once_and_says_so(run):
    """Whoever creates a key learns that now is the time to write it down."""
    result = run("create", "--name", "web")
    secret = made(result).reveal()

    assert "shown only now" in result.stdout
    for listing in (run("list"), run("list", "--json")):
        assert listing.exit_code == 0
        assert secret not in listing.output
        assert secret[14:] not in listing.output


def test_programs_get_json(run):
    """A script reads the secret, the id and the grant without parsing prose."""
    shown = json.loads(
        run("create", "--name", "ci", "--expires", "2096-01-01", "--rpm", "5", "--json").stdout
    )
    (listed,) = json.loads(run("list", "--json").stdout)

    assert parse(shown.pop("secret"))
    assert shown == listed
    assert (listed["name"], listed["status"], listed["models"]) == ("ci", "active", None)
    assert listed["limits"] == {"rpm": 5, "parallel": None}
    assert listed["expires"] == "2096-01-01T00:00:00+00:00"


def test_the_list_is_a_table_for_people(run):
    """One line a key: what it is for, what it may do, how it stands."""
    assert "No keys yet" in run("list").stdout
    run(
        *("create", "--name", "web", "--project", "shop", "--model", "b", "--model", "a"),
        *("--rpm", "6", "--on-disconnect", "drain"),
    )
    run("create", "--name", "free", "--expires", "2096-01-01")
    assert run("create", "--name", "brief", "--expires", "90d").exit_code == 0
    run("revoke", "free")
    run("revoke", "brief")

    head, *rows = [re.split(r"  +", line) for line in run("list").stdout.splitlines()]

    assert head == ["ID", "NAME", "PROJECT", "MODELS", "LIMITS", "DISCONNECT", "EXPIRES", "STATE"]
    assert [row[1:] for row in sorted(rows, key=lambda row: row[1])][1:] == [
        ["free", "-", "all", "-", "cancel", "2096-01-01 00:00 UTC", "revoked"],
        ["web", "shop", "a,b", "rpm=6", "drain", "never", "active"],
    ]


def test_rotation_shows_a_new_secret_and_keeps_the_old_one_for_a_while(folder, run):
    """Apps move to the new secret one by one, then the old one ends."""
    old = made(run("create", "--name", "web"))
    result = run("rotate", "web", "--overlap", "24h")
    new = made(result)

    assert re.search(r"Older ones work until \d{4}-\d\d-\d\d \d\d:\d\d UTC at most", result.stdout)
    assert caller(folder, old) == caller(folder, new)
    assert caller(folder, new, time=FAR).name == "web"
    with pytest.raises(Exception, match="was replaced"):
        caller(folder, old, time=FAR)


def test_a_leaked_secret_ends_at_once(folder, run):
    """Rotating without overlap leaves only the new secret."""
    old = made(run("create", "--name", "web"))
    result = run("rotate", "web", "--overlap", "0s", "--json")

    assert "secret" in json.loads(result.stdout)
    with pytest.raises(Exception, match="was replaced"):
        caller(folder, old, time=FAR)


def test_revoking_is_final_and_may_be_repeated(folder, run):
    """Revoke says when it takes effect; saying it twice is no error."""
    secret = made(run("create", "--name", "web"))

    assert "within a second" in run("revoke", "web").stdout
    with pytest.raises(Exception, match="was revoked"):
        caller(folder, secret)
    again = run("revoke", "web")
    assert (again.exit_code, again.stdout) == (0, "It was revoked before.\n")
    assert json.loads(run("revoke", "web", "--json").stdout) == []


def test_the_configuration_names_store_and_pepper(folder, run, monkeypatch):
    """With a configuration, keys land in its store, under its pepper."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    config = folder / "gateway.yaml"
    config.write_text(
        'store: "sqlite:headworks.db"\nkey_pepper: "${env:TEST_PEPPER}"\n'
        'upstreams: {openai: {base_url: "https://api.openai.com/v1", credentials: '
        '[{name: main, api_key: "${env:TEST_API_KEY}"}]}}\n'
        'keys: [{name: fixed, secret: "${env:TEST_KEY}"}]\n'
    )
    secret = made(run("create", "--name", "web", "--config", str(config)))

    pepper = Secret(SECRETS["TEST_PEPPER"])
    assert caller(folder, secret, pepper=pepper).name == "web"
    assert not (folder / "headworks.db.pepper").exists()
    taken = run("create", "--name", "fixed", "--config", str(config))
    assert taken.exit_code == 1
    assert "the configuration has a key named 'fixed'" in taken.stderr


def test_without_a_file_variables_name_store_and_pepper(folder, run, monkeypatch):
    """What steers `headworks serve` without a file steers the keys likewise, provider or none."""
    monkeypatch.setenv("HEADWORKS__KEY_PEPPER", SECRETS["TEST_PEPPER"])
    monkeypatch.setenv("OPENAI_BASE_URL", "http://gateway:4000/v1")
    secret = made(run("create", "--name", "web"))

    assert caller(folder, secret, pepper=Secret(SECRETS["TEST_PEPPER"])).name == "web"
    monkeypatch.setenv("HEADWORKS__STORE", "sqlite:other.db")
    assert "No keys yet" in run("list").stdout


@dataclass(frozen=True)
class Case:
    id: str
    words: str
    told: str


CASES = [
    Case("name taken", "create --name web", "a key named 'web' exists"),
    Case("bad name", "create --name a/b", "'a/b' cannot be a name"),
    Case("bad date", "create --name a --expires soon", "'soon' is not a date"),
    Case("past", "create --name a --expires 2020-01-01", "would have expired already"),
    Case("unknown", "revoke nobody", "no key has the name or id 'nobody'"),
    Case("unknown to rotate", "rotate nobody", "no key has the name or id 'nobody'"),
    Case("bad span", "rotate web --overlap long", "'long' is not a span of time"),
    Case("no folder", "create --name a --store no/such.db", "No such file or directory"),
    Case("not a store", "list --store garbage.db", "file is not a database"),
    Case("not sqlite", "list --store postgresql://host/keys", "is not of the form sqlite:"),
    Case("no configuration", "list --config none.yaml", "none.yaml"),
    Case("how without", "list --config none.yaml", "--store FILE"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_refusal_is_a_clear_line_and_exit_code_1(folder, run, case):
    """Nothing is half done, nothing is a traceback."""
    (folder / "garbage.db").write_bytes(b"garbage " * 100)
    run("create", "--name", "web")
    before = run("list", "--json").stdout

    result = run(*case.words.split())

    assert result.exit_code == 1
    assert case.told in result.stderr
    assert "Traceback" not in result.output
    assert not result.stdout
    assert run("list", "--json").stdout == before


def test_a_locked_store_is_a_refusal_too(folder, run):
    """While another process writes, the command gives up in two seconds and says why."""
    run("create", "--name", "web")
    with closing(sqlite3.connect(folder / "headworks.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        result = run("revoke", "web")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "is locked by another process; nothing was changed, try again" in result.stderr


@pytest.mark.parametrize("command", ["create", "list", "rotate", "revoke"])
def test_help_has_real_examples(run, command):
    """Every command's help shows lines that can be typed as they are."""
    assert f"\n  headworks keys {command}" in run(command, "--help").stdout


def test_help_loads_no_store():
    """Asking for help is instant: neither SQLite nor the configuration is loaded."""
    program = (
        "import sys; import headworks.cli.keys;"
        "print(sorted({'sqlite3', 'yaml', 'msgspec', 'asyncio'} & set(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )

    assert shown.stdout == "[]\n"
