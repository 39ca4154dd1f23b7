"""How routes are: what their last calls showed, and who may be sent to them now."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final, Literal

from headworks.core.breaker import Forced, State
from headworks.core.demand import Demand
from headworks.core.upstream_signs import MEASURES
from headworks.ports import Clock, Random
from headworks.stores.health_admission import Admission
from headworks.stores.health_track import HealthRules, Place, Track
from headworks.types import Plan, Refusal, Route

_MOST: Final = 1000
"""Routes remembered: callers may invent models, so that there is no end of them."""

_RULES = HealthRules()


@dataclass(frozen=True, slots=True)
class RouteLimit:
    """One limit of a route.

    Attributes:
        measure: What is limited: "requests" or "tokens".
        seconds: The period of the limit: a minute or a day.
        left: What is left now, by our reckoning.
        is_learned: Whether the provider said so, not the operator.
    """

    measure: str
    seconds: float
    limit: float
    left: float
    is_learned: bool


@dataclass(frozen=True, slots=True)
class RouteHealth:
    """How one route is.

    Attributes:
        since: When its breaker came to that state, in seconds since 1970.
        calls: Calls of the last 30 s whose outcome is known; `failures` and `slow` of them.
        latency: Seconds until its answers begin; the latest and the slowest weigh most.
        pace: Calls a second that may go there since the provider asked to slow down, None for all.
        refusal: Why nobody is sent there now, None where calls may go.
        limits: The provider's limits as they are known, and what the operator allows.
        waiting: Calls that wait in line for these limits.
        most: Calls that may be under way since the provider had too many, None for all.
    """

    upstream: str
    credential: str
    model: str
    state: State
    forced: Forced | None
    since: float
    calls: int
    failures: int
    slow: int
    in_flight: int
    latency: float
    refusal: Refusal | None
    pace: float | None = None
    limits: tuple[RouteLimit, ...] = ()
    waiting: int = 0
    most: float | None = None


@dataclass(frozen=True, slots=True)
class UpstreamHealth:
    """How one upstream is.

    Attributes:
        requests: Requests of the last 10 s that were no retries; `retries` likewise.
        retries_left: Retries that its budget allows now.
        opened: How often breakers of its routes opened by themselves, since the start.
        cooldowns: Pauses that the provider asked for, and credentials found without quota.
        refused: Retries that the budget did not allow.
        waiting: Calls that wait in line for its limits.
    """

    name: str
    forced: Forced | None
    requests: int
    retries: int
    retries_left: int
    opened: int
    cooldowns: int
    refused: int
    waiting: int
    routes: tuple[RouteHealth, ...]


class MemoryHealth:
    """The health of every route, in this process. Forgets the routes unused for longest."""

    def __init__(
        self, clock: Clock, random: Random, rules: Mapping[str, HealthRules] | None = None
    ) -> None:
        self._clock = clock
        self._random = random
        self._places: dict[str, Place] = {}
        self._tracks: OrderedDict[tuple[str, str, str], Track] = OrderedDict()
        self._has_peers = False
        self.adopt(rules or {})

    def admit(
        self,
        route: Route,
        demand: Demand | None = None,
        /,
        *,
        is_retry: bool = False,
        is_last: bool = False,
        in_line: bool = False,
        met_limit: bool = False,
    ) -> Admission | Refusal:
        """Let an attempt be made, or say why not."""
        now = self._clock.now()
        track = self._find(route, now)
        refusal = track.refusal(
            now, demand, is_retry=is_retry, is_last=is_last, in_line=in_line, met_limit=met_limit
        )
        if refusal is not None:
            track.place.refused += refusal.reason == "budget"
            track.bind(now)
            return refusal
        budget, breaker, account = track.place.budget, track.breaker, track.account
        track.admit(now, in_line=in_line)
        (budget.withdraw if is_retry else budget.deposit)(now)
        era = breaker.era if breaker.state == "closed" else breaker.admit(now, is_last=is_last)
        paid = account.era if account.state == "closed" else account.admit(now, is_last=is_last)
        bucket = track.bucket
        slip = None if demand is None or not bucket.levels else bucket.take(demand, now)
        return Admission(track, route.timeouts.total, now, era, paid, slip)

    def refusal(
        self,
        route: Route,
        demand: Demand | None = None,
        /,
        *,
        is_retry: bool = False,
        met_limit: bool = False,
    ) -> Refusal | None:
        """Return what `admit` would refuse for now, None if it would admit; changes nothing."""
        now = self._clock.now()
        return self._find(route, now).refusal(now, demand, is_retry=is_retry, met_limit=met_limit)

    def by_room(self, plan: Plan) -> Plan:
        """Return the plan with the credentials of each place in the order of what is left there.

        Those of which nothing is known count as unused; equals stay in their order.
        """
        if not self._has_peers or len(plan.routes) == 1:
            return plan
        runs = [[*run] for _, run in groupby(plan.routes, lambda one: (one.upstream, one.model))]
        routes = [one for run in runs for one in (run if len(run) == 1 else self._sorted(run))]
        return replace(plan, routes=tuple(routes)) if routes != [*plan.routes] else plan

    def _sorted(self, run: list[Route]) -> list[Route]:
        now = self._clock.now()
        rooms = [self._find(one, now).bucket.room(now) for one in run]
        order = sorted(range(len(run)), key=lambda at: -rooms[at])
        return [run[at] for at in order]

    def may_return(self, route: Route) -> bool:
        """Return whether a caller that is refused may come back by itself: it draws on the budget."""
        now = self._clock.now()
        budget = self._find(route, now).place.budget
        if not budget.left(now):
            return False
        budget.withdraw(now)
        return True

    def line_up(self, route: Route, demand: Demand | None = None) -> None:
        """Keep a place there for a call that waits as `refusal` says; the next waits longer."""
        now = self._clock.now()
        track = self._find(route, now)
        if demand is not None and (track.bucket.levels or track.concurrency is not None):
            track.bucket.line_up(demand)
        if track.pace is not None:
            track.pace.line_up(now, track.cool_until)

    def load(self, route: Route) -> float:
        """Return how long the route would keep one more call waiting, in seconds; changes nothing.

        It is 0 for a route of which nothing is known, so that it is tried.
        """
        track = self._tracks.get(route.key)
        return 0.0 if track is None else track.load(self._clock.now())

    def adopt(self, rules: Mapping[str, HealthRules]) -> None:
        """Follow these rules from now on; upstreams that they do not name are forgotten."""
        gone = {
            name
            for name, place in self._places.items()
            if name not in rules or rules[name].way != place.rules.way
        }
        for name in gone:
            del self._places[name]
        for key in [key for key in self._tracks if key[0] in gone]:
            del self._tracks[key]
        for name, one in rules.items():
            self._place(name, one).follow(one)
        for track in self._tracks.values():
            track.follow(self._clock.now())
        self._has_peers = any(one.has_peers for one in rules.values())

    def force(
        self,
        upstream: str,
        state: Forced | Literal["auto"],
        *,
        credential: str | None = None,
        model: str | None = None,
    ) -> bool:
        """Hold breakers open or closed until they are released; False if there is no such route.

        Without a credential and a model it holds for the whole upstream, routes included that
        nobody has used yet. Closing also ends the routes' cooldowns.
        """
        place, now = self._places.get(upstream), self._clock.now()
        tracks = list(self._matching(upstream, credential, model))
        is_whole = credential is None and model is None
        if place is None or not (is_whole or tracks):
            return False
        if is_whole:
            place.forced = None if state == "auto" else state
        for track in tracks:
            track.force(state, now)
        return True

    def statistics(self) -> tuple[UpstreamHealth, ...]:
        """Return how each upstream is, with each of its routes that is known."""
        now, at = self._clock.now(), self._clock.time()
        routes: dict[str, list[RouteHealth]] = {name: [] for name in self._places}
        for (upstream, credential, model), track in self._tracks.items():
            breaker = track.breaker
            routes[upstream].append(
                RouteHealth(
                    upstream,
                    credential,
                    model,
                    breaker.state,
                    breaker.forced,
                    at - (now - breaker.since),
                    *breaker.counts(now),
                    track.in_flight,
                    track.latency.seconds,
                    track.refusal(now),
                    track.held_to(now),
                    _limits(track, now),
                    track.bucket.waiting,
                    None if track.concurrency is None else track.concurrency.most,
                )
            )
        return tuple(
            UpstreamHealth(
                name,
                place.forced,
                *place.budget.counts(now),
                place.budget.left(now),
                place.opened,
                place.cooldowns,
                place.refused,
                sum(bucket.waiting for bucket in place.buckets.values()),
                tuple(routes[name]),
            )
            for name, place in self._places.items()
        )

    def _find(self, route: Route, now: float) -> Track:
        """Return the route's track as the one used last."""
        key = route.key
        track = self._tracks.get(key)
        if track is not None:
            self._tracks.move_to_end(key)
            return track
        place = self._place(route.upstream, _RULES)
        if len(self._tracks) >= _MOST:
            self._forget_one()
        track = self._tracks[key] = Track(route, place, now)
        return track

    def _place(self, name: str, rules: HealthRules) -> Place:
        place = self._places.get(name)
        if place is None:
            place = self._places[name] = Place(rules, self._clock, self._random)
        return place

    def _forget_one(self) -> None:
        """Forget the route unused for longest, one that was set by hand only if all were."""
        tracks = self._tracks
        plain = (key for key, one in tracks.items() if one.breaker.forced == one.place.forced)
        del tracks[next(plain, next(iter(tracks)))]

    def _matching(
        self, upstream: str, credential: str | None, model: str | None
    ) -> Iterator[Track]:
        for key, track in self._tracks.items():
            if key[0] == upstream and credential in {None, key[1]} and model in {None, key[2]}:
                yield track


def _limits(track: Track, now: float) -> tuple[RouteLimit, ...]:
    return tuple(
        RouteLimit(MEASURES[one.measure], one.period, one.limit, one.value(now), one.is_learned)
        for one in track.bucket.levels
    )
