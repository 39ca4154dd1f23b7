"""One route's health: who may be sent there, and what failures say about it."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from weakref import WeakValueDictionary

from headworks.core.breaker import NEVER_OPEN, Breaker, BreakerRules, Forced
from headworks.core.concurrency import LEAST, Concurrency
from headworks.core.demand import Demand
from headworks.core.latency import PeakMean
from headworks.core.pace import EARLY, Lull, Pace
from headworks.core.retry_budget import BudgetRules, RetryBudget
from headworks.core.symptoms import asks_slower
from headworks.core.tally import Tally
from headworks.core.upstream_bucket import NO_CAPS, Bucket, Caps, family
from headworks.errors import UpstreamError
from headworks.ports import Clock, Random
from headworks.types import Refusal, Route

_log = logging.getLogger("headworks")

UNPAID: Final = BreakerRules(open=300.0, longest=900.0, probes=1)
"""A credential without quota is left alone for 5 to 15 minutes; then one call looks."""

_RECENT: Final = 5
"""Seconds over which the rate of admissions is measured."""

_UNKNOWN: Final = 1e6
"""Load, in seconds, of a route that one call tries already: more than any that is known."""

_JITTER: Final = 0.1
"""Share of a pause that is added to it by chance."""

_SEVERAL, _ONE_IN = 2, 20
"""Failures that are no accident: so many of late, and one in so many calls."""

_BREAKER, _BUDGET = BreakerRules(), BudgetRules()


@dataclass(frozen=True, slots=True)
class HealthRules:
    """What holds for the routes of one upstream.

    Attributes:
        way: What leads there. Where it changes, what was known of the upstream is forgotten.
        accounts: The account behind each credential, where that is not the credential alone.
        caps: What the operator allows each account.
        has_peers: Whether there are several credentials.
    """

    breaker: BreakerRules = _BREAKER
    budget: BudgetRules = _BUDGET
    way: object = None
    accounts: Mapping[str, str] = field(default_factory=dict[str, str])
    caps: Mapping[str, Caps] = field(default_factory=dict[str, Caps])
    has_peers: bool = False


class Place:
    """An upstream: its rules, its retry budget, and which of its credentials can pay."""

    __slots__ = (
        "accounts", "buckets", "budget", "clock", "cooldowns", "forced", "opened", "random",
        "refused", "rules",
    )  # fmt: skip

    def __init__(self, rules: HealthRules, clock: Clock, random: Random) -> None:
        self.rules = rules
        self.clock = clock
        self.random = random
        self.budget = RetryBudget(rules.budget)
        self.accounts: dict[str, Breaker] = {}
        self.buckets = WeakValueDictionary[tuple[str, str], Bucket]()
        self.forced: Forced | None = None
        self.opened = self.cooldowns = self.refused = 0

    def follow(self, rules: HealthRules) -> None:
        """Follow other rules from now on."""
        self.rules = rules
        self.budget.rules = rules.budget
        now = self.clock.now()
        for (account, _), bucket in self.buckets.items():
            bucket.cap(rules.caps.get(account, NO_CAPS), now)

    def bucket(self, credential: str, model: str, now: float) -> Bucket:
        """Return the limits that a credential has for a model, shared with whoever shares them."""
        account = self.rules.accounts.get(credential, credential)
        key = account, family(model)
        bucket = self.buckets.get(key)
        if bucket is None:
            bucket = Bucket(self.rules.caps.get(account, NO_CAPS), now)
            self.buckets[key] = bucket
        return bucket


class Track:
    """What is known of one route.

    Attributes:
        lull: The rest after a limit without advice, until a call goes well.
        pace: How fast calls may go, None for as fast as they come.
        bucket: What is left of the provider's limits.
        concurrency: How many calls may be under way, None for any number.
    """

    __slots__ = (
        "account",
        "admitted",
        "begun",
        "breaker",
        "bucket",
        "concurrency",
        "cool_until",
        "in_flight",
        "latency",
        "lull",
        "name",
        "pace",
        "place",
        "unheard",
    )  # fmt: skip

    def __init__(self, route: Route, place: Place, now: float) -> None:
        credential = route.credential
        self.name = f"{route} ({credential})"
        self.place = place
        self.bucket = place.bucket(credential, route.model, now)
        self.breaker = Breaker(place.rules.breaker, now)
        self.account = place.accounts.setdefault(credential, Breaker(UNPAID, now))
        self.latency = PeakMean(now)
        self.cool_until = -math.inf
        self.lull: Lull | None = None
        self.pace: Pace | None = None
        self.concurrency: Concurrency | None = None
        self.begun, self.admitted = now, Tally(_RECENT)
        self.in_flight = self.unheard = 0
        if place.forced is not None:
            self.breaker.force(place.forced, now)

    def refusal(
        self,
        now: float,
        demand: Demand | None = None,
        *,
        is_retry: bool = False,
        is_last: bool = False,
        in_line: bool = False,
        met_limit: bool = False,
    ) -> Refusal | None:
        """Return why no attempt may be made, None when one may."""
        breaker, account, bucket = self.breaker, self.account, self.bucket
        if breaker.state != "closed" and breaker.retry_after(now, is_last=is_last):
            return Refusal("open", breaker.retry_after(now, is_last=True))
        if account.state != "closed" and account.retry_after(now, is_last=is_last):
            return Refusal("quota", account.retry_after(now, is_last=True))
        wait = self.cool_until - now
        if self.pace is not None or self.lull is not None:
            wait = max(wait, self._pause(now, in_line=in_line, met_limit=met_limit))
        if demand is not None and bucket.levels and (turn := bucket.wait(demand, now)) > wait:
            wait = turn
        if self.concurrency is not None:
            wait = max(wait, self.concurrency.wait(self.in_flight, bucket.ahead(demand)[0]))
        if wait > EARLY:
            return Refusal("cooling", wait)
        if is_retry and not self.place.budget.left(now):
            return Refusal("budget", math.inf)
        return None

    def _pause(self, now: float, *, in_line: bool, met_limit: bool) -> float:
        """Return how long pace and lull hold a call; the one that met a limit need not rest."""
        wait = 0.0
        if self.pace is not None:
            wait = max(wait, self.pace.wait(now, self.cool_until, in_line=in_line))
        if self.lull is not None and not met_limit:
            wait = max(wait, self.lull.wait(now))
        return wait

    def held_to(self, now: float) -> float | None:
        """Return the calls a second that may go, None for any number."""
        return None if self.pace is None or self.pace.is_over(now) else self.pace.rate(now)

    def admit(self, now: float, *, in_line: bool = False) -> None:
        """Count a call that goes."""
        self.admitted.add(now)
        self.in_flight += 1
        if self.pace is not None:
            self.pace.take(now, in_line=in_line)
            if self.pace.is_over(now):
                self.pace = None
        if self.concurrency is not None and self.concurrency.is_over(now):
            self.concurrency = None

    def load(self, now: float) -> float:
        """Return the latency of late, times the calls in flight and this one, failures counted in.

        Where nothing is known of late one call tries; until it is answered, and after it failed,
        every route that is known goes before.
        """
        calls, failures, _ = self.breaker.counts(now)
        seconds = self.latency.faded(now)
        if not seconds:
            return _UNKNOWN + self.in_flight if self.in_flight or failures else 0.0
        return seconds * (self.in_flight + 1) * (calls + 1) / (calls - failures + 1)

    def follow(self, now: float) -> None:
        """Follow the upstream's rules; where they say never, nothing keeps calls back any more."""
        self.breaker.rules = self.place.rules.breaker
        if not self.may_rest and self.breaker.forced is None:
            self.force("closed", now)
            self.force("auto", now)

    @property
    def may_rest(self) -> bool:
        """Whether calls are ever kept back but by hand."""
        return self.place.rules.breaker is not NEVER_OPEN

    def is_late(self, seconds: float) -> bool:
        """Whether an answer that begins after so long counts as slow."""
        slow = self.place.rules.breaker.slow
        return slow is not None and seconds >= slow

    def praise(self, era: int, now: float) -> None:
        """Count a call that went well."""
        breaker, before = self.breaker, self.breaker.state
        breaker.succeeded(era, now)
        if breaker.state != before:
            _log.info("%s works again: its breaker has closed", self.name)

    def blame(self, era: int, cause: str, now: float, *, is_slow: bool = False) -> None:
        """Count a call that the provider failed, or answered late."""
        breaker, place = self.breaker, self.place
        opened, was_closed = breaker.opened, breaker.state == "closed"
        jitter = place.random.random()
        if is_slow:
            breaker.was_slow(era, now, jitter)
        else:
            breaker.failed(era, now, jitter)
        if breaker.opened != opened:
            place.opened += 1
            level = logging.WARNING if was_closed else logging.DEBUG
            wait = breaker.retry_after(now)
            _log.log(level, "%s fails (%s): its breaker is open for %.1f s", self.name, cause, wait)

    def limit(self, error: UpstreamError, begun: float, now: float) -> None:
        """Send nobody here for a while, or fewer, as the provider asks.

        A pause asked for earlier is prolonged, never shortened.
        """
        if not self.may_rest:
            return
        is_slower = asks_slower(error)
        if is_slower:
            self._slow_down(begun, now)
        if error.retry_after:
            self.cool_until = max(self.cool_until, now + error.retry_after)
            self.place.cooldowns += 1
            if not is_slower and self.bucket.levels:
                jitter = 1 + _JITTER * self.place.random.random()
                self.bucket.pause(error.retry_after * jitter, now)
        elif not is_slower and (self.lull is None or self.lull.renew(begun, now)):
            self.lull = self.lull or Lull(now)
            self.place.cooldowns += 1

    def _slow_down(self, begun: float, now: float) -> None:
        """Lower the pace to less than it was of late."""
        seconds = min(_RECENT - 1 + now % 1, now - self.begun)
        rate = self.admitted.count(now) / max(1.0, seconds)
        level = logging.WARNING if self.pace is None else logging.DEBUG
        if self.pace is None:
            self.pace = Pace(rate, now)
        elif not self.pace.cut(rate, begun, now):
            return
        rate = self.pace.rate(now)
        _log.log(
            level, "%s asks to slow down: %.2f requests a second go there now", self.name, rate
        )

    def bind(self, now: float) -> None:
        """Note that a call was held back."""
        for one in (self.pace, self.concurrency):
            if one is not None:
                one.bind(now)

    def relieve(self, begun: float, now: float, *, is_told: bool = False) -> None:
        """Allow fewer calls at a time, where several were too many or the provider says so."""
        calls, failures, _ = self.breaker.counts(now)
        is_much = failures >= _SEVERAL and failures * _ONE_IN >= calls
        if not self.may_rest or not (is_told or is_much):
            return
        under_way, share = self.in_flight + 1, failures / calls if failures else 1.0
        if self.concurrency is not None:
            self.concurrency.cut(under_way, begun, now, share, is_told=is_told)
        elif under_way > LEAST:
            self.concurrency = Concurrency(under_way, self.latency.seconds, now, share)
            _log.warning(
                "%s has too much to do: %.0f calls at a time now", self.name, self.concurrency.most
            )

    def find_unpaid(self, era: int, now: float) -> None:
        """Leave the credential alone for minutes."""
        account = self.account
        if era == account.era and self.may_rest:
            account.trip(now, self.place.random.random())
            self.place.cooldowns += 1
            wait = account.retry_after(now)
            _log.warning("%s has no quota: its credential rests for %.0f s", self.name, wait)

    def force(self, state: Forced | Literal["auto"], now: float) -> None:
        """Hold the breaker, or release it."""
        if state == "auto":
            self.breaker.release(now)
            return
        self.breaker.force(state, now)
        if state == "closed":
            self.cool_until = -math.inf
            self.lull = self.pace = self.concurrency = None
            self.bucket.forgive()
            self.account.force("closed", now)
            self.account.release(now)
