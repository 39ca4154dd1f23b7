"""The limits of one account at a provider for one model, or for models that share them.

A call goes when each limit has room for it, and else waits in line: what it will take is set aside,
so that the next one waits for as much longer. Nobody is passed by in the line, and whoever comes
new stands behind it, so that a large call is not starved by small ones. Who leaves the line frees
its place for those who come.

What a call takes is a guess, learned by what the provider charges in fact: between two answers
whose requests were sent one right after the other, the level falls by the charge of the second.

After a refusal nobody goes until the provider's wait is over. Then one call tries; with each that
goes well two more may follow, and in any case twice as many as before where none was refused for a
moment, since refusals are quick and answers are not.

Sources: OpenAI's rate limit guide and error texts; `upstream_signs` for the formulas.
"""

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from headworks.core.demand import Demand
from headworks.core.upstream_level import Level, Sample
from headworks.core.upstream_signs import MINUTE, REQUESTS, TOKENS, Measure, Reading, Told

_FORGET: Final = 3600.0
"""Seconds after which a limit of which the provider does not speak any more is forgotten."""

_LEAST, _MOST, _MEMORY = 0.2, 1.5, 0.1
"""Bounds of the learned factor of a charge, and the weight of a new sample."""

_PROVEN: Final = 16
"""Calls that must go well after a pause before all may go again."""

_RAMP: Final = 5.0
"""Seconds after a pause's first call that went well in which the rest may go again anyway."""

_MOMENT, _TICK = 2.0, 0.25
"""Seconds in which a call would have been refused; who waits asks so often."""

_NONE: Final = (0.0, 0.0)

_GLANCE: Final = 0.2
"""Seconds between two answers that are heard."""

_SNAPSHOT: Final = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|latest)\Z")


@dataclass(frozen=True, slots=True)
class Caps:
    """What an operator allows a minute of one model by one credential, None for any number."""

    rpm: int | None = None
    tpm: int | None = None

    def lower(self, other: "Caps") -> "Caps":
        """Return what both allow."""
        return Caps(_lower(self.rpm, other.rpm), _lower(self.tpm, other.tpm))


NO_CAPS: Final = Caps()


class Place:
    """A place in a line: the sums of requests and tokens before it, and its own tokens.

    One that is left stays until all before it are gone, so that nobody else's changes.
    """

    __slots__ = ("is_open", "requests", "tokens", "weight")

    def __init__(self, requests: float, tokens: float, weight: float) -> None:
        self.requests, self.tokens, self.weight = requests, tokens, weight
        self.is_open = True


class Slip(msgspec.Struct):
    """What a call took when it went.

    Attributes:
        number: Its place among all that went.
        sent: Sums of requests and tokens that went, its own included.
        is_refused: Whether the provider did not take them.
    """

    demand: Demand
    number: int
    tokens: float
    sent: tuple[float, float]
    is_refused: bool = False


