"""The promises of `headworks usage`, `headworks ledger verify` and `headworks models`."""

import csv
import io
import json
import os
import sqlite3
from contextlib import closing

import pytest
import typer
from typer.testing import CliRunner

from headworks.cli.models import app as models_app
from headworks.cli.usage import ledger_app, usage_command
from headworks.cli.usage_tables import usage_table
from headworks.stores.usage import Line, Usages
from headworks.types import Usage
from tests.stores.books import call, open_ledger, route

app = typer.Typer(rich_markup_mode=None)
app.command("usage")(usage_command)
app.add_typer(ledger_app)
app.add_typer(models_app)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working directory, and a shell that knows nothing of headworks."""
    monkeypatch.chdir(tmp_path)
    for name in [*os.environ]:
        if name.startswith(("HEADWORKS_", "OPENAI_")):
            monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def store(tmp_path):
    with closing(open_ledger(tmp_path / "hw.ledger.db")) as ledger:
        ledger.hold_now(call("c1", feature="=1+1"), route(), Usage(9, 9)).settle(
            Usage(1, 1), "exact", "completed"
        )
        ledger.hold_now(call("c2", feature="\x1b[31mred"), route(), Usage(9, 9)).settle(
            Usage(0, 100), "estimated", "completed"
        )
        ledger.hold_now(call("c3"), route("mystery"), Usage(9, 9)).settle(
            Usage(1, 1), "exact", "completed"
        )
        ledger.hold_now(call("c4"), route(), Usage(1, 0))
        yield f"sqlite:{tmp_path / 'hw.db'}"


def run(*words, code=0):
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.output


def test_a_table_for_people(store):
    """Aligned, in dollars with six decimals, dearest first, with a total and what is not in it."""
    lines = run("usage", "--store", store, "--since", "all", "--by", "feature,key").splitlines()

    assert lines[0].split() == [
        "feature", "key", "calls", "attempts", "input", "output", "cached", "reasoning",
        "usd", "estimated", "waste", "saved",
    ]  # fmt: skip
    assert lines[1].startswith("?[31mred  web")
    assert lines[1].endswith("0.001000   0.001000  0.000000  0.000000")
    assert lines[2].startswith("=1+1")
    assert lines[3].startswith("-")
    assert "0.000000 + 1 unpriced" in lines[3]
    assert lines[4].startswith("total")
    assert "0.001012 + 1 unpriced" in lines[4]
    assert lines[5].startswith("unpriced: 1")
    assert lines[6] == "open: 1 (under way, 0.000002 USD at most)"
    assert "\x1b" not in "".join(lines)


def test_a_table_says_why_it_took_so_long():
    """Where many rows had to be read one by one, the table ends with how many."""
    lines = list(usage_table(Usages(("session",), (), Line(), rows_read=1_000_000), ()))
    assert lines[-1].startswith("read: 1000000 rows one by one")
    assert len(list(usage_table(Usages(("model",), (), Line(), rows_read=1000), ()))) == 2


def test_json_for_programs(store):
    """Exact integers, and dollars as text, under stable names."""
    found = json.loads(run("usage", "--store", store, "--since", "all", "--json"))

    assert found["by"] == ["model"]
    assert found["total"]["cost_nano"] == 1_012_000
    assert found["total"]["cost_usd"] == "0.001012000"
    assert found["rows_read"] == 4
    assert found["lines"][0]["group"] == {"model": "gpt-test"}


def test_csv_for_spreadsheets(store):
    """One row a group; what a caller wrote never becomes a formula."""
    text = run("usage", "--store", store, "--since", "all", "--by", "feature", "--csv")
    table = list(csv.DictReader(io.StringIO(text)))

    assert {row["feature"] for row in table} == {"'=1+1", "?[31mred", ""}
    assert sum(int(row["cost_nano"]) for row in table) == 1_012_000


@pytest.mark.parametrize(
    ("since", "until", "calls"),
    [
        ("2027-01-15", "2027-01-16", 4),
        ("2027-01-15T08:00:00Z", "2027-01-15T08:00:01Z", 4),
        ("2027-01-15T10:00:00+01:00", "all", 0),
        ("all", "2027-01-15", 0),
        ("9999d", "2027-01-16", 4),
    ],
)
def test_the_time_can_be_written_as_people_write_it(store, since, until, calls):
    """Spans, days and moments, with UTC where nothing else is said."""
    words = ("usage", "--store", store, "--since", since, "--until", until, "--json")

    assert json.loads(run(*words))["total"]["calls"] == calls


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--since", "yesterday"), "--since: 'yesterday' is not a time"),
        (("--since", "999999w"), "--since: '999999w' is not a time"),
        (("--by", "moon"), "'moon' is none of"),
        (("--store", "postgresql://x"), "is not of the form sqlite:"),
        (("--store", "absent.db"), "there is no ledger here"),
        (("--config", "absent.yaml"), "absent.yaml"),
    ],
)
def test_mistakes_are_explained(store, words, message):
    """A wrong option ends in one line that says what is right, and in exit code 1."""
    place = () if {"--store", "--config"} & set(words) else ("--store", store)

    assert message in run("usage", *place, *words, code=1)


def test_the_configuration_names_the_store(store, tmp_path):
    """Without --store the ledger is found through the configuration."""
    config = tmp_path / "headworks.yaml"
    upstream = "{base_url: http://127.0.0.1:9, credentials: [{name: main, api_key: sk-1}]}"
    config.write_text(f"store: {store}\nupstreams:\n  local: {upstream}\n")

    found = json.loads(run("usage", "--config", config, "--since", "all", "--json"))

    assert found["total"]["calls"] == 4


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OPENAI_API_KEY": "sk-1"},
        {"OPENAI_API_KEY": "hw_1", "OPENAI_BASE_URL": "http://gateway:4000/v1"},
    ],
)
def test_without_a_configuration_it_is_the_default_store(folder, monkeypatch, variables):
    """Where `headworks serve` ran without a file, its ledger is found without an option."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert "headworks.ledger.db: there is no ledger here" in run("usage", code=1)
    assert "headworks.ledger.db: there is no ledger here" in run("ledger", "verify", code=2)
    with closing(open_ledger(folder / "headworks.ledger.db")) as ledger:
        ledger.hold_now(call("c1"), route(), Usage(1, 1))

        assert json.loads(run("usage", "--since", "all", "--json"))["total"]["calls"] == 1
        assert "The ledger is sound." in run("ledger", "verify")


