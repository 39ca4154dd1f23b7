"""The prices in force: the catalogue's, with the operator's own laid over them."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import cast

from headworks.catalog import Catalogue, load, spellings
from headworks.catalog.rows import PriceRow, complete
from headworks.core.pricing import Price
from headworks.errors import ConfigurationError
from headworks.ports import Clock

__all__ = ["Prices", "parse_overlay"]

_DAY = 86_400
_MOST = 10_000
_RATES = frozenset({"input", "output", "cached", "written", "written_12h"})
_TIERS = ("batch", "flex", "priority", "ultrafast")
_LONG = 272_000


class Prices:
    """Finds the price of a model today.

    `overlay` is what the configuration says, by model; it wins over the catalogue.
    """

    def __init__(
        self,
        clock: Clock,
        overlay: Mapping[str, Price] | None = None,
        catalogue: Catalogue | None = None,
    ) -> None:
        self._clock = clock
        self._overlay = dict(overlay or {})
        self._catalogue = catalogue
        self._day = -1
        self._known: dict[str, Price | None] = {}

    def price(self, model: str) -> Price | None:
        """Return today's price, None when it is unknown: that is never free of charge."""
        now = self._clock.time()
        day = int(now // _DAY)
        if day != self._day or len(self._known) > _MOST:
            self._known.clear()
            self._day = day
        if model not in self._known:
            self._known[model] = self._find(model, now)
        return self._known[model]

    def _find(self, model: str, now: float) -> Price | None:
        catalogue = self._catalogue or load()
        for name in spellings(model):
            if name in self._overlay:
                return self._overlay[name]
            if name in catalogue:
                return catalogue.price(name, datetime.fromtimestamp(now, UTC).date())
        return None


def parse_overlay(section: Mapping[str, object], where: str = "prices") -> dict[str, Price]:
    """Return the prices that a configuration names, by model, in USD per million tokens.

    Each model takes `input` and `output`, and may add `cached`, `written`, `written_12h`, the same
    under `batch`, `flex`, `priority` or `ultrafast`, and under `long` for requests of more than
    `above` (272000) input tokens. Numbers may be text, and are exact either way.

    Raises:
        ConfigurationError: With every problem, one a line.
    """
    found: dict[str, Price] = {}
    problems: list[str] = []
    for model, entry in section.items():
        try:
            price = complete(_rows(entry))
        except ValueError as error:
            problems.append(f"{where}.{model}: {error}")
            continue
        if price is not None:
            found[model] = price
    if problems:
        raise ConfigurationError(problems)
    return found


def _rows(entry: object) -> Iterable[PriceRow]:
    fields = _mapping(entry, "a model's price")
    unknown = fields.keys() - _RATES - {*_TIERS, "long", "above"}
    if unknown:
        raise ValueError(f"{min(unknown)!r} is not a part of a price")
    above = fields.get("above", _LONG)
    if type(above) is not int or above < 1:
        raise ValueError(f"above: {above!r} is not a number of tokens")
    yield _row({k: v for k, v in fields.items() if k in _RATES}, "default", 0)
    for tier in _TIERS:
        if tier in fields:
            yield _row(_mapping(fields[tier], tier), tier, 0)
    if "long" in fields:
        yield _row(_mapping(fields["long"], "long"), "default", above)


def _row(rates: Mapping[str, object], tier: str, above: int) -> PriceRow:
    unknown = rates.keys() - _RATES
    if unknown:
        raise ValueError(f"{min(unknown)!r} is not a rate")
    return PriceRow(tier, above, **{name: _text(name, value) for name, value in rates.items()})


def _text(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError(f"{name}: {value!r} is not a price in USD")  # noqa: TRY004 - one kind
    return str(value)


def _mapping(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} is a mapping of rates, not {value!r}")  # noqa: TRY004 - one kind
    return cast("Mapping[str, object]", value)
