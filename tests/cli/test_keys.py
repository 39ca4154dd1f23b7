"""Keys from the command line, as an operator types them."""

import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, replace

import msgspec
import pytest
from typer.testing import CliRunner, Result

from headworks.cli.key_options import OPTIONS
from headworks.cli.keys import app
from headworks.config.loading import load
from headworks.config.schema import Grant as Grant_
from headworks.config.schema_budgets import Budget
from headworks.config.schema_limits import ModelLimits
from headworks.config.schema_queue import KeyLimits
from headworks.config.schema_stream import Buffered
from headworks.core.budget import Budget as BudgetTerms
from headworks.core.grants import Grant
from headworks.core.keys import parse
from headworks.stores.keys import SqliteKeys
from headworks.stores.keystore import KeyStore
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
    assert listed["limits"] == {
        "rpm": 5, "parallel": None, "tpm": None, "rpd": None, "tpd": None, "reserve": "expected",
        "queue": None, "models": {},
    }  # fmt: skip
    assert (listed["budget"], listed["priority"]) == (None, "interactive")
    assert listed["expires"] == "2096-01-01T00:00:00+00:00"


def test_the_list_is_a_table_for_people(run):
    """One line a key: what it is for, what it may do, how it stands."""
    assert "No keys yet" in run("list").stdout
    run(
        *("create", "--name", "web", "--project", "shop", "--model", "b", "--model", "a"),
        *("--rpm", "6", "--tpd", "900", "--reserve", "strict", "--on-disconnect", "drain"),
        *("--model-limits", "a:rpm=2", "--budget", "9.5", "--budget-per", "total"),
        *("--no-budget-hard", "--priority", "batch"),
    )
    run("create", "--name", "free", "--expires", "2096-01-01", "--budget", "0.001")
    assert run("create", "--name", "brief", "--expires", "90d").exit_code == 0
    run("revoke", "free")
    run("revoke", "brief")

    head, *rows = [re.split(r"  +", line) for line in run("list").stdout.splitlines()]

    assert head == [
        "ID",
        "NAME",
        "PROJECT",
        "MODELS",
        "LIMITS",
        "BUDGET",
        "MORE",
        "EXPIRES",
        "STATE",
    ]
    assert [row[1:] for row in sorted(rows, key=lambda row: row[1])][1:] == [
        ["free", "-", "all", "-", "$0.001 a month", "-", "2096-01-01 00:00 UTC", "revoked"],
        [
            "web",
            "shop",
            "a,b",
            "rpm=6 tpd=900 a=…",
            "$9.50 in all, soft",
            "priority=batch on_disconnect=drain",
            "never",
            "active",
        ],
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
    for command in ("change", "rotate", "revoke"):
        refused = run(command, "fixed", "--config", str(config))
        assert refused.exit_code == 1
        assert "key 'fixed' stands in the configuration: change it there" in refused.stderr
    config.write_text(config.read_text().replace("name: fixed", "name: web"))
    assert "is revoked" in run("revoke", "web", "--config", str(config)).stdout


def test_without_a_file_variables_name_store_and_pepper(folder, run, monkeypatch):
    """What steers `headworks serve` without a file steers the keys likewise, provider or none."""
    monkeypatch.setenv("HEADWORKS__KEY_PEPPER", SECRETS["TEST_PEPPER"])
    monkeypatch.setenv("OPENAI_BASE_URL", "http://gateway:4000/v1")
    secret = made(run("create", "--name", "web"))

    assert caller(folder, secret, pepper=Secret(SECRETS["TEST_PEPPER"])).name == "web"
    monkeypatch.setenv("HEADWORKS__STORE", "sqlite:other.db")
    assert "No keys yet" in run("list").stdout


EVERYTHING = (
    *("--project", "2024", "--model", "a", "--model", "b", "--rpm", "60", "--tpm", "1000"),
    *("--rpd", "70", "--tpd", "2000", "--parallel", "8", "--reserve", "strict", "--queue", "0"),
    *("--model-limits", "b:70:tpm=5,rpd=3", "--model-limits", "c:parallel=1"),
    *("--buffer", "words", "--max-delay", "20ms"),
    *("--priority", "background", "--budget", "10.50", "--budget-per", "day"),
    *("--budget-time-zone", "Europe/Berlin", "--budget-soft", "90", "--budget-soft", "50"),
    *("--budget-hard", "--budget-unpriced", "flag", "--budget-reserve", "strict"),
    *("--expires", "2096-01-01", "--on-disconnect", "drain"),
    *("--on-ledger-failure", "refuse", "--unpriced", "refuse", "--scope", "admin"),
    *("--client-tokens", "15m", "--client-tokens-rpm", "6", "--client-tokens-tpm", "700"),
    *("--client-tokens-rpd", "50", "--client-tokens-tpd", "900", "--client-tokens-parallel", "2"),
)
IN_A_FILE = """\
upstreams: {openai: {base_url: "https://x.example/v1", credentials: [{name: main, api_key: sk-simulator}]}}
keys:
  - name: web
    secret: sixteen-letters!
    project: "2024"
    models: [a, b]
    limits:
      {rpm: 60, tpm: 1000, rpd: 70, tpd: 2000, parallel: 8, reserve: strict, queue: 0,
       models: {"b:70": {tpm: 5, rpd: 3}, c: {parallel: 1}}}
    priority: background
    budget:
      {usd: 10.50, per: day, time_zone: Europe/Berlin, soft: [90, 50], hard: true, unpriced: flag, reserve: strict}
    expires: 2096-01-01
    on_disconnect: drain
    on_ledger_failure: refuse
    unpriced: refuse
    scopes: [admin]
    client_tokens: {max_expiry: 15m, limits: {rpm: 6, tpm: 700, rpd: 50, tpd: 900, parallel: 2}}
    stream: {buffer: words, max_delay: 20ms}
"""


def stored(folder) -> list[Grant]:
    """Return what the keys of the default store may do."""
    return [record.grant for record in KeyStore(folder / "headworks.db", FakeClock().time).list()]


def test_every_setting_of_a_configured_key_is_an_option():
    """What is said in a file can be said here, settings of a later day included."""
    said = {option.path for option in OPTIONS}
    own = {"name", "limits", "budget", "client_tokens", "stream"}
    found = {one.name for one in msgspec.structs.fields(Grant_)} - own
    found |= {f"limits.{one.name}" for one in msgspec.structs.fields(KeyLimits)}
    found |= {f"budget.{one.name}" for one in msgspec.structs.fields(Budget)}
    found |= {f"client_tokens.limits.{one.name}" for one in msgspec.structs.fields(ModelLimits)}
    found |= {f"stream.{one.name}" for one in msgspec.structs.fields(Buffered)}
    assert said == found | {"client_tokens.max_expiry"}


def test_a_key_made_here_is_the_key_of_a_file(folder, run, monkeypatch):
    """The same settings make the same key, whichever way they are said."""
    assert {word for word in EVERYTHING if word.startswith("--")} == {one.flag for one in OPTIONS}
    assert run("create", "--name", "web", *EVERYTHING).exit_code == 0
    file = folder / "other.yaml"
    file.write_text(IN_A_FILE)
    (configured,) = load(file, {}).keys
    assert stored(folder) == [configured.grant]

    assert run("change", "web", "--rpm", "50").exit_code == 0
    limits = replace(configured.grant.limits, rpm=50)
    assert stored(folder) == [replace(configured.grant, limits=limits)]


def test_a_change_leaves_the_rest_as_it_is(folder, run):
    """One setting more or less, shown as it then stands; the secret works on."""
    secret = made(run("create", "--name", "web", "--rpm", "60", "--model", "a"))
    before = stored(folder)[0]

    shown = run("change", "web", "--budget", "5", "--queue", "3").stdout
    assert re.search(r"web +- +a +rpm=60 queue=3 +\$5\.00 a month +- +never +active", shown)
    run("change", "web", "--budget-per", "day", "--model-limits", "m:rpm=1", "--unpriced", "refuse")
    assert stored(folder)[0].budget == BudgetTerms(5 * 10**9, "day")
    unset = ("budget", "queue", "model-limits", "unpriced")
    words = [word for name in unset for word in ("--unset", name)]
    result = run("change", "web", *words, "--expires", "90d", "--json")

    assert "secret" not in json.loads(result.stdout)
    assert json.loads(result.stdout)["budget"] is None
    expires = stored(folder)[0].expires
    assert expires is not None
    assert stored(folder) == [replace(before, expires=expires)]
    assert caller(folder, secret).limits == RateLimits(60)


@dataclass(frozen=True)
class Case:
    id: str
    words: str
    told: str


CASES = [
    Case("name taken", "create --name web", "a key named 'web' exists"),
    Case("bad name", "create --name a/b", "--name: name: must be a name of at most 64 letters"),
    Case("bad date", "create --name a --expires soon", "--expires: expires: not a date"),
    Case("bad word", "create --name a --on-disconnect finish", "--on-disconnect: on_disconnect: must be one of cancel, drain"),
    Case("bad number", "create --name a --rpm few", "--rpm: limits.rpm: expected a whole number"),
    Case("no model", "change web --model", "--model: models[0]: must be a model's name"),
    Case("idle limit", "create --name a --rpm 9 --rpd 5", "--rpm: limits.rpm: is never reached, since rpd is less"),
    Case("idle reserve", "create --name a --reserve strict", "--reserve: limits.reserve: does nothing without"),
    Case("no amount", "create --name a --budget-per day", "--budget-per: budget.usd: is missing"),
    Case("bad limit of a model", "create --name a --model-limits m:usd=5", "--model-limits: limits.models.m.usd: not available"),
    Case("a limit of a model twice", "create --name a --model-limits m:rpm=1,rpm=2", "--model-limits: write it as"),
    Case("odd limit of a model", "create --name a --model-limits m", "--model-limits: write it as"),
    Case("unknown to change", "change nobody --rpm 5", "no key has the name or id 'nobody'"),
    Case("unknown to unset", "change web --unset budgets", "'budgets' is no setting of a key, did you mean 'budget'?"),
    Case("not to unset", "change web --unset name", "'name' is no setting of a key"),
    Case("bad change", "change web --budget 0", "--budget: budget.usd: an amount is above 0"),
    Case("bad whole", "change web --reserve strict --unset tpm", "limits.reserve: does nothing without"),
    Case("past", "create --name a --expires 2020-01-01", "would have expired already"),
    Case("unknown", "revoke nobody", "no key has the name or id 'nobody'"),
    Case("unknown to rotate", "rotate nobody", "no key has the name or id 'nobody'"),
    Case("bad span", "rotate web --overlap long", "'long' is not a span of time"),
    Case("no folder", "create --name a --store no/such.db", "No such file or directory"),
    Case("not a store", "list --store garbage.db", "file is not a database"),
    Case("not sqlite", "list --store postgresql://host/keys", "is not of the form sqlite:"),
    Case("no configuration", "list --config none.yaml", "none.yaml"),
    Case("how without", "list --config none.yaml", "--store FILE"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_refusal_is_a_clear_line_and_exit_code_1(folder, run, case):
    """Nothing is half done, nothing is a traceback."""
    (folder / "garbage.db").write_bytes(b"garbage " * 100)
    run("create", "--name", "web")
    before = run("list", "--json").stdout

    result = run(*case.words.split(), *([""] if case.words.endswith("--model") else []))

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


@pytest.mark.parametrize("command", ["create", "list", "change", "rotate", "revoke"])
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
