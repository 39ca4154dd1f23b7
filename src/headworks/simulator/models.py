"""What is served, how much fits, and what it costs: the configuration, else the catalogue."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import final

from headworks.core.measures import MEASURES, USUAL
from headworks.core.tokens import is_reasoning
from headworks.ports import Clock
from headworks.simulator.config import SimulatedPrice, SimulatorConfig

_MILLION = 10**6


@dataclass(frozen=True, slots=True)
class Window:
    """What a model takes at most: prompt, answer, and both together; None is no limit."""

    context: int | None = None
    output: int | None = None
    total: int | None = None


NO_WINDOW = Window()


@final
class Models:
    """Every model of one simulator. Prices in the configuration leave the catalogue unread."""

    def __init__(self, config: SimulatorConfig, clock: Clock) -> None:
        self._config, self._clock = config, clock

    def names(self) -> list[str]:
        """Return the names of all models, sorted."""
        listed = {name.partition("@")[0] for name in self._config.prices or {}}
        if self._config.prices is None:
            listed.update(name for name in catalogue_names() if self.price(name) is not None)
        return sorted(listed | set(self._config.models))

    def is_served(self, name: str) -> bool:
        """Return whether requests for this model are answered."""
        return name in self._config.models or self.price(name) is not None

    def window(self, name: str) -> Window:
        """Return what fits."""
        special = self._config.models.get(name)
        known = catalogue_window(name) if self._config.prices is None else NO_WINDOW
        return Window(
            special.context if special and special.context else known.context,
            special.output if special and special.output else known.output,
            None if special and special.context else known.total,
        )

    def price(self, name: str, tier: str = "default", tokens: int = 0) -> SimulatedPrice | None:
        """Return the price of a request of so many input tokens, None where there is none."""
        if self._config.prices is None:
            day = int(self._clock.time()) // 86_400
            return catalogue_price(name, tier, tokens, day)
        return self._config.prices.get(name if tier == "default" else f"{name}@{tier}")

    def tier(self, name: str, asked: str) -> str:
        """Return the service tier that answers: the one asked for, if the model has it."""
        return asked if self.price(name, asked) is not None else "default"


def catalogue_names() -> tuple[str, ...]:
    """Return the name of every model that the catalogue lists."""
    from headworks.catalog import load

    return load().ids()


@lru_cache(maxsize=4096)
def catalogue_window(name: str) -> Window:
    """Return what the catalogue says that fits."""
    from headworks.catalog import load

    model = load().model(name)
    if model is None:
        return NO_WINDOW
    return Window(model.input, model.output, None if is_reasoning(name) else model.input)


def catalogue_price(name: str, tier: str, tokens: int, day: int) -> SimulatedPrice | None:
    """Return the catalogue's price on a day (counted from 1970)."""
    long, short, above = _catalogue_tiers(name, day)
    return (long if long and tokens > above else short).get(tier)


_Tiers = dict[str, SimulatedPrice]


@lru_cache(maxsize=4096)
def _catalogue_tiers(name: str, day: int) -> tuple[_Tiers, _Tiers, int]:
    from headworks.catalog import load

    price = load().price(name, datetime.fromtimestamp(day * 86_400, UTC).date())
    if price is None or USUAL not in price.measures:
        return {}, {}, 0
    short, long = (
        {
            tier: SimulatedPrice(*(_per_token(n) for n in (r.input, r.output, r.cached)))
            for tier, r in table.items()
            if tier not in MEASURES
        }
        for table in (price.tiers, price.long)
    )
    return long, short, price.above


def _per_token(per_million: int) -> Decimal:
    return Decimal(per_million) / _MILLION
