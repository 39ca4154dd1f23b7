"""The promises of what `headworks usage` can be asked beyond a plain list."""

import csv
import io
import json
from contextlib import closing

import pytest
import typer
from typer.testing import CliRunner

from headworks.cli import usage as module
from headworks.cli.usage import ledger_app, usage_command
from headworks.testing import FakeClock
from headworks.types import Usage
from tests.stores.books import call, open_ledger, route

app = typer.Typer(rich_markup_mode=None)
app.command("usage")(usage_command)
app.add_typer(ledger_app)

START = 1_800_000_000.0
DAY = 86_400.0


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """Ask about two weeks of which the second has twice the calls, and longer ones."""
    clock = FakeClock()
    with closing(open_ledger(tmp_path / "hw.ledger.db", clock)) as ledger:
        for day in range(14):
            for number in range(2 if day < 7 else 4):
                made = call(f"c{day}-{number}", user=f"u{number}", feature="chat" * (number < 3))
                used = Usage(100 if day < 7 else 150, 10)
                ledger.hold_now(made, route(), Usage(9, 9)).settle(used, "exact", "completed")
            clock.advance(DAY)
        monkeypatch.setattr(module, "now", lambda: START + 14 * DAY)

        def asking(*words, code=0):
            place = ("--store", f"sqlite:{tmp_path / 'hw.db'}")
            done = CliRunner().invoke(app, ["usage", *place, *map(str, words)])
            assert done.exit_code == code, done.output
            return done.output

        yield asking


def test_only_some_calls(ask):
    """--where narrows: values of one axis are alternatives, axes add up."""
    found = json.loads(ask("--since", "all", "--where", "user=u0", "--where", "user=u3", "--json"))
    assert found["total"]["calls"] == 14 + 7
    found = json.loads(
        ask("--since", "all", "--where", "user=u3", "--where", "feature=chat", "--json")
    )
    assert found["total"]["calls"] == 0
    found = json.loads(ask("--since", "all", "--where", "feature=", "--json"))
    assert found["total"]["calls"] == 7


def test_the_top_and_the_others(ask):
    """--top lists the dearest, and sums up the rest in every format."""
    lines = ask("--since", "all", "--by", "user", "--top", "1").splitlines()
    assert [line.split()[0] for line in lines] == ["user", "u0", "others", "total"]
    found = json.loads(ask("--since", "all", "--by", "user", "--top", "1", "--json"))
    assert found["others"]["calls"] + found["lines"][0]["calls"] == found["total"]["calls"] == 42
    text = ask("--since", "all", "--by", "user", "--top", "1", "--csv")
    assert [row["user"] for row in csv.DictReader(io.StringIO(text))] == ["u0", "(others)"]


def test_days_of_a_place(ask):
    """--tz moves the borders of days, and of dates in --since."""
    words = ("--by", "day", "--since", "2027-01-16", "--until", "2027-01-17", "--json")
    assert [it["group"] for it in json.loads(ask(*words))["lines"]] == [{"day": "2027-01-16"}]
    found = json.loads(ask(*words, "--tz", "Pacific/Kiritimati"))
    assert [it["group"] for it in found["lines"]] == [{"day": "2027-01-16"}]
    assert found["total"]["calls"] == 2


def test_what_one_costs(ask):
    """--per shows what a call and a user cost, in dollars rounded up, in table and CSV."""
    lines = ask("--since", "all", "--by", "feature", "--per", "call,user").splitlines()
    assert lines[0].split()[-3:] == ["usd/call", "users", "usd/user"]
    assert lines[-1].split()[-3:] == ["0.000367", "4", "0.003850"]
    text = ask("--since", "all", "--per", "user", "--csv")
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["users"], row["usd_per_user"]) == ("4", "0.003850000")
    assert json.loads(ask("--since", "all", "--json"))["total"]["usd_per_call"] == "0.000366667"


def test_what_drives_it(ask):
    """--compare splits the change of cost into its causes, which sum to it."""
    found = json.loads(ask("--compare", "7d", "--json"))

    assert found["before"]["cost_nano"] == 14 * 300_000
    assert found["after"]["cost_nano"] == 28 * 400_000
    assert found["change_nano"] == 7_000_000 == sum(found["drivers"].values())
    assert found["drivers"] == {
        "volume_nano": 4_900_000, "mix_nano": 0, "tokens_nano": 2_100_000, "price_nano": 0,
        "cache_nano": 0,
    }  # fmt: skip
    assert found["changes"][0]["model"] == "gpt-test"

    lines = ask("--compare", "7d").splitlines()
    assert lines[1].split()[0] == "before"
    assert lines[2].split()[-3:] == ["28", "0.011200", "0.000400"]
    assert [line.split()[0] for line in lines[6:12]] == [
        "volume", "mix", "tokens", "price", "cache", "change",
    ]  # fmt: skip
    assert lines[6].endswith("+0.004900")
    assert lines[-1].startswith("gpt-test")


def test_a_period_is_compared_with_the_one_before(ask):
    """With `before`, --since and --until say which period is meant."""
    words = ("--since", "2027-01-22T08:00Z", "--until", "2027-01-29T08:00Z", "--json")

    found = json.loads(ask("--compare", "before", *words))
    assert found == json.loads(ask("--compare", "7d", "--json"))
    assert found["before"]["since"] == "2027-01-15T08:00:00+00:00"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--by", "modle"), "--by: 'modle' is none of model, asked"),
        (("--by", "modle"), "did you mean 'model'?"),
        (("--by", "user,user"), "--by: an axis is named twice"),
        (("--where", "key"), "--where: 'key' is not of the form key=web"),
        (("--where", "kee=web"), "did you mean 'key'?"),
        (("--where", "day=2027-01-15"), "use --since and --until"),
        (("--tz", "Mars/Olympus"), "--tz: 'Mars/Olympus' is not a time zone"),
        (("--tz", "../etc"), "is not a time zone"),
        (("--top", "0"), "--top: 0 is not a number from 1 on"),
        (("--per", "cat"), "--per: 'cat' is none of call, user"),
        (("--since", "1h", "--until", "2h"), "--since: it is later than --until"),
        (("--compare", "soon"), "--compare: 'soon' is not a span; write 24h, 7d or before"),
        (("--compare", "before", "--since", "all"), "--compare: both periods need bounds"),
        (("--compare", "7d", "--csv"), "--csv: a comparison is no table; write --json"),
        (("--json", "--csv"), "--json, --csv: write one of them"),
    ],
)
def test_mistakes_are_explained(ask, words, message):
    """A wrong option ends in a line that names it and says what is right."""
    assert message in ask(*words, code=1)


def test_without_a_number_a_table_is_kept_short(ask, tmp_path):
    """A table lists 25 groups; programs get all."""
    with closing(open_ledger(tmp_path / "many.ledger.db")) as ledger:
        for number in range(40):
            ledger.hold_now(call(f"c{number}", user=f"u{number}"), route(), Usage(number)).settle(
                Usage(number), "exact", "completed"
            )
    store = ("--store", tmp_path / "many.db", "--since", "all", "--by", "user")
    assert len(ask(*store).splitlines()) == 1 + 25 + 1 + 1
    assert len(json.loads(ask(*store, "--json"))["lines"]) == 40
