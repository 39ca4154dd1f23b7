"""What drives a change of cost between two periods, exactly to the nano-dollar.

The cost of a model (at one service tier) is a product of five factors:

    calls * share of the model * tokens per call * price per token * part not saved by the cache

with a price and a count for what is read and for what is answered. Each factor's part in the change
is its Shapley value: what switching it from its old to its new value adds to the cost, averaged over
all orders in which the five can be switched. Hence the parts sum to the change, no order is
preferred, a factor that did not change has no part, and one that changed alone has all of it.

Sources: A. F. Shorrocks, "Decomposition procedures for distributional analysis: a unified framework
based on the Shapley value", Journal of Economic Inequality 11 (2013) 99-126; J. W. Sun, "Changes in
energy consumption and energy intensity: a complete decomposition model", Energy Economics 20 (1998)
85-100. Where a figure has no meaning (the price of a model that was not used then), that of the
other period stands: a model that comes or goes is mix, a first call is volume.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from math import factorial
from typing import Final, NamedTuple, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Spent:
    """What a model used in a period; money in nano-dollars.

    Attributes:
        attempts: Attempts that have ended; not 0 where anything was used.
        saved: What prompt caching saved: it would have cost `cost + saved` without.
        answered: The part of `cost` that went into output.
    """

    attempts: int = 0
    input: int = 0
    output: int = 0
    cost: int = 0
    saved: int = 0
    answered: int = 0


@dataclass(frozen=True, slots=True)
class Drivers:
    """The parts of a change of cost, in nano-dollars; they sum to it.

    Attributes:
        volume: More or fewer calls.
        mix: Other models, or other service tiers of them.
        tokens: More or fewer tokens per call, those of retries among them.
        price: Other prices.
        cache: More or less of the input read from, or written to, the provider's cache.
    """

    volume: int = 0
    mix: int = 0
    tokens: int = 0
    price: int = 0
    cache: int = 0

    @property
    def total(self) -> int:
        """The change."""
        return self.volume + self.mix + self.tokens + self.price + self.cache

    def __add__(self, other: "Drivers") -> "Drivers":
        return Drivers(*(getattr(self, name) + getattr(other, name) for name in FACTORS))


FACTORS: Final = tuple(field.name for field in fields(Drivers))
_COUNT: Final = len(FACTORS)
_WEIGHTS: Final = tuple(
    Fraction(factorial(size) * factorial(_COUNT - size - 1), factorial(_COUNT))
    for size in range(_COUNT)
)
"""How often, of all orders, a factor is switched right after some `size` others."""


class _Tokens(NamedTuple):
    """Tokens per call: attempts per call, and what each of them reads and answers."""

    attempts: Fraction | None
    input: Fraction | None
    output: Fraction | None


class _Price(NamedTuple):
    input: Fraction | None
    output: Fraction | None


class _Factors(NamedTuple):
    """One period; None is what has no meaning in it."""

    volume: Fraction
    mix: Fraction | None
    tokens: _Tokens
    price: _Price
    cache: Fraction | None


def drivers(
    before: Mapping[Key, Spent], after: Mapping[Key, Spent], calls: tuple[int, int]
) -> dict[Key, Drivers]:
    """Return the drivers of each model's change; `calls` are those of each period, of all models."""
    totals = [sum(spent.attempts for spent in period.values()) for period in (before, after)]
    return {
        key: _drivers(
            _factors(before.get(key, Spent()), calls[0], totals[0]),
            _factors(after.get(key, Spent()), calls[1], totals[1]),
        )
        for key in dict.fromkeys((*before, *after))
    }


def _factors(spent: Spent, calls: int, attempts: int) -> _Factors:
    calls = (calls if calls > 0 else attempts) if attempts else 0
    count, saved = spent.attempts, spent.saved
    read = spent.cost + saved - spent.answered
    if not read:  # nothing is saved of nothing
        read, saved = -saved, 0
    # money without tokens is spent per attempt
    tokens_in = spent.input or (count if read else 0)
    tokens_out = spent.output or (count if spent.answered else 0)
    return _Factors(
        Fraction(calls),
        _ratio(count, attempts),
        _Tokens(_ratio(attempts, calls), _ratio(tokens_in, count), _ratio(tokens_out, count)),
        _Price(_ratio(read, tokens_in), _ratio(spent.answered, tokens_out)),
        _ratio(read - saved, read),
    )


def _ratio(part: int, whole: int) -> Fraction | None:
    return Fraction(part, whole) if whole else None


def _drivers(before: _Factors, after: _Factors) -> Drivers:
    periods = _known(before, after), _known(after, before)
    costs = [_cost(periods, chosen) for chosen in range(1 << _COUNT)]
    parts = [
        sum(
            (
                _WEIGHTS[chosen.bit_count()] * (costs[chosen | 1 << factor] - cost)
                for chosen, cost in enumerate(costs)
                if not chosen >> factor & 1
            ),
            Fraction(),
        )
        for factor in range(_COUNT)
    ]
    return Drivers(*_rounded(parts))


_Known = tuple[Fraction, Fraction, tuple[Fraction, ...], tuple[Fraction, ...], Fraction]


def _known(period: _Factors, other: _Factors) -> _Known:
    """Return a period's factors, with the other's where they have no meaning, and 0 in neither."""
    return (
        period.volume,
        _first(period.mix, other.mix),
        tuple(map(_first, period.tokens, other.tokens)),
        tuple(map(_first, period.price, other.price)),
        _first(period.cache, other.cache),
    )


def _first(value: Fraction | None, other: Fraction | None) -> Fraction:
    return value if value is not None else other if other is not None else Fraction()


def _cost(periods: Sequence[_Known], chosen: int) -> Fraction:
    """Return the cost with the new values of the factors whose bits are set, the old of the rest."""
    volume = periods[chosen & 1][0]
    mix = periods[chosen >> 1 & 1][1]
    attempts, tokens_in, tokens_out = periods[chosen >> 2 & 1][2]
    price_in, price_out = periods[chosen >> 3 & 1][3]
    paid = periods[chosen >> 4 & 1][4]
    return volume * mix * attempts * (tokens_in * price_in * paid + tokens_out * price_out)


def _rounded(parts: Sequence[Fraction]) -> list[int]:
    """Return whole numbers with the same sum, which is whole: the largest remainders round up."""
    whole = [part.__floor__() for part in parts]
    rest = int(sum(parts)) - sum(whole)
    order = sorted(range(len(parts)), key=lambda at: whole[at] - parts[at])
    for at in order[:rest]:
        whole[at] += 1
    return whole
