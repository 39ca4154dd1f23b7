"""The promises of the catalogue: right prices, complete, dated, and never a free unknown."""

import importlib.util
import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from headworks.catalog import PATH, load
from headworks.catalog.prices import Prices
from headworks.catalog.rows import PriceRow, complete, effective, nano
from headworks.core.pricing import cost, covers, flat_price
from headworks.errors import ConfigurationError
from headworks.testing import FakeClock
from headworks.types import Usage

TODAY = date(2026, 11, 23)
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Row:
    """One line of the provider's published list, USD per million tokens."""

    id: str
    input: str
    output: str
    cached: str
    half: tuple[str, str]
    priority: tuple[str, str] | None = None
    long: tuple[str, str] | None = None


ROWS = [
    Row("gpt-6-astra", "10", "50", "1", ("5", "25"), ("20", "100"), ("20", "75")),
    Row("gpt-6.1-sol", "2", "10", "0.1", ("1", "5"), ("4", "20"), ("4", "15")),
    Row("gpt-6-sol", "2", "10", "0.2", ("1", "5"), ("4", "20"), ("4", "15")),
    Row("gpt-6.1-terra", "1", "5", "0.05", ("0.5", "2.5"), ("2", "10"), ("2", "7.5")),
    Row("gpt-6-luna", "0.1", "0.5", "0.01", ("0.05", "0.25"), ("0.2", "1"), ("0.2", "0.75")),
    Row("gpt-5.6-sol", "4", "20", "0.4", ("2", "10"), ("8", "40"), ("8", "30")),
    Row("gpt-5.5", "5", "30", "0.5", ("2.5", "15"), ("12.5", "75"), ("10", "45")),
    Row("gpt-5.4", "2.5", "15", "0.25", ("1.25", "7.5"), ("5", "30"), ("5", "22.5")),
    Row("gpt-5.4-mini", "0.75", "4.5", "0.075", ("0.375", "2.25"), ("1.5", "9")),
    Row("gpt-5.4-nano", "0.2", "1.25", "0.02", ("0.1", "0.625")),
    Row("gpt-5.2", "1.75", "14", "0.175", ("0.875", "7"), ("3.5", "28")),
    Row("gpt-5", "1.25", "10", "0.125", ("0.625", "5"), ("2.5", "20")),
    Row("gpt-5-mini", "0.25", "2", "0.025", ("0.125", "1"), ("0.45", "3.6")),
    Row("gpt-4.1", "2", "8", "0.5", ("1", "4"), ("3.5", "14")),
    Row("gpt-4o-mini", "0.15", "0.6", "0.075", ("0.075", "0.3"), ("0.25", "1")),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_prices_are_the_published_ones(row):
    """The models that people use cost what the provider's own page says."""
    price = load().price(row.id, TODAY)

    assert price is not None
    standard = price.tiers["default"]
    assert (standard.input, standard.output) == (nano(row.input), nano(row.output))
    assert standard.cached == nano(row.cached)
    assert (price.tiers["batch"].input, price.tiers["batch"].output) == tuple(map(nano, row.half))
    if row.priority:
        dear = price.tiers["priority"]
        assert (dear.input, dear.output) == tuple(map(nano, row.priority))
    assert bool(price.long) == bool(row.long)
    if row.long:
        assert (price.long["default"].input, price.long["default"].output) == tuple(
            map(nano, row.long)
        )


def test_every_price_in_the_catalogue_is_complete_and_sane():
    """Discounts are cheaper, priority is dearer, the cache saves, and nothing is negative."""
    catalogue = load()
    for name in catalogue.ids():
        price = catalogue.price(name, TODAY)
        if price is None:
            continue
        for table in (price.tiers, price.long):
            standard = table.get("default")
            for tier, rates in table.items():
                assert rates.cached <= rates.input <= max(rates.written, rates.input), name
                assert rates.written <= rates.written_12h, name
                cheap = tier in {"batch", "flex"}
                assert standard is not None
                assert not cheap or rates.input <= standard.input, (name, tier)
                assert not cheap or rates.output <= standard.output, (name, tier)
                assert cheap or rates.input >= standard.input, (name, tier)
                assert cheap or rates.output >= standard.output, (name, tier)


def test_long_requests_are_never_cheaper_in_any_tier():
    """A tier whose long rate is not printed does not fall back to its short one."""
    catalogue = load()
    for name in catalogue.ids():
        price = catalogue.price(name, TODAY)
        if price is None or not price.long:
            continue
        for tier in price.tiers:
            short, long = Usage(272_000, 1000, tier=tier), Usage(272_001, 1000, tier=tier)
            assert cost(price, long) > cost(price, short), (name, tier)


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("gpt-6-sol", "gpt-6-sol"),
        ("gpt-6-sol-2026-09-01", "gpt-6-sol"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("ft:gpt-4o-mini-2024-07-18:acme::abc123", "ft:gpt-4o-mini-2024-07-18"),
        ("ft:gpt-6-sol:acme::abc123", None),
        ("gpt-6-sol-preview", None),
        ("llama", None),
        ("", None),
    ],
)
def test_snapshots_and_fine_tuned_models_are_found(name, listed):
    """A dated name costs what its model costs; a fine-tuned one never what its base costs."""
    model = load().model(name)

    assert (model.id if model else None) == listed
    if listed is None:
        assert load().price(name, TODAY) is None


