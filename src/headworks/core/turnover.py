"""How long calls last, and who was told to come back when: what a wait in a queue depends on."""

import heapq
from bisect import bisect_left, bisect_right, insort
from collections.abc import Hashable
from typing import Final, NamedTuple

from headworks.core.crowds import NOBODY, Crowd
from headworks.errors import LimitError

_WEIGHT: Final = 0.05
"""What one call counts for in the mean."""
_UP, _DOWN = 1.05, 1 / 1.05
"""How far a call above the median, or below it, moves it: as many are then on either side."""
_GRACE: Final = 2.0
"""Seconds that whoever was told to come back may be late."""
_DOUBT: Final = 0.1
"""How much one who comes, or does not, says of the others of its key."""
_MOST: Final = 10_000
"""How many of them are remembered."""
_LEAST: Final = 0.001
_MODELS: Final = 1_000


class Turnover:
    """How long calls last: all of them on the mean, and the answered ones of each model.

    Attributes:
        mean: Seconds that a call takes up its place, 0.0 before the first one.
    """

    __slots__ = ("_medians", "mean")

    def __init__(self) -> None:
        self.mean = 0.0
        self._medians: dict[str, float] = {}

    def observe(self, model: str, seconds: float, output: int) -> None:
        """Take in a call that has ended; one without tokens of output says nothing of answers."""
        mean = self.mean
        self.mean = mean + _WEIGHT * (seconds - mean) if mean else seconds
        if not output:
            return
        medians = self._medians
        median = medians.get(model)
        if median is not None:
            median *= _UP if seconds > median else _DOWN
            medians[model] = max(_LEAST, median)
        elif len(medians) < _MODELS:
            medians[model] = seconds

    def median(self, model: str) -> float:
        """Return seconds within which half of a model's answers are complete, 0.0 if unknown."""
        return self._medians.get(model, 0.0)


Who = tuple[Hashable, Hashable]
"""A caller: its key, and its mark."""


class _Visit(NamedTuple):
    """When a caller is to come, and before which limits it will then stand."""

    due: float
    turn: float
    tokens: int
    scopes: tuple[Hashable, ...]


class _Turns:
    """The turns of those who are to come to one limit, by their keys.

    Attributes:
        faith: The share of them that comes, as far as was seen.
        why: The denial of that limit that was in their way last.
    """

    __slots__ = ("all", "by_key", "faith", "tokens", "why")

    def __init__(self) -> None:
        self.why: LimitError | None = None
        self.faith = 1.0
        self.all: list[float] = []
        self.by_key: dict[Hashable, list[float]] = {}
        self.tokens = 0

    def add(self, key: Hashable, visit: _Visit) -> None:
        insort(self.all, visit.turn)
        insort(self.by_key.setdefault(key, []), visit.turn)
        self.tokens += visit.tokens

    def drop(self, key: Hashable, visit: _Visit) -> None:
        own = self.by_key[key]
        for turns in (self.all, own):
            del turns[bisect_left(turns, visit.turn)]
        if not own:
            del self.by_key[key]
        self.tokens -= visit.tokens

    def expected(self, key: Hashable, until: float) -> Crowd:
        own = self.by_key.get(key, ())
        calls = round(bisect_right(own, until) * self.faith)
        others = round(bisect_right(self.all, until) * self.faith) - calls
        each = self.tokens // len(self.all)
        return Crowd(calls, calls * each, others, others * each, len(self.by_key) - bool(own))


class Appointments:
    """Who was sent away and is to come back when, so that no two are told of the same place.

    A caller is known again by its key and its mark: what it asks for. The places are those before
    its `scopes`: what it shares with others, such as its key, and the limits on its project.

    Attributes:
        count: How many are to come.
    """

    __slots__ = ("_ends", "_turn", "_turns", "_visits", "count")

    def __init__(self) -> None:
        self.count = 0
        self._visits: dict[Who, _Visit] = {}
        self._turns: dict[Hashable, _Turns] = {}
        self._ends: list[tuple[float, int, Who]] = []
        self._turn = 0

    def make(
        self, who: Who, scopes: tuple[Hashable, ...], turn: float, due: float, tokens: int
    ) -> None:
        """Remember when it is a caller's turn, and when it was told to come: then or later."""
        if len(self._ends) >= _MOST:
            return
        visit = _Visit(due, turn, tokens, scopes)
        for scope in scopes:
            self._turns.setdefault(scope, _Turns()).add(who[0], visit)
        if who in self._visits:
            self._forget(who)
        self._visits[who] = visit
        self.count += 1
        self._turn += 1
        heapq.heappush(self._ends, (due + _GRACE, self._turn, who))

    def told(self, who: Who) -> tuple[float, float] | None:
        """Return a caller's turn, and when it was told to come; None if it was told nothing."""
        visit = self._visits.get(who)
        return None if visit is None else (visit.turn, visit.due)

    def why(self, scope: Hashable) -> LimitError | None:
        """Return the denial that was in the way of those who are to come, as far as it is known."""
        turns = self._turns.get(scope)
        return None if turns is None else turns.why

    def blame(self, scope: Hashable, denial: LimitError) -> None:
        """Note what is in the way of those who are to come."""
        if (turns := self._turns.get(scope)) is not None:
            turns.why = denial

    def take(self, who: Who) -> None:
        """Forget a caller, for it has come; it may never have been told to."""
        if (visit := self._visits.get(who)) is not None:
            for scope in visit.scopes:
                turns = self._turns[scope]
                turns.faith += _DOUBT * (1.0 - turns.faith)
            self._forget(who)

    def expected(self, scope: Hashable, key: Hashable, until: float) -> Crowd:
        """Return who will come, and whose turn is until then; a key's own apart from the others.

        Not all come: as many as did lately.
        """
        turns = self._turns.get(scope)
        return NOBODY if turns is None else turns.expected(key, until)

    def expire(self, now: float) -> None:
        """Forget those who have not come."""
        while self._ends and self._ends[0][0] <= now:
            end, _, who = heapq.heappop(self._ends)
            visit = self._visits.get(who)
            if visit is not None and visit.due + _GRACE <= end:
                for scope in visit.scopes:
                    turns = self._turns[scope]
                    turns.faith -= _DOUBT * turns.faith
                self._forget(who)

    def _forget(self, who: Who) -> None:
        visit = self._visits.pop(who)
        self.count -= 1
        for scope in visit.scopes:
            turns = self._turns[scope]
            turns.drop(who[0], visit)
            if not turns.all:
                del self._turns[scope]
