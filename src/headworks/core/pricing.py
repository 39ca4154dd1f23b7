"""What tokens cost, exactly: whole numbers in, whole nano-dollars out.

Rates are whole nano-dollars per million tokens, so that $0.0025 per million is exact. A cost is
one sum of products, divided once; the division rounds up, because this is money that we owe.

    (input - cached - written) * input + cached * cached + written * written + output * output

with the rates of the tier that the answer names, and with those of long requests for the whole
request when its input exceeds `Price.above` tokens. Where a count contradicts another one, or a
tier has no known price, the dearer reading counts: `anomalies` says so.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field
from typing import Annotated, Literal, cast

import msgspec

from headworks.core.measures import MEASURES, USUAL
from headworks.errors import CallerError
from headworks.types import Usage

MILLION = 1_000_000
PLAUSIBLE = 10**9
"""More tokens than any request has: a count above it is a fault, not a count."""

NAMES = {
    "": "default",
    "auto": "default",
    "standard": "default",
    "fast": "priority",
    "batches": "batch",
}
"""What providers call a tier, where it is not the name that prices use."""

_DISCOUNTS = frozenset({"flex", "batch"})
_LONGEST = 40
_PLAIN_TIERS = (None, "default")
_COUNTS = ("input", "output", "cached", "written", "written_12h", "reasoning")


class ModelUnpriced(CallerError):
    """The price of the model is not known, and the key may not use such models."""

    status, code = 403, "model_unpriced"


@dataclass(frozen=True, slots=True)
class Rates:
    """Nano-dollars per million tokens: read, answered, read from and written to the cache.

    `written_12h` is for entries that are kept for twelve hours instead of thirty minutes.
    """

    input: int
    output: int
    cached: int
    written: int
    written_12h: int


@dataclass(frozen=True, slots=True)
class Price:
    """What one model costs at one time.

    Attributes:
        tiers: Rates by service tier; "default" is always among them.
        long: Rates by service tier for requests of more than `above` input tokens.
        is_bound: Whether text, audio and images have rates of their own, and these the dearest.
        version: Names these numbers: equal prices have equal versions.
        measures: What it bills by: see `core.measures`; "token" unless that is only something else.
    """

    tiers: Mapping[str, Rates]
    long: Mapping[str, Rates] = field(default_factory=dict[str, Rates])
    above: int = 272_000
    is_bound: bool = False
    version: str = field(init=False, compare=False)
    measures: frozenset[str] = field(default=frozenset(), init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        tables = [sorted((k, astuple(v)) for k, v in t.items()) for t in (self.tiers, self.long)]
        numbers = repr((tables, self.above, self.is_bound)).encode()
        object.__setattr__(self, "version", hashlib.sha256(numbers).hexdigest()[:12])
        others, standard = MEASURES.intersection(self.tiers), self.tiers["default"]
        is_usual = standard.input or standard.output or not others
        object.__setattr__(self, "measures", others | {USUAL} if is_usual else others)


def flat_price(
    whole: int,
    output: int,
    cached: int | None = None,
    measures: Mapping[str, int] | None = None,
) -> Price:
    """Return a price without tiers, from nano-dollars per million tokens; `cached` as `whole`.

    `measures` are nano-dollars per million of something else than tokens.
    """
    rates = {name: Rates(rate, rate, rate, rate, rate) for name, rate in (measures or {}).items()}
    cached = whole if cached is None else cached
    return Price({"default": Rates(whole, output, cached, whole, whole), **rates})


def covers(price: Price, usage: Usage) -> bool:
    """Return whether a price says what such a usage costs: seconds are not tokens."""
    if usage.tier in MEASURES:
        return usage.tier in price.tiers
    return USUAL in price.measures or not (usage.input or usage.output)


def assess(price: Price, usage: Usage) -> tuple[int | None, tuple[str, ...]]:
    """Return the `cost`, None where nothing `covers` the usage, and `anomalies`: all in one look."""
    tiers, whole, output = price.tiers, usage.input, usage.output
    rates, standard = tiers.get(usage.tier), tiers["default"]
    if (
        rates is None
        or not (standard.input or standard.output)
        or usage.written
        or usage.written_12h
        or (price.long and whole > price.above)
        or price.is_bound
        or not (0 <= usage.cached <= whole <= PLAUSIBLE)
        or not (0 <= usage.reasoning <= output <= PLAUSIBLE)
    ):
        return (cost(price, usage) if covers(price, usage) else None), anomalies(usage, price)
    cached = usage.cached
    total = (whole - cached) * rates.input + cached * rates.cached + output * rates.output
    return -(-total // MILLION), ()


def cost(price: Price, usage: Usage) -> int:
    """Return the nano-dollars that the usage costs, rounded up; never negative."""
    tier = NAMES.get(usage.tier, usage.tier)
    table = price.long if price.long and usage.input > price.above else price.tiers
    rates = table.get(tier)
    if rates is None and tier in _DISCOUNTS:
        rates = table.get("default")
    if rates is None:
        return max(_cost(known, usage) for known in (*table.values(), price.tiers["default"]))
    return _cost(rates, usage)


def _cost(rates: Rates, usage: Usage) -> int:
    whole = max(usage.input, 0)
    written = min(max(usage.written, 0), whole)
    long = min(max(usage.written_12h, 0), written)
    cached = max(usage.cached, 0)
    if cached + written > whole:  # a discount that contradicts itself is none
        cached = 0
    total = (
        (whole - cached - written) * rates.input
        + cached * rates.cached
        + (written - long) * rates.written
        + long * rates.written_12h
        + max(usage.output, usage.reasoning, 0) * rates.output
    )
    return -(-total // MILLION)


def anomalies(usage: Usage, price: Price | None = None) -> tuple[str, ...]:
    """Return what is odd about a usage, or about applying the price to it, one word each."""
    is_plain = (
        0 <= usage.reasoning <= usage.output <= PLAUSIBLE
        and 0 <= usage.written_12h <= usage.written
        and 0 <= usage.cached <= usage.input - usage.written <= PLAUSIBLE
        and usage.input <= PLAUSIBLE
        and (price is None or (usage.tier in price.tiers and not price.is_bound))
    )
    return () if is_plain else tuple(_oddities(usage, price))


def _oddities(usage: Usage, price: Price | None) -> Iterator[str]:
    for name in _COUNTS:
        if not 0 <= getattr(usage, name) <= PLAUSIBLE:
            yield f"{name}_implausible"
    if usage.cached + usage.written > usage.input:
        yield "cached_exceeds_input"
    if usage.written_12h > usage.written:
        yield "written_12h_exceeds_written"
    if usage.reasoning > usage.output:
        yield "reasoning_exceeds_output"
    if price is not None and NAMES.get(usage.tier, usage.tier) not in price.tiers:
        yield "tier_without_price"
    if price is not None and price.is_bound:
        yield "dearest_modality"


def dearer(usage: Usage, other: Usage) -> Usage:
    """Return the larger of each count without the discounts: for a report that has anomalies."""
    return Usage(
        input=max(usage.input, other.input),
        output=max(usage.output, other.output),
        written=max(usage.written, other.written),
        reasoning=max(usage.reasoning, other.reasoning),
        tier=usage.tier,
        written_12h=max(usage.written_12h, other.written_12h),
    )


def parse_usage(reported: object, tier: object = "default") -> tuple[Usage, tuple[str, ...]] | None:
    """Return a provider's usage object as usage, and what was odd about it; None when there is none.

    `reported` is the object itself or its JSON, in the words of chat completions, completions and
    embeddings or in those of responses; `tier` is the answer's `service_tier`. Never raises. An
    explicit zero stays zero. A count that is negative, above 10^9 or no number at all counts as 0
    and is an anomaly: settle such a report by the `dearer` of it and of a count of our own.
    """
    if isinstance(reported, bytes | bytearray):
        if (plain := _plain(reported, tier)) is not None:
            return plain, ()
        reported = _decoded(reported)
    if not isinstance(reported, Mapping):
        return None
    usage = cast("Mapping[object, object]", reported)
    if usage.get("type") == "duration":
        return _lasted(usage)
    words = _CHAT if "prompt_tokens" in usage or "completion_tokens" in usage else _RESPONSES
    if words.input not in usage and words.output not in usage:
        return None
    flags: list[str] = []
    read = _Reading(usage, flags)
    cached_in = read.part(words.input_details)
    kept = cached_in.part("cache_write_tokens_details")
    counts = Usage(
        input=read.count(words.input, "input"),
        output=read.count(words.output, "output"),
        cached=cached_in.count("cached_tokens", "cached"),
        written=cached_in.count("cache_write_tokens", "written"),
        reasoning=read.part(words.output_details).count("reasoning_tokens", "reasoning"),
        tier=_tier(tier, flags),
        written_12h=kept.count("ttl_12h_tokens", "written_12h"),
    )
    hidden = read.count("total_tokens", "total") - counts.input - counts.output
    if hidden > 0:  # some providers leave reasoning out of the output, and bill it
        flags.append("total_exceeds_parts")
        counts = msgspec.structs.replace(counts, output=counts.output + hidden)
    return counts, (*flags, *anomalies(counts))


def _lasted(usage: Mapping[object, object]) -> tuple[Usage, tuple[str, ...]] | None:
    """Return a report of seconds, rounded up."""
    flags: list[str] = []
    value = usage.get("seconds")
    seconds = math.ceil(value) if isinstance(value, float) and math.isfinite(value) else value
    read = _Reading({"seconds": seconds}, flags)
    if seconds is None:
        return None
    return Usage(read.count("seconds", "seconds"), tier="second"), tuple(flags)


_Count = Annotated[int, msgspec.Meta(ge=0, le=PLAUSIBLE)]


class _Read(msgspec.Struct):
    cached_tokens: _Count = 0
    cache_write_tokens: _Count = 0
    cache_write_tokens_details: dict[str, object] | None = None


class _Written(msgspec.Struct):
    reasoning_tokens: _Count = 0


class _Plain(msgspec.Struct):
    prompt_tokens: _Count
    total_tokens: _Count
    completion_tokens: _Count = 0
    prompt_tokens_details: _Read | None = None
    completion_tokens_details: _Written | None = None


class _PlainChoice(msgspec.Struct):
    finish_reason: Literal["stop", "length", "tool_calls", "function_call"] | None = None


class _PlainAnswer(msgspec.Struct):
    usage: _Plain
    choices: list[_PlainChoice] = []
    service_tier: Literal["default"] | None = None
    error: None = None
    status: None = None
    incomplete_details: None = None


_decode_plain = msgspec.json.Decoder(_Plain).decode
_decode_answer = msgspec.json.Decoder(_PlainAnswer).decode
_NOTHING_READ, _NOTHING_WRITTEN = _Read(), _Written()


def plain_usage(answer: bytes) -> Usage | None:
    """Return the usage of a whole chat answer in which nothing is odd, None for any other.

    One that tells of an error, of a status or of a content filter is another one.
    """
    try:
        return _sound(_decode_answer(answer).usage)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _plain(content: bytes | bytearray, tier: object) -> Usage | None:
    """Return the usage of a chat report in which nothing is odd, at a tenth of the usual cost."""
    if tier not in _PLAIN_TIERS:
        return None
    try:
        return _sound(_decode_plain(content))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _sound(report: _Plain) -> Usage | None:
    """Return what a report says, None where it contradicts itself."""
    whole, output = report.prompt_tokens, report.completion_tokens
    read = report.prompt_tokens_details or _NOTHING_READ
    written = report.completion_tokens_details or _NOTHING_WRITTEN
    is_plain = (
        read.cache_write_tokens_details is None
        and read.cached_tokens + read.cache_write_tokens <= whole
        and written.reasoning_tokens <= output
        and report.total_tokens <= whole + output
    )
    counts = read.cached_tokens, read.cache_write_tokens, written.reasoning_tokens
    return Usage(whole, output, *counts) if is_plain else None


@dataclass(frozen=True, slots=True)
class _Words:
    input: str
    output: str
    input_details: str
    output_details: str


_CHAT = _Words(
    "prompt_tokens", "completion_tokens", "prompt_tokens_details", "completion_tokens_details"
)
_RESPONSES = _Words(
    "input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details"
)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One object of a report; what is odd in it goes to `flags`."""

    fields: Mapping[object, object]
    flags: list[str]

    def part(self, name: str) -> "_Reading":
        value = self.fields.get(name)
        if isinstance(value, Mapping):
            return _Reading(cast("Mapping[object, object]", value), self.flags)
        if value is not None:
            self.flags.append(f"{name}_malformed")
        return _Reading({}, self.flags)

    def count(self, name: str, meaning: str) -> int:
        value = self.fields.get(name)
        if value is None:
            return 0
        if type(value) is not int:
            self.flags.append(f"{meaning}_not_integer")
            value = _whole(value)
        if not 0 <= value <= PLAUSIBLE:
            self.flags.append(f"{meaning}_implausible")
            return 0
        return value


def _whole(value: object) -> int:
    """Return the number that was meant, rounded up, or -1."""
    if isinstance(value, str) and len(value) <= _LONGEST and value.strip().isdecimal():
        return int(value)
    if isinstance(value, bool | float) and math.isfinite(value):
        return math.ceil(value)
    return -1


def _tier(tier: object, flags: list[str]) -> str:
    if tier is None:
        return "default"
    if isinstance(tier, str) and len(tier) <= _LONGEST:
        return NAMES.get(tier, tier)
    flags.append("tier_malformed")
    return "unknown"


def _decoded(content: bytes | bytearray) -> object:
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return None
