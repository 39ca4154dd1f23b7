"""What may be spent, what was, and what calls under way may yet cost.

An attempt holds in each account that it counts against what it may cost, in all of them or in
none; its cost takes the place of what it held, then and there: in the period in which it was
begun. A period begins once. A clock that is set back by an hour brings no earlier period back, and
one that is set back by days, since it was wrong before, takes along what was spent.

Amounts are whole nano-dollars, moments whole nanoseconds since 1970.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final, NamedTuple, TypeAlias

from headworks.core.calendar import EVER, Per, period
from headworks.core.levels import LevelKind
from headworks.core.periods import HOUR, NANO, Span
from headworks.errors import LimitError
from headworks.types import Unpriced

SET_BACK: Final = 25 * HOUR * NANO
"""A clock that is set back by less was right before; a change of summer time is an hour of it."""
HELD_WAIT: Final = 1.0
"""Nobody knows when a call under way will give back what it does not need; a second is told."""

_CENT: Final = NANO // 100
_WHOLE: Final = 100
_NO_END: Final = 2**63


class Owner(NamedTuple):
    """Whose budget it is.

    Attributes:
        name: Of the project, key, user or tag; "" for the organisation. A key has its name here
            and not its id, so that a new secret brings no new money.
    """

    kind: LevelKind
    name: str

    @property
    def spelled(self) -> str:
        """How people call it: `organisation`, `key web`."""
        return f"{self.kind} {self.name}" if self.name else self.kind


ORGANISATION: Final = Owner("organisation", "")
EVERY_USER: Final = Owner("user", "")
"""Stands for each user who has no budget of its own."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent in each period.

    Attributes:
        limit: Above 0.
        soft: Percentages of the limit at which somebody is told, in ascending order.
        is_hard: Whether what does not fit is refused.
        unpriced: What a hard budget does with models whose price is not known.
        is_strict: Whether the most that a request may cost is held, instead of the expected cost.
    """

    limit: int
    per: Per = "month"
    zone: tzinfo = UTC
    soft: tuple[int, ...] = (50, 80, 100)
    is_hard: bool = True
    unpriced: Unpriced = "refuse"
    is_strict: bool = False


class BudgetExceeded(LimitError):
    """A budget has no room for what the request may cost."""

    type, code, should_retry = "insufficient_quota", "insufficient_quota", False


@dataclass(frozen=True, slots=True)
class BudgetAlert:
    """A share of a budget was reached; `percent` is the threshold, `begin` the period's."""

    owner: Owner
    per: Per
    begin: int
    percent: int
    spent: int
    limit: int


class Tally:
    """What an account came to in one period.

    Attributes:
        held: What calls under way may cost.
        unpriced: Attempts that cost nobody knows how much.
        refused: Attempts that it had no room for.
        told: The highest threshold that was reached.
        alarm: Less than what is spent when the next one is.
    """

    __slots__ = ("alarm", "held", "refused", "span", "spent", "told", "unpriced")

    def __init__(self, span: Span, spent: int = 0) -> None:
        self.span = span
        self.spent = spent
        self.held = self.unpriced = self.refused = self.told = self.alarm = 0


class Account:
    """A budget as its owner uses it up.

    Attributes:
        most: What may be spent and held together.
        is_strict: What its budget says.
    """

    __slots__ = ("budget", "is_strict", "most", "owner", "tally")

    def __init__(self, owner: Owner, budget: Budget, span: Span, spent: int = 0) -> None:
        self.owner = owner
        self.tally = Tally(span, spent)
        self.adopt(budget)

    def adopt(self, budget: Budget) -> None:
        """Let another budget of the same periods hold."""
        self.budget = budget
        self.is_strict = budget.is_strict
        self.most = budget.limit if budget.is_hard else _NO_END
        self.tally.alarm = 0

    def at(self, now: int) -> Tally:
        """Return the tally of the present period, which begins now if the last one is over."""
        tally = self.tally
        span = tally.span
        if now >= span.end:
            tally = self.tally = Tally(period(self.budget.per, now, self.budget.zone))
        elif now < span.begin - SET_BACK:
            tally.span = period(self.budget.per, now, self.budget.zone)
        return tally

    def reached(self, *, is_full: bool = False) -> list[BudgetAlert]:
        """Return the thresholds that are reached now, each once in a period; full is all of it."""
        budget, tally = self.budget, self.tally
        spent = max(tally.spent, budget.limit) if is_full else tally.spent
        left = [percent for percent in budget.soft if percent > tally.told]
        now = [percent for percent in left if spent * _WHOLE >= budget.limit * percent]
        tally.told = max(now, default=tally.told)
        ahead = left[len(now) :]
        tally.alarm = budget.limit * ahead[0] // _WHOLE if ahead else _NO_END
        return [
            BudgetAlert(
                self.owner, budget.per, tally.span.begin, percent, tally.spent, budget.limit
            )
            for percent in now
        ]


