"""Leave for one attempt on a route, and what is learned from what became of it."""

from typing import Final

import msgspec

from headworks.core.symptoms import asks_slower, symptom
from headworks.core.upstream_bucket import Slip
from headworks.core.upstream_signs import readings, told
from headworks.errors import CallError, DeadlineExceeded, UpstreamError
from headworks.stores.health_track import Track
from headworks.types import Headers

_NEARLY: Final = 0.9
"""Share of a route's total time from which a deadline was the route's fault, not the caller's."""

_TOO_MUCH: Final = frozenset({"overloaded", "timeout"})
"""Failures of a provider that has too many calls at a time."""

_UNHEARD: Final = 15
"""Answers that are not looked at after one that did not speak of limits."""


class Admission(msgspec.Struct):
    """Leave for one attempt on a route; what became of it is learned once.

    Attributes:
        slip: What it has taken of the provider's limits.
    """

    _track: Track
    _total: float
    _begun: float
    _era: int
    _paid: int
    slip: Slip | None = None
    _is_open: bool = True
    _is_told: bool = False
    _is_late: bool = False

    def heard(self, headers: Headers) -> None:
        """Learn what is left of the provider's limits.

        Where answers do not speak of any, few of them are looked at; but after a pause each of them
        tells that its call was taken.
        """
        track, slip = self._track, self.slip
        bucket = track.bucket
        self.slip = None
        if track.unheard and not bucket.is_resting:
            track.unheard -= 1
            return
        now = track.place.clock.now()
        if not bucket.is_worth(slip, now) or not track.may_rest:
            return
        if found := readings(headers):
            bucket.hear(slip, self._begun, found, now)
        else:
            track.unheard = _UNHEARD
            bucket.prove(self._begun, now)

    def answered(self) -> None:
        """Note that the answer has begun: a probe has then served its purpose."""
        track = self._track
        now = track.place.clock.now()
        seconds = now - self._begun
        track.latency.observe(seconds, now)
        slow = track.breaker.rules.slow
        if slow is not None and seconds >= slow:
            self._is_late = True
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
            if track.concurrency is not None:
                track.concurrency.grow(self._begun, now)

    def _learn(self, error: UpstreamError, now: float) -> None:
        """Draw the conclusions from what the provider did."""
        track = self._track
        if track.may_rest:
            self._correct(error, now)
        found = symptom(error)
        if found == "failure":
            track.blame(self._era, error.code or str(error.status), now)
            if error.failure in _TOO_MUCH:
                track.relieve(self._begun, now)
        elif found == "pause":
            track.limit(error, self._begun, now)
            if asks_slower(error):
                track.relieve(self._begun, now, is_told=True)
        elif found == "unpaid":
            track.find_unpaid(self._paid, now)
        self._forget()

    def _correct(self, error: UpstreamError, now: float) -> None:
        """Learn from a failure what is left of the provider's limits."""
        bucket = self._track.bucket
        if not error.sent:
            if self.slip is not None:
                bucket.give_back(self.slip, now)
            return
        found = readings(error.said) if error.said else ()
        if error.failure in {"rate_limit", "too_large"}:
            bucket.refuse(self.slip, self._begun, found, told(str(error)), now)
        elif found:
            bucket.hear(self.slip, self._begun, found, now)

    def _guess(self, error: BaseException, now: float) -> None:
        """Count a call whose caller gave it up only if it had waited for too long."""
        track, seconds = self._track, now - self._begun
        is_late = isinstance(error, DeadlineExceeded)
        if self.slip is not None and isinstance(error, CallError) and not is_late:
            track.bucket.give_back(self.slip, now)  # it was not even sent
        if is_late and seconds >= _NEARLY * self._total:
            track.blame(self._era, DeadlineExceeded.code, now)
            track.relieve(self._begun, now)
        elif not self._is_told and track.is_late(seconds):
            track.blame(self._era, "slow", now, is_slow=True)
        self._forget()

    def _forget(self) -> None:
        """Let another call be the probe, if this was one and proved nothing."""
        if not self._is_told:
            self._track.breaker.abandoned(self._era)
            self._track.account.abandoned(self._paid)
