"""The promises of prices: exact to the nano-dollar, upward in doubt, never an exception."""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.pricing import (
    PLAUSIBLE,
    Price,
    Rates,
    anomalies,
    assess,
    cost,
    covers,
    dearer,
    flat_price,
    parse_usage,
    plain_usage,
)
from headworks.types import Usage

USD = 10**9
BASE = Rates(2 * USD, 10 * USD, USD // 5, 5 * USD // 2, 5 * USD)
HALF = Rates(USD, 5 * USD, USD // 10, 5 * USD // 4, 5 * USD // 2)
TWICE = Rates(4 * USD, 20 * USD, 2 * USD // 5, 5 * USD, 10 * USD)
LONG = Rates(4 * USD, 15 * USD, 2 * USD // 5, 5 * USD, 10 * USD)
SOL = Price(
    {"default": BASE, "batch": HALF, "flex": HALF, "priority": TWICE},
    {"default": LONG, "priority": Rates(8 * USD, 30 * USD, USD, USD, USD)},
)


@dataclass(frozen=True)
class Case:
    id: str
    usage: Usage
    nano: int


CASES = [
    Case("nothing used", Usage(), 0),
    Case("a million each", Usage(1_000_000, 1_000_000), 4 * USD + 15 * USD),
    Case("one token each", Usage(1, 1), 12_000),
    Case("cache reads are a part of input", Usage(100, 0, cached=60), 40 * 2000 + 60 * 200),
    Case("cache writes replace the input rate", Usage(100, 0, written=50), 50 * 2000 + 50 * 2500),
    Case("twelve-hour writes", Usage(10, 0, written=10, written_12h=4), 6 * 2500 + 4 * 5000),
    Case("reasoning is a part of output", Usage(0, 10, reasoning=8), 100_000),
    Case("reasoning above output is billed", Usage(0, 10, reasoning=20), 200_000),
    Case("auto is the standard tier", Usage(1, 0, tier="auto"), 2000),
    Case("standard is the standard tier", Usage(1, 0, tier="standard"), 2000),
    Case("fast is priority", Usage(1, 0, tier="fast"), 4000),
    Case("batch", Usage(1, 1, tier="batch"), 6000),
    Case("an unknown tier is the dearest one", Usage(1, 0, tier="warp"), 4000),
    Case("exactly the threshold", Usage(272_000, 0), 272_000 * 2000),
    Case("past it, the whole request", Usage(272_001, 1), 272_001 * 4000 + 15_000),
    Case("past it, a discount unheard of is none", Usage(272_001, 0, tier="flex"), 272_001 * 4000),
    Case("past it, the dearest tier", Usage(272_001, 0, tier="warp"), 272_001 * 8000),
    Case("a discount that contradicts itself is none", Usage(10, 0, cached=11), 20_000),
    Case("more writes than input", Usage(10, 0, written=50, cached=5), 25_000),
    Case("negative counts cost nothing", Usage(-5, -5, -5, -5, -5), 0),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_cost(case):
    """A usage costs what the price list says, to the nano-dollar."""
    assert cost(SOL, case.usage) == case.nano


def test_fractions_of_a_nano_dollar_round_up_once():
    """Money that we owe is never rounded away, and never rounded twice."""
    price = flat_price(2_500_000, 2_500_000)

    assert cost(price, Usage(1, 0)) == 3
    assert cost(price, Usage(1, 1)) == 5


counts = st.integers(0, 2_000_000)
rates = st.builds(Rates, *[st.integers(0, 10**12)] * 5)


@st.composite
def usages(draw):
    whole = draw(counts)
    written = draw(st.integers(0, whole))
    output = draw(counts)
    return Usage(
        input=whole,
        output=output,
        cached=draw(st.integers(0, whole - written)),
        written=written,
        reasoning=draw(st.integers(0, output)),
        tier=draw(st.sampled_from(["default", "auto", "batch", "flex", "priority"])),
        written_12h=draw(st.integers(0, written)),
    )


@given(usages(), rates, rates, rates)
def test_cost_is_the_exact_sum_rounded_up(usage, base, batch, long):
    """No rate and no count ever costs a nano-dollar more or less than exact arithmetic says."""
    tiers = {"default": base, "batch": batch, "flex": batch, "priority": base}
    price = Price(tiers, dict.fromkeys(tiers, long))
    rate = long if usage.input > 272_000 else batch if usage.tier in {"batch", "flex"} else base
    plain = usage.input - usage.cached - usage.written

    exact = (
        Fraction(plain * rate.input, 10**6)
        + Fraction(usage.cached * rate.cached, 10**6)
        + Fraction((usage.written - usage.written_12h) * rate.written, 10**6)
        + Fraction(usage.written_12h * rate.written_12h, 10**6)
        + Fraction(usage.output * rate.output, 10**6)
    )

    assert cost(price, usage) == ceil(exact)
    assert anomalies(usage, price) == ()


@given(st.builds(Usage, *[st.integers(-(10**12), 10**12)] * 5, tier=st.text(max_size=9)))
def test_nonsense_never_raises_nor_refunds(usage):
    """Whatever an upstream reports, a cost comes out, and it is not negative."""
    assert cost(SOL, usage) >= 0
    anomalies(usage, SOL)


near = st.sampled_from([-1, 0, 1, 60, 100, 272_000, 272_001, PLAUSIBLE, PLAUSIBLE + 1])
tiers = st.sampled_from(["default", "auto", "batch", "fast", "warp", "second", "image"])
PRICES = (
    SOL,
    Price(SOL.tiers, is_bound=True),
    flat_price(0, 0),
    flat_price(0, 0, measures={"second": 7}),
    flat_price(3, 5, measures={"second": 7}),
    Price({**flat_price(0, 0, measures={"second": 7}).tiers, "batch": SOL.tiers["batch"]}),
)


@given(
    st.builds(Usage, near, near, near, near, near, tiers, near) | usages(), st.sampled_from(PRICES)
)
def test_one_look_finds_what_three_find(usage, price):
    """A cost and its oddities are the same whether they are asked for together or one by one."""
    spent = cost(price, usage) if covers(price, usage) else None
    assert assess(price, usage) == (spent, anomalies(usage, price))


@given(usages())
def test_discounts_never_make_a_contradiction_cheaper(usage):
    """More cached tokens than there are tokens earns no discount at all."""
    broken = msgspec.structs.replace(usage, cached=usage.input + 1, written=0, written_12h=0)

    assert cost(SOL, broken) == cost(SOL, msgspec.structs.replace(broken, cached=0))
    assert "cached_exceeds_input" in anomalies(broken)


def test_equal_prices_have_equal_versions_and_survive_storage():
    """A version names the numbers themselves, so a stored price cannot be swapped unnoticed."""
    same = Price({tier: SOL.tiers[tier] for tier in sorted(SOL.tiers)}, dict(SOL.long))
    stored = msgspec.json.encode(SOL)

    assert SOL.version == same.version
    assert msgspec.json.decode(stored, type=Price).version == SOL.version
    changed = stored.replace(b"2000000000", b"2000000001", 1)
    assert msgspec.json.decode(changed, type=Price).version != SOL.version


def chat(**fields: object) -> dict[str, object]:
    return {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, **fields}


@dataclass(frozen=True)
class Report:
    id: str
    reported: object
    usage: Usage
    flags: tuple[str, ...] = ()
    tier: object = None


REPORTS = [
    Report("chat", chat(), Usage(10, 5)),
    Report(
        "chat with details",
        chat(
            prompt_tokens_details={"cached_tokens": 4, "cache_write_tokens": 2, "audio_tokens": 0},
            completion_tokens_details={"reasoning_tokens": 3},
        ),
        Usage(10, 5, 4, 2, 3, "priority"),
        tier="fast",
    ),
    Report(
        "responses",
        {
            "input_tokens": 9,
            "input_tokens_details": {
                "cached_tokens": 1,
                "cache_write_tokens": 5,
                "cache_write_tokens_details": {"ttl_30m_tokens": 2, "ttl_12h_tokens": 3},
            },
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 6},
            "total_tokens": 16,
        },
        Usage(9, 7, 1, 5, 6, "default", 3),
        tier="auto",
    ),
    Report("embeddings", {"prompt_tokens": 8, "total_tokens": 8}, Usage(8)),
    Report("explicit zero", chat(prompt_tokens=0, completion_tokens=0, total_tokens=0), Usage()),
    Report("null details", chat(prompt_tokens_details=None), Usage(10, 5)),
    Report("text", chat(prompt_tokens="10"), Usage(10, 5), ("input_not_integer",)),
    Report("whole float", chat(completion_tokens=5.0), Usage(10, 5), ("output_not_integer",)),
    Report(
        "part of a token",
        chat(completion_tokens=4.2, total_tokens=15),
        Usage(10, 5),
        ("output_not_integer",),
    ),
    Report(
        "bool",
        chat(completion_tokens=True, total_tokens=None),
        Usage(10, 1),
        ("output_not_integer",),
    ),
    Report(
        "negative",
        chat(prompt_tokens=-10, total_tokens=None),
        Usage(0, 5),
        ("input_implausible",),
    ),
    Report(
        "huge",
        chat(completion_tokens=10**12, total_tokens=None),
        Usage(10, 0),
        ("output_implausible",),
    ),
    Report(
        "beyond any number",
        chat(completion_tokens=float("inf"), total_tokens=None),
        Usage(10, 0),
        ("output_not_integer", "output_implausible"),
    ),
    Report(
        "a list",
        chat(prompt_tokens=[1], total_tokens=None),
        Usage(0, 5),
        ("input_not_integer", "input_implausible"),
    ),
    Report(
        "reasoning left out of the output",
        chat(completion_tokens_details={"reasoning_tokens": 20}, total_tokens=35),
        Usage(10, 25, reasoning=20),
        ("total_exceeds_parts",),
    ),
    Report("a total that is too small", chat(total_tokens=1), Usage(10, 5)),
    Report(
        "cached above input",
        chat(prompt_tokens_details={"cached_tokens": 11}),
        Usage(10, 5, 11),
        ("cached_exceeds_input",),
    ),
    Report(
        "details that are none",
        chat(prompt_tokens_details=[3]),
        Usage(10, 5),
        ("prompt_tokens_details_malformed",),
    ),
    Report("a tier that is none", chat(), Usage(10, 5, tier="unknown"), ("tier_malformed",), 7),
]


@pytest.mark.parametrize("case", REPORTS, ids=lambda case: case.id)
def test_usage_is_read_as_reported_and_oddities_are_named(case):
    """Every count is taken as the provider meant it, or named as odd."""
    assert parse_usage(case.reported, case.tier) == (case.usage, case.flags)


@pytest.mark.parametrize(
    "reported", [None, {}, [], 3, "x", b"", b"{", b"[]", b"\xff", b"[" * 10_000, {"usage": {}}]
)
def test_missing_usage_is_not_zero(reported):
    """Where a provider says nothing, nothing is made up."""
    assert parse_usage(reported) is None


def test_usage_is_read_from_json_as_well():
    """The raw bytes of a usage object serve as well as the parsed object."""
    assert parse_usage(msgspec.json.encode(chat())) == (Usage(10, 5), ())


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {"prompt_tokens": anything},
        optional={
            "completion_tokens": anything,
            "total_tokens": anything,
            "prompt_tokens_details": anything
            | st.fixed_dictionaries(
                {"cached_tokens": anything, "cache_write_tokens_details": anything}
            ),
            "completion_tokens_details": anything,
        },
    ),
    anything,
)
def test_no_report_breaks_the_reader(reported, tier):
    """Whatever stands in a usage object, reading it ends in counts that can be priced."""
    read = parse_usage(reported, tier)

    assert read is not None
    usage, _ = read
    assert min(usage.input, usage.output, usage.cached, usage.written, usage.reasoning) >= 0
    assert max(usage.input, usage.cached, usage.written) <= PLAUSIBLE
    assert cost(SOL, usage) >= 0


def test_an_odd_report_never_undercuts_our_own_count():
    """When a report is odd, the larger of both counts is settled, without discounts."""
    reported = Usage(0, 50, cached=30, tier="flex")

    assert dearer(reported, Usage(100, 20)) == Usage(100, 50, tier="flex")


counts = st.integers(0, 40)
details = st.none() | st.dictionaries(
    st.sampled_from(["cached_tokens", "cache_write_tokens", "reasoning_tokens", "text_tokens"]),
    counts,
)


@given(
    st.fixed_dictionaries(
        {"prompt_tokens": counts, "completion_tokens": counts, "total_tokens": counts},
        optional={"prompt_tokens_details": details, "completion_tokens_details": details},
    ),
    st.sampled_from([None, "default", "flex"]),
)
def test_the_quick_reading_is_the_careful_one(reported, tier):
    """Bytes that are read in a hurry give what the parsed object gives."""
    assert parse_usage(msgspec.json.encode(reported), tier) == parse_usage(reported, tier)


@given(
    st.fixed_dictionaries(
        {"prompt_tokens": counts, "completion_tokens": counts, "total_tokens": counts},
        optional={"prompt_tokens_details": details, "completion_tokens_details": details},
    ),
    st.sampled_from([None, "default", "flex", 7]),
    st.fixed_dictionaries(
        {},
        optional={
            "error": st.sampled_from([None, {}, {"code": "x"}]),
            "status": st.sampled_from([None, "completed", "failed"]),
            "incomplete_details": st.sampled_from([None, {"reason": "content_filter"}]),
            "choices": st.lists(
                st.fixed_dictionaries(
                    {"finish_reason": st.sampled_from([None, "stop", "content_filter"])}
                ),
                max_size=2,
            ),
        },
    ),
)
def test_a_whole_answer_is_read_in_a_hurry_only_where_nothing_is_odd(reported, tier, rest):
    """What the quick reading says is what the careful one says; it is silent about all else."""
    answer = {"usage": reported, "service_tier": tier, **rest}
    quick = plain_usage(msgspec.json.encode(answer))
    is_filtered = {"finish_reason": "content_filter"} in rest.get("choices", [])
    is_plain = tier in {None, "default"} and not is_filtered
    is_plain = is_plain and not any(rest.get(name) for name in ("status", "incomplete_details"))
    is_plain = is_plain and rest.get("error") is None
    careful = parse_usage(reported, tier)
    assert careful is not None
    assert quick == (careful[0] if is_plain and not careful[1] else None)
