"""One route's health, and the attempts that it learns from."""

import logging
import math
from dataclasses import dataclass
from typing import Final, Literal

from headworks.core.breaker import NEVER_OPEN, Breaker, BreakerRules, Forced
from headworks.core.latency import PeakMean
from headworks.core.pace import EARLY, Lull, Pace
from headworks.core.retry_budget import BudgetRules, RetryBudget
from headworks.core.symptoms import asks_slower, symptom
from headworks.core.tally import Tally
from headworks.errors import DeadlineExceeded, UpstreamError
from headworks.ports import Clock, Random
from headworks.types import Refusal

_log = logging.getLogger("headworks")

UNPAID: Final = BreakerRules(open=300.0, longest=900.0, probes=1)
"""A credential without quota is left alone for 5 to 15 minutes; then one call looks."""

_RECENT: Final = 5
"""Seconds over which the rate of admissions is measured."""

_NEARLY: Final = 0.9
"""Share of a route's total time from which a deadline was the route's fault, not the caller's."""

_UNKNOWN: Final = 1e6
"""Load, in seconds, of a route that one call tries already: more than any that is known."""

_BREAKER, _BUDGET = BreakerRules(), BudgetRules()


@dataclass(frozen=True, slots=True)
class HealthRules:
    """What holds for the routes of one upstream.

    Attributes:
        way: What leads there. Where it changes, what was known of the upstream is forgotten.
    """

    breaker: BreakerRules = _BREAKER
    budget: BudgetRules = _BUDGET
    way: object = None


class Place:
    """An upstream: its rules, its retry budget, and which of its credentials can pay."""

    __slots__ = (
        "accounts", "budget", "clock", "cooldowns", "forced", "opened", "random", "refused",
        "rules",
    )  # fmt: skip

    def __init__(self, rules: HealthRules, clock: Clock, random: Random) -> None:
        self.rules = rules
        self.clock = clock
        self.random = random
        self.budget = RetryBudget(rules.budget)
        self.accounts: dict[str, Breaker] = {}
        self.forced: Forced | None = None
        self.opened = self.cooldowns = self.refused = 0

    def follow(self, rules: HealthRules) -> None:
        """Follow other rules from now on."""
        self.rules = rules
        self.budget.rules = rules.budget


class Track:
    """What is known of one route.

    Attributes:
        lull: The rest after a limit without advice, until a call goes well.
        pace: How fast calls may go, None for as fast as they come.
    """

    __slots__ = (
        "account", "admitted", "begun", "breaker", "cool_until", "in_flight", "latency", "lull",
        "name", "pace", "place",
    )  # fmt: skip

    def __init__(self, name: str, place: Place, credential: str, now: float) -> None:
        self.name = f"{name} ({credential})"
        self.place = place
        self.breaker = Breaker(place.rules.breaker, now)
        self.account = place.accounts.setdefault(credential, Breaker(UNPAID, now))
        self.latency = PeakMean(now)
        self.cool_until = -math.inf
        self.lull: Lull | None = None
        self.pace: Pace | None = None
        self.begun, self.admitted = now, Tally(_RECENT)
        self.in_flight = 0
        if place.forced is not None:
            self.breaker.force(place.forced, now)

    def refusal(
        self,
        now: float,
        *,
        is_retry: bool = False,
        is_last: bool = False,
        in_line: bool = False,
        met_limit: bool = False,
    ) -> Refusal | None:
        """Return why no attempt may be made, None when one may."""
        breaker, account = self.breaker, self.account
        if breaker.state != "closed" and breaker.retry_after(now, is_last=is_last):
            return Refusal("open", breaker.retry_after(now, is_last=True))
        if account.state != "closed" and account.retry_after(now, is_last=is_last):
            return Refusal("quota", account.retry_after(now, is_last=True))
        wait = self._pause(now, in_line=in_line, met_limit=met_limit)
        if wait > EARLY:
            return Refusal("cooling", wait)
        if is_retry and not self.place.budget.left(now):
            return Refusal("budget", math.inf)
        return None

    def _pause(self, now: float, *, in_line: bool, met_limit: bool) -> float:
        """Return for how many seconds a call is to wait; the call that met a limit need not rest."""
        wait = self.cool_until - now
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
        before = self.breaker.state
        self.breaker.succeeded(era, now)
        if self.breaker.state != before:
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
            self.lull = self.pace = None
            self.account.force("closed", now)
            self.account.release(now)


class Admission:
    """Leave for one attempt on a route; what became of it is learned once."""

    __slots__ = ("_begun", "_era", "_is_late", "_is_open", "_is_told", "_paid", "_total", "_track")

    def __init__(
        self, track: Track, total: float, now: float, *, is_retry: bool, is_last: bool
    ) -> None:
        budget = track.place.budget
        if is_retry:
            budget.withdraw(now)
        else:
            budget.deposit(now)
        self._track = track
        self._total = total
        self._era = track.breaker.admit(now, is_last=is_last)
        self._paid = track.account.admit(now, is_last=is_last)
        self._begun = now
        self._is_open, self._is_told, self._is_late = True, False, False

    def answered(self) -> None:
        """Note that the answer has begun: a probe has then served its purpose."""
        track = self._track
        now = track.place.clock.now()
        seconds = now - self._begun
        track.latency.observe(seconds, now)
        self._is_late = track.is_late(seconds)
        if track.breaker.state != "closed" or track.account.state != "closed":
            self._count(now)

    def settle(self, error: BaseException | None = None) -> None:
        """Note how the attempt ended, None being well. Calls after the first change nothing."""
        if not self._is_open:
            return
        self._is_open = False
        track = self._track
        now = track.place.clock.now()
        track.in_flight -= 1
        if error is None:
            self._count(now)
        elif isinstance(error, UpstreamError):
            self._learn(error, now)
        else:
            self._guess(error, now)

    def _count(self, now: float) -> None:
        """Count a call that was answered."""
        if self._is_told:
            return
        self._is_told = True
        track = self._track
        if track.account.state != "closed":
            track.account.succeeded(self._paid, now)
        if track.lull is not None and self._begun >= track.lull.since:
            track.lull = None
        if self._is_late:
            track.blame(self._era, "slow", now, is_slow=True)
        else:
            track.praise(self._era, now)

    def _learn(self, error: UpstreamError, now: float) -> None:
        """Draw the conclusions from what the provider did."""
        track = self._track
        found = symptom(error)
        if found == "failure":
            track.blame(self._era, error.code or str(error.status), now)
        elif found == "pause":
            track.limit(error, self._begun, now)
        elif found == "unpaid":
            track.find_unpaid(self._paid, now)
        self._forget()

    def _guess(self, error: BaseException, now: float) -> None:
        """Count a call whose caller gave it up only if it had waited for too long."""
        track, seconds = self._track, now - self._begun
        if isinstance(error, DeadlineExceeded) and seconds >= _NEARLY * self._total:
            track.blame(self._era, error.code, now)
        elif not self._is_told and track.is_late(seconds):
            track.blame(self._era, "slow", now, is_slow=True)
        self._forget()

    def _forget(self) -> None:
        """Let another call be the probe, if this was one and proved nothing."""
        if not self._is_told:
            self._track.breaker.abandoned(self._era)
            self._track.account.abandoned(self._paid)