class Bucket:
    """Some limits with one line before them; none are known at first, and then nobody waits.

    Attributes:
        levels: The limits that are known.
        waiting: Calls in the line.
    """

    __slots__ = (
        "__weakref__", "_caps", "_credit", "_factors", "_gone", "_heard", "_held", "_line", "_next_look",
        "_next_number", "_number", "_proven", "_sent", "_tried", "_until", "_wave", "levels", "waiting",
    )  # fmt: skip

    def __init__(self, caps: Caps, now: float) -> None:
        self._caps = NO_CAPS
        self.levels: tuple[Level, ...] = ()
        self.waiting = 0
        self._line, self._held, self._gone = deque[Place](), 0.0, (0.0, 0.0)
        self._sent = 0.0, 0.0
        self._factors: dict[str, float] = {}
        self._number, self._heard = 0, (-1.0, 0)
        self._credit: int | None = None
        self._until = self._tried = self._proven = 0.0
        self._wave = 1
        self._next_look, self._next_number = 0.0, 0
        self.cap(caps, now)

    def cap(self, caps: Caps, now: float) -> None:
        """Follow what the operator allows; what was learned stays."""
        if caps == self._caps:
            return
        self._caps = caps
        known = {one.measure: one for one in self.levels if not one.is_learned}
        levels = [one for one in self.levels if one.is_learned]
        allowed: tuple[tuple[Measure, int | None], ...]
        allowed = (REQUESTS, caps.rpm), (TOKENS, caps.tpm)
        for measure, limit in allowed:
            if limit is not None:
                level = known.get(measure) or Level(measure, limit, MINUTE, now, is_learned=False)
                level.bound(limit, now)
                levels.append(level)
        self.levels = tuple(levels)

    def cost(self, demand: Demand) -> float:
        """Return the tokens that a call is going to be charged."""
        if (told := demand.told) is not None:
            return told
        tokens = demand.counted
        if tokens is None:
            tokens = demand.tokens
        return tokens * self._factors.get(demand.request.path, 1.0) if self._factors else tokens

    def wait(self, demand: Demand, now: float) -> float:
        """Return the seconds until the call may go, 0.0 where it may now; changes nothing."""
        ahead = self.ahead(demand) if self.waiting else _NONE
        needs, longest = (1.0, self.cost(demand)), 0.0
        for level in self.levels:
            need, before = needs[level.measure], ahead[level.measure]
            if need + before > level.left - level.kept:
                longest = max(longest, level.wait(need, before, now))
        return longest if self._credit is None else max(longest, self._rest(now))

    def ahead(self, demand: Demand | None) -> tuple[float, float]:
        """Return the requests and tokens that stand before a call in the line."""
        place = demand.place if demand is not None and demand.line is self else None
        if place is None:
            return float(self.waiting), self._held
        return place.requests - self._gone[0], place.tokens - self._gone[1]

    def line_up(self, demand: Demand) -> None:
        """Let a call wait in the line; one that is there keeps its place."""
        if demand.line is self:
            return
        demand.leave()
        last = self._line[-1] if self._line else None
        before = self._gone if last is None else (last.requests + 1.0, last.tokens + last.weight)
        place = Place(*before, self.cost(demand))
        self._line.append(place)
        demand.line, demand.place = self, place
        self._held += place.weight
        self.waiting += 1

    def leave(self, demand: Demand) -> None:
        """Let a call leave the line that it stands in."""
        place, line = demand.place, self._line
        demand.line = demand.place = None
        if place is None:
            return
        place.is_open = False
        self.waiting -= 1
        self._held = self._held - place.weight if self.waiting else 0.0
        while line and not line[0].is_open:
            gone = line.popleft()
            self._gone = gone.requests + 1.0, gone.tokens + gone.weight
        if not line:
            self._gone = 0.0, 0.0

    def take(self, demand: Demand, now: float) -> Slip:
        """Let a call go."""
        if demand.line is not None:
            demand.leave()
        tokens = self.cost(demand)
        self._take(1.0, tokens, now)
        self._number = number = self._number + 1
        if self._credit is not None:
            self._try(now)
        return Slip(demand, number, tokens, self._sent)

    def give_back(self, slip: Slip, now: float) -> None:
        """Take back what a call took that was never sent."""
        self._take(-1.0, -slip.tokens, now)

    def hear(self, slip: Slip | None, begun: float, found: Iterable[Reading], now: float) -> None:
        """Learn from the fields of an answer; `slip` None: nothing was known when the call went."""
        self.prove(begun, now)
        number = 0 if slip is None else slip.number
        self._next_look = now + _GLANCE
        self._next_number = 0 if number == self._next_number else number + 1
        self._read(slip, begun, found, now)

    def is_worth(self, slip: Slip | None, now: float) -> bool:
        """Return whether an answer is to be heard: of many, a few a second tell as much as all.

        Two whose calls went one right after the other tell what the second was charged.
        """
        if now >= self._next_look or self._credit is not None:
            return True
        return slip is not None and slip.number == self._next_number

    def refuse(
        self,
        slip: Slip | None,
        begun: float,
        found: Iterable[Reading],
        said: Told | None,
        now: float,
    ) -> None:
        """Learn from the refusal of a call: its tokens were not taken."""
        if slip is not None:
            self._take(0.0, -slip.tokens, now)
            slip.sent = slip.sent[0], slip.sent[1] - slip.tokens
            slip.is_refused = True
        self._read(slip, begun, found, now)
        if said is None:
            return
        level = self._find(said.measure, said.period, said.limit, now)
        if slip is not None and said.measure == TOKENS:
            slip.demand.told = float(said.requested)
        if (begun, 0 if slip is None else slip.number) >= self._heard:
            left = float(max(0, said.limit - said.used))
            sample = Sample(left, begun, 0.0 if slip is None else slip.sent[said.measure])
            level.correct(sample, self._sent[said.measure], now, is_exact=True)

    def pause(self, seconds: float, now: float) -> None:
        """Let nobody go for so long, and then one to begin with."""
        self._until = max(self._until, now + seconds)
        self._credit, self._wave, self._proven = 1, 1, 0.0

    @property
    def is_resting(self) -> bool:
        """Whether not all may go again yet after a pause."""
        return self._credit is not None

    def prove(self, begun: float, now: float) -> None:
        """Let more follow a call that went well after a pause."""
        if self._credit is None or begun < self._until:
            return
        self._proven = self._proven or now
        self._credit += 2
        if self._credit > _PROVEN or now >= self._proven + _RAMP:
            self._credit = None

    def forgive(self) -> None:
        """Forget what was learned, and a pause."""
        self.levels = tuple(one for one in self.levels if not one.is_learned)
        self._credit, self._until = None, 0.0

    def room(self, now: float) -> float:
        """Return the share that is left of the limit that is nearest, the line counted in."""
        held = self.waiting, self._held
        shares = [(one.value(now) - held[one.measure]) / one.limit for one in self.levels]
        return min(shares, default=1.0)

    def _rest(self, now: float) -> float:
        """Return the seconds of a pause that are left, or until a probe may have told more."""
        if now < self._until:
            return self._until - now
        if self._credit or now >= self._tried + _MOMENT:
            return 0.0
        return _TICK

    def _try(self, now: float) -> None:
        """Count a call that goes after a pause."""
        credit = self._credit
        if not credit:
            self._wave *= 2
            credit = self._wave
        self._credit, self._tried = credit - 1, now
        if self._wave > _PROVEN:
            self._credit = None

    def _read(self, slip: Slip | None, begun: float, found: Iterable[Reading], now: float) -> None:
        number = 0 if slip is None else slip.number
        if (begun, number) < self._heard:
            return  # an answer to a later call has told more
        is_next = number == self._heard[1] + 1 > 1
        self._heard = begun, number
        for reading in found:
            level = self._level(reading, now)
            sent = 0.0 if slip is None else slip.sent[reading.measure]
            sample = Sample(reading.level(level.period), begun, sent)
            if slip is not None and is_next and reading.measure == TOKENS:
                self._learn(slip, level.observed(sample))
            level.correct(sample, self._sent[reading.measure], now)
        self._forget(now)

    def _take(self, requests: float, tokens: float, now: float) -> None:
        amounts = requests, tokens
        self._sent = self._sent[0] + requests, self._sent[1] + tokens
        for level in self.levels:
            amount = amounts[level.measure]
            if abs(amount) <= level.limit or not level.is_learned:  # else it is refused anyway
                level.take(amount, now)

    def _learn(self, slip: Slip, observed: float | None) -> None:
        """Learn what requests of a kind are charged."""
        demand = slip.demand
        if observed is None or demand.tokens <= 0 or slip.is_refused:
            return
        ratio = max(_LEAST, min(_MOST, observed / demand.tokens))
        factor = self._factors.get(demand.request.path, 1.0)
        self._factors[demand.request.path] = (1 - _MEMORY) * factor + _MEMORY * ratio

    def _level(self, reading: Reading, now: float) -> Level:
        """Return the limit that the fields of an answer speak of."""
        known = [one for one in self.levels if one.is_learned and one.measure == reading.measure]
        only = known[0] if len(known) == 1 else None
        if only is not None and only.limit == reading.limit and only.is_confirmed:
            return only
        period = reading.period()
        if only is not None and period is not None and not only.is_confirmed:
            self.levels = tuple(one for one in self.levels if one is not only)
            known = [one for one in known if one.period == period]
        guessed = known[0].period if known else MINUTE
        level = self._find(reading.measure, period or guessed, reading.limit, now)
        level.is_confirmed = level.is_confirmed or period is not None
        return level

    def _find(self, measure: Measure, period: float, limit: int, now: float) -> Level:
        for level in self.levels:
            if level.is_learned and (level.measure, level.period) == (measure, period):
                level.bound(limit, now)
                return level
        level = Level(measure, limit, period, now, is_learned=True)
        self.levels = (*self.levels, level)
        return level

    def _forget(self, now: float) -> None:
        if any(one.is_learned and now > one.said + _FORGET for one in self.levels):
            self.levels = tuple(
                one for one in self.levels if not one.is_learned or now <= one.said + _FORGET
            )


def _lower(one: int | None, other: int | None) -> int | None:
    return min(filter(None, (one, other)), default=None)


def family(model: str) -> str:
    """Return the name under which a model shares limits with its dated snapshots."""
    return _SNAPSHOT.sub("", model)
