"""What is left of one limit at a provider, as far as it can be known from here.

The provider's bucket refills by L / P a second, and is full at L. Each answer says how much was in
it when its request was admitted; what was sent since is taken off that, what has flowed in since is
added. Where the provider has less than was thought the level falls to it at once; where it has more
it rises by half the difference with each answer, since others may use the account too.

What others use meanwhile is a *leak*: the part of the inflow that is never seen here.
"""

from typing import Final, NamedTuple

from headworks.core.upstream_signs import Measure

_SPARE_SHARE, _SPARE_SECONDS = 0.05, 3.0
"""What is not used of a limit: a share of it, and no more than what flows in in so long."""

_MOST_SPARE, _REMEMBERED = 0.15, 120.0
"""The largest share that is not used; seconds in which an error is forgotten."""

_BRIM: Final = 0.98
"""A level that counts as full: an exact one would never be reached by steps."""

_MEMORY, _NEWS = 30.0, 10.0
"""Seconds over which a leak is learned; it is believed in for so long after the last answer."""

_MOST_LEAK: Final = 0.8
"""The largest share of the inflow that is believed to leak."""

_TRAVEL: Final = 0.05
"""Seconds that a request is on its way at most."""


class Sample(NamedTuple):
    """What a provider had left when it admitted a request.

    Attributes:
        begun: When the request was sent.
        sent: The sum of our own charges then, the request's own included.
    """

    level: float
    begun: float
    sent: float


class Level:
    """One limit, learned from a provider or set by the operator (`is_learned` False).

    Attributes:
        period: Seconds in which an empty bucket is full.
        speed: Units a second that flow in.
        said: When the provider last spoke of it.
        is_confirmed: Whether the period is known, and not only guessed.
        leak: Units a second that others use.
        left: What was left when something was last taken, or learned; `kept` of it is left alone at
            most, so that it can be told at a glance where there is room.
    """

    __slots__ = ("_base", "_miss", "_seen", "is_confirmed", "is_learned", "kept", "leak", "left", "limit", "measure", "period", "said", "speed")  # fmt: skip

    def __init__(
        self, measure: Measure, limit: float, period: float, now: float, *, is_learned: bool
    ) -> None:
        self.measure, self.limit, self.period = measure, limit, period
        self.is_learned, self.said, self.leak = is_learned, now, 0.0
        self.is_confirmed = False
        self.speed = limit / period
        self.left: float = limit
        self.kept: float = _MOST_SPARE * limit
        self._seen = now
        self._miss = 0.0
        self._base: Sample | None = None

    @property
    def spare(self) -> float:
        """What is left alone, so that an error is no refusal: more, where others use much at once.

        It costs nothing in the long run: a bucket that is not full takes in as much at any level.
        """
        if not self.is_learned:
            return 0.0
        usual = min(_SPARE_SHARE * self.limit, _SPARE_SECONDS * self.speed)
        return min(usual + self._miss, self.kept)

    def value(self, now: float) -> float:
        """Return what is left."""
        seconds = now - self._seen
        level = self.left + seconds * self.speed if seconds > 0.0 else self.left
        if self.leak:
            leaking = min(now, self.said + _NEWS) - self._seen
            if leaking > 0.0:
                level -= leaking * self.leak
        if level > self.limit:
            return self.limit
        return 0.0 if level < 0.0 and self.is_learned else level

    def wait(self, need: float, ahead: float, now: float) -> float:
        """Return the seconds until so much is left, and what those `ahead` in the line take.

        What is larger than the provider's limit is for the provider to refuse, at once. What is
        larger than the operator's waits until the bucket is full, and leaves a debt.
        """
        if need + ahead <= self.left - self.kept:
            return 0.0
        if need > self.limit and self.is_learned:
            return 0.0
        brim = _BRIM * self.limit
        need = min(need, self.limit) if self.is_learned else min(need, brim)
        short = max(need, min(need + self.spare, brim)) + ahead - self.value(now)
        if short <= 0:
            return 0.0
        leaks = max(0.0, self.said + _NEWS - now)
        if short <= leaks * (self.speed - self.leak):
            return short / (self.speed - self.leak)
        return (short + leaks * self.leak) / self.speed

    def take(self, amount: float, now: float) -> None:
        """Take so much; a negative amount gives back."""
        limit, seconds = self.limit, now - self._seen
        if self.leak or seconds < 0.0:
            left = self.value(now)
        elif (left := self.left + seconds * self.speed) > limit:
            left = limit
        self.left = left - amount if amount >= 0.0 else min(limit, left - amount)
        self._seen = now

    def bound(self, limit: float, now: float) -> None:
        """Follow another limit from now on: what is left of it changes by as much."""
        if limit != self.limit:
            value, more = self.value(now), limit - self.limit
            self.limit, self.speed, self.kept = limit, limit / self.period, _MOST_SPARE * limit
            self.left, self._seen = min(limit, value + max(0.0, more)), now
            self._base = None

    def correct(self, sample: Sample, sent: float, now: float, *, is_exact: bool = False) -> None:
        """Follow what the provider had; `sent` is the sum of our charges by now.

        An exact sample is one that the provider has refused a call by.
        """
        self.said = now
        self._learn(sample)
        age = max(0.0, now - sample.begun - min(_TRAVEL, (now - sample.begun) / 2))
        theirs = min(self.limit, sample.level + age * (self.speed - self.leak))
        theirs -= max(0.0, sent - sample.sent)
        ours = self.value(now)
        is_first, self._base = self._base is None, sample
        if not is_first:
            self._miss = max(self._miss, ours - theirs)
        rises = theirs > ours and not is_first and not is_exact
        self.left, self._seen = (ours + (theirs - ours) / 2 if rises else theirs), now

    def observed(self, sample: Sample) -> float | None:
        """Return what has gone since the last sample, None if that was full or is not known."""
        base = self._base
        if base is None:
            return None
        before = base.level + (sample.begun - base.begun) * self.speed
        return min(self.limit, before) - sample.level

    def _learn(self, sample: Sample) -> None:
        """Learn what others use from what has gone and was not ours."""
        base, gone = self._base, self.observed(sample)
        if base is None or gone is None:
            return
        seconds = max(0.0, sample.begun - base.begun)
        share = min(1.0, seconds / _MEMORY)
        self._miss *= 1 - min(1.0, seconds / _REMEMBERED)
        foreign = gone - max(0.0, sample.sent - base.sent)
        per_second = foreign / max(seconds, _MEMORY)
        self.leak = min(_MOST_LEAK * self.speed, max(0.0, self.leak * (1 - share) + per_second))