Outlay: TypeAlias = tuple[Account, int]
"""What an attempt may cost an account."""

Held: TypeAlias = tuple[Account, Tally, int]
"""What an attempt holds in one period of an account."""


_NONE: Final[Sequence[Account]] = ()


def reserve(outlays: Sequence[Outlay], now: int) -> list[Held]:
    """Hold what is asked of each account, in all of them or in none.

    Raises:
        BudgetExceeded: One has no room; nothing was held anywhere.
    """
    held: list[Held] = []
    is_short = False
    for account, amount in outlays:
        tally = account.tally
        begin, end = tally.span
        if not begin <= now < end:
            tally = account.at(now)
        if amount and tally.spent + tally.held + amount > account.most:
            is_short = True
        held.append((account, tally, amount))
    if is_short:
        raise _exceeded(held, now)
    for _, tally, amount in held:
        tally.held += amount
    return held


def settle(held: Sequence[Held], cost: int | None) -> Sequence[Account]:
    """Put the cost in the place of what was held; None is a cost that nobody knows.

    Returns the accounts that may have reached a threshold.
    """
    told = _NONE
    for account, tally, amount in held:
        tally.held -= amount
        if cost is None:
            tally.unpriced += 1
        else:
            tally.spent += cost
        if tally.spent >= tally.alarm and tally is account.tally:
            told = [*told, account]
    return told


def dollars(nano: int, *, up: bool = False) -> str:
    """Spell an amount in dollars and cents, or finer where it is less than a cent."""
    if 0 < nano < _CENT:
        return f"${nano / NANO:.9f}".rstrip("0")
    cents = -(-nano // _CENT) if up else nano // _CENT
    return f"${cents // _WHOLE:,}.{cents % _WHOLE:02}"


def moment(nano: int, zone: tzinfo = UTC) -> str:
    """Spell a moment by the clocks of a place, to the second."""
    return datetime.fromtimestamp(nano // NANO, zone).isoformat()


def _exceeded(held: Sequence[Held], now: int) -> BudgetExceeded:
    """Return the refusal: by what is spent, if any account has no room even without what is held."""
    short = [one for one in held if one[2] and one[1].spent + one[1].held + one[2] > one[0].most]
    spent = [one for one in short if one[1].spent + one[2] > one[0].most]
    for _, tally, _ in short:
        tally.refused += 1
    account, tally, amount = (spent or short)[0]
    error = BudgetExceeded(_told(account, amount), retry_after=HELD_WAIT)
    error.should_retry = not spent
    if spent:
        end = tally.span.end
        error.retry_after = None if end == EVER.end else (end - now) / NANO
    return error


def _told(account: Account, amount: int) -> str:
    budget, tally = account.budget, account.tally
    span = "in all" if budget.per == "total" else f"a {budget.per}"
    end = (
        "It does not reset by itself."
        if tally.span == EVER
        else f"It resets at {moment(tally.span.end, budget.zone)}."
    )
    held = f", held for calls under way {dollars(tally.held, up=True)}" if tally.held else ""
    return (
        f"The budget of {account.owner.spelled!r} is used up: limit {dollars(budget.limit)} {span}, "
        f"spent {dollars(tally.spent)}{held}, and this request may cost "
        f"{dollars(amount, up=True)}. {end}"
    )