@pytest.mark.parametrize(
    "name", ["gpt-6.2-sol", "gpt-4o-mini-tts", "o1-preview-2024-09-12", "sora-2"]
)
def test_an_unknown_price_is_none_and_not_zero(name):
    """A model that we know but whose price we do not is unpriced, never free."""
    assert load().model(name) is not None
    assert load().price(name, TODAY) is None


@pytest.mark.parametrize(
    ("name", "usage", "nano_dollars"),
    [
        ("whisper-1", Usage(60, tier="second"), 6_000_000),  # $0.006 a minute
        ("tts-1-hd", Usage(1000, tier="character"), 30_000_000),
        ("gpt-4o-transcribe", Usage(60, tier="second"), 6_000_000),
        ("gpt-4o-transcribe", Usage(1000, 100), 3_500_000),
    ],
)
def test_sound_and_speech_have_the_prices_that_are_published(name, usage, nano_dollars):
    """Models that bill by the second or character need no price in the configuration."""
    price = load().price(name, TODAY)

    assert price is not None
    assert covers(price, usage)
    assert cost(price, usage) == nano_dollars


def test_what_is_billed_by_the_second_has_no_price_for_tokens():
    """A model of which only the price of a second is known is not free of charge by tokens."""
    price = load().price("whisper-1", TODAY)

    assert price is not None
    assert not covers(price, Usage(1000))


def test_what_is_free_is_said_to_be_free():
    """Moderation costs nothing, and embeddings nothing for their output: known zeros."""
    free = load().price("omni-moderation-latest", TODAY)
    vectors = load().price("text-embedding-3-small", TODAY)

    assert free is not None
    assert cost(free, Usage(1000)) == 0
    assert vectors is not None
    assert cost(vectors, Usage(1000)) == 20_000


def test_audio_and_images_are_priced_by_their_dearest_rate():
    """Token counts that do not say what is audio never come out too cheap."""
    price = load().price("gpt-audio", TODAY)

    assert price is not None
    assert price.is_bound
    assert price.tiers["default"].input == nano("32")


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("gpt-4o", "2027-01-14"),
        ("gpt-5", "2026-12-11"),
        ("o4-mini", "2026-10-23"),
        ("gpt-3.5-turbo-16k", "2024-09-13"),
        ("chatgpt-4o-latest", "2026-02-17"),
        ("gpt-6-sol", None),
        ("gpt-6-luna", None),
        ("gpt-5.4-mini", None),
    ],
)
def test_shutdown_dates_are_the_earliest_announced(name, day):
    """You learn the first day on which a model may be gone; the default chain lives."""
    model = load().model(name)

    assert model is not None
    assert model.shutdown == day
    assert day is None or day == min(model.announced.values())


def test_retired_models_keep_their_prices():
    """A past shutdown date is a date like any other: old calls can still be priced."""
    assert load().price("o4-mini", TODAY) is not None


def test_the_catalogue_says_where_it_comes_from_and_is_small():
    """Source, licence and checksum travel with the numbers, in a file of modest size."""
    source = load().source

    assert (source.license, len(source.sha256)) == ("MIT", 64)
    assert source.copyright in (ROOT / "NOTICE").read_text()
    assert PATH.stat().st_size < 300_000


