"""What the catalogue's file holds, and how its prices become complete ones.

Lists name a rate only where a provider prints one. `complete` fills the gaps so that what is not
printed never comes out cheaper than what is: no rate for cache reads means the input rate, no
rate for a tier's cache writes means the standard tier's.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation

import msgspec

from headworks.core.measures import MEASURES
from headworks.core.pricing import Price, Rates
from headworks.types import Need

_NANO = 10**9
_NOTHING = Rates(0, 0, 0, 0, 0)
_MOST = Decimal(10) ** 9
_WORDS: Mapping[str, Need] = {
    "function_calling": "tools",
    "tool_choice": "tools",
    "vision": "vision",
    "audio_input": "audio",
    "pdf_input": "files",
    "response_schema": "json_schema",
}
"""The list's words for what requests need; of the rest it says nothing."""


class PriceRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """Rates of one tier and length in USD per million tokens, as decimal text.

    Those of seconds and characters are per million of these (see `core.measures`), and stand with
    the standard tier. A model that has them alone is billed by nothing else.

    Attributes:
        above: The rates hold for requests of more input tokens than this.
        since: First day on which they hold; "" is since ever.
    """

    tier: str = "default"
    above: int = 0
    since: str = msgspec.field(default="", name="from")
    input: str | None = None
    output: str | None = None
    cached: str | None = None
    written: str | None = None
    written_12h: str | None = None
    second: str | None = None
    character: str | None = None


class Model(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model: what it can do, what it costs and when it ends.

    Attributes:
        input: Most tokens that a request may hold; `output` likewise for the answer.
        bound: Whether the prices are the dearest of several modalities'.
        shutdown: The earliest day that any source announced, as YYYY-MM-DD.
        announced: What each source says about it.
    """

    id: str
    mode: str = "chat"
    input: int | None = None
    output: int | None = None
    prices: tuple[PriceRow, ...] = ()
    bound: bool = False
    can: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    shutdown: str | None = None
    announced: dict[str, str] = {}

    @property
    def takes(self) -> frozenset[Need]:
        """What requests may need of it, as far as the list knows; none where it says nothing."""
        return frozenset(_WORDS[word] for word in self.can if word in _WORDS)

    @property
    def lacks(self) -> frozenset[Need]:
        """What it is known not to do. A list that says nothing of a model denies nothing."""
        takes = self.takes
        return frozenset(_WORDS.values()) - takes if takes else takes


class Source(msgspec.Struct, frozen=True):
    """Where the catalogue comes from."""

    prices: str
    shutdowns: str
    license: str
    copyright: str
    sha256: str
    generated: str
    unit: str


class CatalogueFile(msgspec.Struct, frozen=True):
    """The whole of models.json."""

    source: Source
    models: tuple[Model, ...]


def nano(usd: str) -> int:
    """Return exact nano-dollars.

    Raises:
        ValueError: `usd` is no decimal number, negative, finer than a nano-dollar or absurd.
    """
    try:
        amount = Decimal(usd)
        whole = int(amount * _NANO) if 0 <= amount <= _MOST else -1
    except (InvalidOperation, ValueError):
        raise ValueError(f"{usd!r} is not a price in USD") from None
    if whole < 0:
        raise ValueError(f"{usd!r} is not a price between 0 and {_MOST:,} USD")
    if Decimal(whole) != amount * _NANO:
        raise ValueError(f"{usd!r} has more than nine decimals")
    return whole


def effective(rows: Iterable[PriceRow], day: str) -> tuple[PriceRow, ...]:
    """Return the rows that hold on a day (YYYY-MM-DD); before all of them, the first ones."""
    rows = tuple(rows)
    dates = sorted({row.since for row in rows})
    held = [since for since in dates if since <= day] or dates[:1]
    return tuple(row for row in rows if row.since == held[-1]) if held else ()


def complete(rows: Iterable[PriceRow], *, is_bound: bool = False) -> Price | None:
    """Return the price that the rows of one date make, None when there is no standard rate.

    Raises:
        ValueError: A rate is not a number, or the standard tier lacks input or output.
    """
    found = {(row.tier, bool(row.above)): row for row in rows}
    plain = found.pop(("default", False), None)
    if plain is None:
        return None
    measures = _measures(plain)
    standard = _rates(plain, _NOTHING if measures and plain.input is None else None)
    tiers = {"default": standard, **measures}
    tiers |= {tier: _rates(row, standard) for (tier, long), row in found.items() if not long}
    above = max((row.above for row in found.values()), default=0)
    first = found.pop(("default", True), None)
    if first is None:
        return Price(tiers, is_bound=is_bound)
    return Price(tiers, _long(first, tiers, found), above, is_bound=is_bound)


def _long(
    first: PriceRow, tiers: Mapping[str, Rates], found: Mapping[tuple[str, bool], PriceRow]
) -> dict[str, Rates]:
    standard = _rates(first, tiers["default"])
    table = {"default": standard}
    for tier, short in tiers.items():
        if tier in MEASURES:
            continue
        row = found.get((tier, True))
        if row is not None:
            table[tier] = _rates(row, standard)
        elif tier != "default":
            table[tier] = _dearest(short, standard)
    return table


def _measures(row: PriceRow) -> dict[str, Rates]:
    told = {"second": row.second, "character": row.character}
    rates = {name: nano(usd) for name, usd in told.items() if usd is not None}
    return {name: Rates(rate, rate, rate, rate, rate) for name, rate in rates.items()}


def _dearest(one: Rates, other: Rates) -> Rates:
    return Rates(
        input=max(one.input, other.input),
        output=max(one.output, other.output),
        cached=max(one.cached, other.cached),
        written=max(one.written, other.written),
        written_12h=max(one.written_12h, other.written_12h),
    )


def _rates(row: PriceRow, standard: Rates | None) -> Rates:
    floor = standard or _NOTHING
    if standard is None and (row.input is None or row.output is None):
        raise ValueError("input and output are both needed; write 0 for what costs nothing")
    whole = nano(row.input) if row.input is not None else floor.input
    written = nano(row.written) if row.written is not None else max(whole, floor.written)
    return Rates(
        input=whole,
        output=nano(row.output) if row.output is not None else floor.output,
        cached=nano(row.cached) if row.cached is not None else whole,
        written=written,
        written_12h=(
            nano(row.written_12h)
            if row.written_12h is not None
            else max(written, floor.written_12h)
        ),
    )
