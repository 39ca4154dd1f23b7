"""Rates and parallel calls: what a call asks of every limit that applies, and what it used."""

import logging
import sqlite3
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from headworks.core.admission import (
    NO_LIMITS,
    Bound,
    Denial,
    Grant,
    Rules,
    Size,
    Subject,
    ask,
    is_by_day,
    rate_headers,
    refusal,
    without_parallel,
)
from headworks.core.outputs import Outputs
from headworks.core.tokens import output_bound
from headworks.core.window import DAY, MINUTE
from headworks.errors import ConfigurationError, ParallelLimited
from headworks.ports import Clock
from headworks.stores.authority import Ahead, Authority, Gate
from headworks.stores.limits_past import read_past
from headworks.stores.memory_authority import MemoryAuthority
from headworks.types import Call, Caller, Request, Usage

_log = logging.getLogger(__name__)

_NOBODY = Caller("", "")
_NO_RULES = Rules()
_REMEMBERED = 4096
_ANY = 1 << 62

Longest = Callable[[Request], int | None]


def _unknown(request: Request) -> int | None:  # noqa: ARG001 - nothing is known of any
    return None


@dataclass(frozen=True, slots=True)
class LimitStatistics:
    """What the limits hold and did: subjects remembered, calls in flight, refusals so far."""

    keys: int
    in_flight: int
    rate_limited: int
    parallel_limited: int


class LimitReservation(msgspec.Struct):
    """A call that counts; where its tokens are limited, its answer's length is learned."""

    _grant: Grant
    _call: Call
    _outputs: Outputs | None

    def vacate(self) -> None:
        """Free the place among parallel calls before the end. Idempotent."""
        self._grant.vacate()

    def settle(self, usage: Usage) -> None:
        """Count what all attempts used in place of what was set aside, then and there, once.

        `usage` is what the last of them used. A call for which there was no money counts nowhere.
        """
        call, outputs = self._call, self._outputs
        tokens, last = call.tokens, usage.input + usage.output
        is_unpaid = not call.attempts and call.trail and _is_unpaid(call)
        self._grant.settle(max(tokens, last), 0 if is_unpaid else 1)
        if outputs is not None:
            self._outputs = None
            outputs.observe((call.caller or _NOBODY).key_id, call.request.model, usage.output)


class _Kind:
    """The limits that hold for calls of one kind.

    Attributes:
        outputs: Where the length of answers is learned, None where no tokens are limited.
        most: The most tokens for which all that is asked of each limit is the same.
    """

    __slots__ = ("bounds", "caller", "gate", "is_strict", "most", "outputs", "subjects")

    def __init__(
        self, caller: Caller, bounds: tuple[Bound, ...], gate: Gate, outputs: Outputs
    ) -> None:
        self.caller, self.bounds, self.gate = caller, bounds, gate
        self.subjects = tuple(one.subject for one in bounds)
        limits = [limit for one in bounds for limit in (one.limits.tpm, one.limits.tpd)]
        set_ = [limit for limit in limits if limit is not None]
        self.outputs = outputs if set_ else None
        self.is_strict = any(one.reserve == "strict" for one in bounds)
        self.most = -1 if self.is_strict else min(set_, default=_ANY)