def test_a_damaged_catalogue_is_refused_by_name(tmp_path):
    """A malformed price file stops the start with a message, and never prices at zero."""
    path = tmp_path / "models.json"
    path.write_text('{"models": [{"id": 3}]}')

    with pytest.raises(ConfigurationError, match=r"models\.json"):
        load(path)
    with pytest.raises(ConfigurationError, match="absent"):
        load(tmp_path / "absent")


HISTORY = (
    PriceRow(input="4", output="8"),
    PriceRow(input="2", output="8", since="2026-05-01"),
    PriceRow(tier="batch", input="1", output="4", since="2026-05-01"),
)


@pytest.mark.parametrize(
    ("day", "rows"), [("2020-01-01", 1), ("2026-04-30", 1), ("2026-05-01", 2), ("2030-01-01", 2)]
)
def test_prices_hold_from_their_date_on(day, rows):
    """A new price does not change what yesterday cost."""
    assert len(effective(HISTORY, day)) == rows


def test_a_price_list_without_first_date_serves_older_days():
    """Days before the first known price cost what is first known, not nothing."""
    assert effective(HISTORY[1:], "2020-01-01") == HISTORY[1:]
    assert effective((), "2020-01-01") == ()
    assert complete(()) is None


@pytest.mark.parametrize("usd", ["-1", "abc", "nan", "inf", "", "0.0000000001", "1e30"])
def test_what_is_no_price_is_refused(usd):
    """A price that cannot be meant is an error, not a zero."""
    with pytest.raises(ValueError, match=r"USD|decimals"):
        nano(usd)


def test_small_prices_are_exact():
    """Five cents, or a fraction of one, per million tokens is kept to the last digit."""
    assert (nano("0.05"), nano("0.005"), nano("1e-9"), nano("0")) == (50_000_000, 5_000_000, 1, 0)
    with pytest.raises(ValueError, match="both needed"):
        complete((PriceRow(input="1"),))


def test_the_operators_prices_win():
    """A price in the configuration is used instead of the catalogue's, for snapshots as well."""
    own = flat_price(1, 2)
    prices = Prices(FakeClock(), {"gpt-6-sol": own, "local": own})

    assert prices.price("local") is own
    assert prices.price("gpt-6-sol") is own
    assert prices.price("gpt-6-sol-2026-09-01") is own
    assert prices.price("gpt-4o-2024-05-13") == load().price("gpt-4o-2024-05-13", TODAY)
    assert prices.price("nobody-knows") is None


def test_prices_follow_the_calendar():
    """A price that changes at midnight is used from midnight on, without a restart."""
    catalogue = load()
    model = catalogue.model("gpt-6-sol")
    assert model is not None
    clock = FakeClock(epoch=1_777_593_540.0)  # 2026-04-30T23:59:00Z
    changed = type(model)(id="m", prices=HISTORY)
    prices = Prices(clock, catalogue=type(catalogue)(catalogue.source, {"m": changed}))

    before = prices.price("m")
    clock.advance(120)
    after = prices.price("m")

    assert before is not None
    assert after is not None
    assert (before.tiers["default"].input, after.tiers["default"].input) == (nano("4"), nano("2"))


def script():
    path = ROOT / "scripts" / "update_catalog.py"
    spec = importlib.util.spec_from_file_location("update_catalog", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_appends_changed_prices_and_keeps_old_ones():
    """Regenerating the catalogue never rewrites what a model cost before."""
    dated = script().dated
    old = [{"tier": "default", "above": 0, "input": "4", "output": "8"}]
    new = [{"tier": "default", "above": 0, "input": "2", "output": "8"}]

    first = dated(old, new, TODAY, is_new=False)

    assert dated(old, old, TODAY, is_new=False) == old
    assert dated([], new, TODAY, is_new=True) == new
    assert first == [*old, {"from": "2026-11-23", **new[0]}]
    assert dated(first, new, date(2027, 1, 1), is_new=False) == first
    assert dated(first, [], TODAY, is_new=False) == first


def test_every_chat_model_of_the_official_client_is_listed():
    """Each model that the official client names is known, with the end that it announces."""
    listed = {row["id"]: row for row in json.loads(PATH.read_text())["models"]}

    for name, day in script().sdk_shutdowns().items():
        assert name in listed
        assert not day or listed[name]["shutdown"] <= day
    assert "gpt-5.1-mini" not in listed