def test_a_variable_names_the_store_too(store, monkeypatch):
    """What steers `headworks serve` without a file steers the reports likewise."""
    monkeypatch.setenv("HEADWORKS__STORE", store)

    assert json.loads(run("usage", "--since", "all", "--json"))["total"]["calls"] == 4


def test_a_broken_configuration_is_not_passed_over(folder):
    """A report never falls back to another store; it says how to go without the configuration."""
    (folder / "headworks.yaml").write_text("stor: x\n")

    for words, code in ((("usage",), 1), (("ledger", "verify"), 2)):
        told = run(*words, code=code)
        assert "headworks.yaml:1" in told
        assert "--store FILE" in told


def test_verify_says_sound_or_fails(store, tmp_path):
    """A sound ledger ends in exit code 0, one that was touched in 1, one that is missing in 2."""
    path = tmp_path / "hw.ledger.db"

    assert run("ledger", "verify", "--store", store) == run("ledger", "verify", "--ledger", path)
    text = run("ledger", "verify", "--ledger", path)
    assert "settled: 3, 0.001012 USD, 1 unpriced" in text
    assert "open: c4/1 (row 4)" in text
    assert text.endswith("The ledger is sound.\n")

    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE attempts SET cost_nano = 5 WHERE seq = 1")
    assert "WRONG row 1: costs 5 nano-dollars" in run("ledger", "verify", "--ledger", path, code=1)
    found = json.loads(run("ledger", "verify", "--ledger", path, "--json", code=1))
    assert (found["sound"], len(found["findings"]), found["rows"]) == (False, 2, 4)
    assert found["findings"][1].startswith("row 1: the chain breaks here")
    run("ledger", "verify", "--ledger", tmp_path / "absent.db", code=2)


def test_verify_tells_the_chain_and_compares_a_head(store, tmp_path):
    """What `verify` shows as the head today proves tomorrow that nothing was cut off."""
    path = tmp_path / "hw.ledger.db"
    chain = json.loads(run("ledger", "verify", "--ledger", path, "--json"))["chain"]
    assert (chain["links"], chain["from_row"]) == (3, 1)
    text = run("ledger", "verify", "--ledger", path, "--head", chain["head"])
    assert f"chain: 3 rows\n  head: {chain['head']}\n" in text
    assert "no head of a chain" in run("ledger", "verify", "--ledger", path, "--head", "x", code=1)


def test_models_are_listed_with_prices_and_ends():
    """What a model costs, holds and when it ends; "?" where nobody knows the price."""
    text = run("models", "list", "gpt-6")
    assert "gpt-6-sol                                 2.00     10.00      0.20" in text
    assert [line.split()[1] for line in text.splitlines() if line.startswith("gpt-6.2-sol")] == [
        "?"
    ]
    assert "100.00 / 1M seconds" in run("models", "list", "whisper-1")

    everything = json.loads(run("models", "list", "--all", "--json"))["models"]
    living = json.loads(run("models", "list", "--json"))["models"]
    assert len(everything) > len(living) > 50
    assert "chatgpt-4o-latest" not in {row["id"] for row in living}