class MemoryLimits:
    """The limits of the configuration, and those of each caller's own key.

    What is set aside for an answer is learned from the answers of that model to that key.
    """

    def __init__(self, clock: Clock, authority: Authority | None = None) -> None:
        self._authority = authority or MemoryAuthority(clock)
        self._outputs = Outputs()
        self._known: dict[Hashable, _Kind] = {}
        self._rules = _NO_RULES
        self._by_user = self._by_tag = self._is_apart = False
        self._longest: Longest = _unknown
        self._rate_limited = 0
        self._parallel_limited = 0

    def adopt(self, rules: Rules, longest: Longest = _unknown) -> None:
        """Let other limits hold from the next call on; what was counted stays.

        `longest` tells how many tokens the answer to a request that sets no bound may have.
        """
        self._rules, self._longest = rules, longest
        self._by_user = bool(rules.users) or rules.user != NO_LIMITS
        self._by_tag = bool(rules.tags)
        by_model = any(one.models for one in rules.all())
        self._is_apart = self._by_user or self._by_tag or by_model
        self._known.clear()

    def restore(self, ledger: Path, callers: Iterable[Caller], time: float) -> None:
        """Count what the ledger says of the last minute and day; `time` is the wall clock's.

        A ledger that cannot be read is logged, and the counts begin anew.
        """
        if not isinstance(self._authority, MemoryAuthority):
            return
        known = {caller.key_id: caller for caller in callers}
        limits = [*self._rules.all(), *(caller.limits for caller in known.values())]
        is_daily = any(is_by_day(one) for one in limits)
        try:
            for span in (MINUTE, DAY) if is_daily else (MINUTE,):
                for one in read_past(ledger, span, time):
                    caller = known.get(one.key_id) or Caller("", one.key_id, one.project)
                    bounds = tuple(self._rules.bounds(caller, one.tags, one.model))
                    self._authority.restore(bounds, span, one.age, one.requests, one.tokens)
        except (ConfigurationError, sqlite3.Error) as error:
            _log.warning("limits begin anew, the ledger cannot tell what was used: %s", error)

    async def reserve(self, call: Call, estimate: Usage) -> LimitReservation:
        """Count the request at every limit that applies, or raise `LimitError` and count nothing.

        Where several refuse, the one that will longest is told. `call.rates` tells how they stand.
        """
        found = self.reserve_nowait(call, estimate)
        if found is not None:
            return found
        kind = self._kind(call)
        grant = await kind.gate.decide(*self._amounts(kind, call.request, estimate))
        return self._reserved(kind, call, grant)

    def reserve_nowait(self, call: Call, estimate: Usage) -> LimitReservation | None:
        """Do as `reserve` does, or return None where that takes a wait."""
        kind = self._kind(call)
        if kind.outputs is None:
            grant = kind.gate.decide_nowait(estimate.input + estimate.output)
        else:
            grant = kind.gate.decide_nowait(*self._amounts(kind, call.request, estimate))
        return None if grant is None else self._reserved(kind, call, grant)

    async def reserve_within(self, call: Call, estimate: Usage) -> LimitReservation:
        """Do as `reserve` does for a part of a call that has its place among the parallel ones."""
        kind = self._kind(call, is_inner=True)
        grant = await kind.gate.decide(*self._amounts(kind, call.request, estimate))
        reservation = self._reserved(kind, call, grant)
        reservation.vacate()
        return reservation

    def forecast(self, call: Call, estimate: Usage, ahead: Ahead) -> float | None:
        """Return the seconds until the rates let a call in that comes after others.

        None where the authority cannot tell: see `Gate.forecast`.
        """
        kind = self._kind(call)
        return kind.gate.forecast(*self._amounts(kind, call.request, estimate), ahead)

    def subjects(self, call: Call) -> tuple[Subject, ...]:
        """Return whose limits a call has to pass."""
        return self._kind(call).subjects

    def tokens(self, call: Call, estimate: Usage) -> int:
        """Return how many tokens a call asks for, as far as answers have told so far."""
        return self._amounts(self._kind(call), call.request, estimate)[0]

    def statistics(self) -> LimitStatistics:
        """Return what is held now and what was refused so far."""
        found = self._authority.statistics()
        return LimitStatistics(
            found.subjects, found.in_flight, self._rate_limited, self._parallel_limited
        )

    def _kind(self, call: Call, *, is_inner: bool = False) -> _Kind:
        """Return the limits that hold for a call; what was found of late is remembered."""
        caller = call.caller or _NOBODY
        if not (self._is_apart or is_inner):
            kind = self._known.get(caller.key_id)
            if kind is not None and kind.caller is caller:
                return kind
        who: Hashable = caller.key_id if caller.token is None else caller.token.id
        if self._is_apart or caller.limits.models:
            request = call.request
            tags = request.tags
            user = tags.user if self._by_user else ""
            who = (who, request.model, user, tags.tags if self._by_tag else ())
        if is_inner:
            who = (who, None)
        kind = self._known.get(who)
        if kind is None or kind.caller is not caller:
            kind = self._learn(who, caller, call.request, is_inner=is_inner)
        return kind

    def _learn(self, who: Hashable, caller: Caller, request: Request, *, is_inner: bool) -> _Kind:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        bounds = tuple(self._rules.bounds(caller, request.tags, request.model))
        if is_inner:
            bounds = tuple(map(without_parallel, bounds))
        kind = _Kind(caller, bounds, self._authority.gate(bounds), self._outputs)
        self._known[who] = kind
        return kind

    def _amounts(self, kind: _Kind, request: Request, estimate: Usage) -> tuple[int, Sequence[int]]:
        """Return the tokens to be asked of each limit, and of which more or fewer if they differ.

        A bound that the request sets itself is never exceeded.
        """
        sure, most = estimate.input, estimate.output
        if not most:
            return sure, ()
        likely = self._outputs.likely(kind.caller.key_id, request.model)
        if likely is None or (likely > most and _is_bounded(request)):
            likely = most
        tokens = sure + likely
        if tokens <= kind.most:
            return tokens, ()
        if kind.is_strict and not _is_bounded(request):
            most = max(most, self._longest(request) or 0)
        size = Size(sure, tokens, sure + most)
        return tokens, [ask(bound, size).tokens - tokens for bound in kind.bounds]

    def _reserved(self, kind: _Kind, call: Call, found: Grant | Denial) -> LimitReservation:
        """Tell how the limits stand, and return what was reserved, or raise `LimitError`."""
        requests, tokens = found.requests, found.tokens
        if requests is not None or tokens is not None:
            call.rates = rate_headers(requests, tokens)
        if not isinstance(found, Denial):
            return LimitReservation(found, call, kind.outputs)
        error = refusal(found, kind.caller)
        if isinstance(error, ParallelLimited):
            self._parallel_limited += 1
        else:
            self._rate_limited += 1
        raise error


def _is_bounded(request: Request) -> bool:
    return output_bound(request.fields) is not None


def _is_unpaid(call: Call) -> bool:
    return any(one.failure == "unaffordable" for one in call.trail)
