"""Counts calls for Prometheus: own cells on the hot path, an exposition at each scrape.

A record costs a few dictionary look-ups; what a scrape needs is added up when it comes. Label
values are bounded: names that the configuration knows, else `other`, and never more than
`SERIES` combinations, so that no caller can make a process or a Prometheus run out of memory.
"""

import logging
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from headworks.core.queue import PRIORITIES
from headworks.core.queue_rules import rank_of
from headworks.types import Call, Route

_log = logging.getLogger("headworks.observe")

SERIES = 10_000
"""How many combinations of label values are told apart."""

OTHER = "other"

_OUTCOMES, _KEYS, _LONGEST = 200, 1000, 100
"""How many outcomes and unannounced keys are told apart, and how long their names may be."""

_NANO = 1_000_000_000

_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds of the histograms' buckets, in seconds: model calls last from 50 ms to 10 minutes."""

_KINDS = ("input", "output", "cached", "reasoning")

_LIMITS = {
    "rate_limit_exceeded": "rpm",
    "parallel_limit_exceeded": "parallel",
    "queue_full": "queue",
    "insufficient_quota": "budget",
}

_TIMEOUTS = {
    "upstream_connect_timeout": "connect",
    "upstream_first_byte_timeout": "first_byte",
    "upstream_idle_timeout": "idle",
    "deadline_exceeded": "total",
}
"""Which of the four waits an attempt's outcome says was over."""

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: its name as Prometheus shows it, its labels and what it counts."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


_CALLS = Family("headworks_calls_total", "counter", ("model", "key", "outcome"), "Calls finished.")
_RESPONSES = Family(
    "headworks_responses_total", "counter", ("status",), "Calls by class of HTTP status."
)
_ATTEMPTS = Family(
    "headworks_attempts_total", "counter", ("route", "outcome"), "Requests sent upstream."
)
_LATE = Family(
    "headworks_timeouts_total",
    "counter",
    ("upstream", "model", "kind"),
    "Requests sent upstream that one of the four waits ended, those made good later included.",
)
_TOKENS = Family("headworks_tokens_total", "counter", ("model", "kind"), "Tokens used.")
_COST = Family("headworks_cost_usd_total", "counter", ("model", "key"), "Cost in US dollars.")
_UNPRICED = Family(
    "headworks_unpriced_calls_total",
    "counter",
    ("model", "key"),
    "Calls of which a part has no known price, so that their cost is not counted.",
)
_LIMITED = Family(
    "headworks_limited_total", "counter", ("key", "limit"), "Calls refused by a limit of their key."
)
_FILTERED = Family(
    "headworks_filtered_total",
    "counter",
    ("model", "side"),
    "Calls of which a provider's content filter stopped the prompt or the answer.",
)
_HEDGES = Family(
    "headworks_hedges_total",
    "counter",
    ("model", "outcome"),
    "Second attempts sent beside one that was late.",
)
_SECONDS = Family(
    "headworks_call_seconds", "histogram", ("model",), "Seconds from request to last byte."
)
_FIRST_BYTE = Family(
    "headworks_first_byte_seconds",
    "histogram",
    ("model",),
    "Seconds from request to the first byte of the answer.",
)
_QUEUED = Family(
    "headworks_queued_seconds",
    "histogram",
    ("priority",),
    "Seconds that calls waited for a limit; those that did not wait are not counted.",
)
FAMILIES = (
    _CALLS,
    _RESPONSES,
    _ATTEMPTS,
    _LATE,
    _TOKENS,
    _COST,
    _UNPRICED,
    _LIMITED,
    _FILTERED,
    _HEDGES,
    _SECONDS,
    _FIRST_BYTE,
    _QUEUED,
)
"""Every metric that calls feed; others are registered by whoever knows their value."""

Sample = tuple[str, tuple[str, ...], float]
"""What is added to the family's name, the values of its labels, the number."""

Reading = float | Mapping[str, float]
"""A gauge's value, or its values by that of its label."""


class Cell:
    """What the calls of one model, key and outcome add up to."""

    __slots__ = ("calls", "cost", "limited", "unpriced")

    def __init__(self) -> None:
        self.calls = 0
        self.cost = 0
        self.unpriced = 0
        self.limited = 0


class Histogram:
    """How many values fell below each bound, and their sum."""

    __slots__ = ("buckets", "sum")

    def __init__(self) -> None:
        self.buckets = [0] * (len(_BOUNDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count a value."""
        self.buckets[bisect_left(_BOUNDS, seconds)] += 1
        self.sum += seconds

    def samples(self, labels: tuple[str, ...]) -> Iterator[Sample]:
        """Yield what Prometheus wants to know of it."""
        total = 0
        for bound, count in zip((*map(str, _BOUNDS), "+Inf"), self.buckets, strict=True):
            total += count
            yield "_bucket", (*labels, bound), total
        yield "_count", labels, total
        yield "_sum", labels, self.sum


class ModelCell:
    """What the calls of one model add up to."""

    __slots__ = ("cached", "first", "input", "output", "reasoning", "total")

    def __init__(self) -> None:
        self.input = self.output = self.cached = self.reasoning = 0
        self.total = Histogram()
        self.first = Histogram()

    def add(self, call: Call) -> None:
        """Add a finished call."""
        usage, started = call.usage, call.started
        self.input += usage.input
        self.output += usage.output
        if usage.cached:
            self.cached += usage.cached
        if usage.reasoning:
            self.reasoning += usage.reasoning
        if (ended := call.ended) is not None:
            total, seconds = self.total, ended - started
            total.buckets[bisect_left(_BOUNDS, seconds)] += 1
            total.sum += seconds
        if (answered := call.answered) is not None:
            first, seconds = self.first, answered - started
            first.buckets[bisect_left(_BOUNDS, seconds)] += 1
            first.sum += seconds


class Names:
    """A bounded set of label values: those announced, and the first few others if allowed."""

    __slots__ = ("_known", "_room")

    def __init__(self, announced: Iterable[str], room: int = 0) -> None:
        self._known = {name: name for name in announced}
        self._room = room

    def label(self, name: str) -> str:
        """Return the name, or `other` when there is no room for it."""
        known = self._known.get(name)
        if known is not None:
            return known
        if not self._room or len(name) > _LONGEST:
            return OTHER
        self._room -= 1
        return self._known.setdefault(name, name)

    def announce(self, names: Iterable[str]) -> None:
        """Let more names be told apart, as after a reload."""
        self._known.update({name: name for name in names})


class Metrics:
    """A `Journal` that counts. One loop records; any thread may render."""

    def __init__(self, models: Iterable[str] = (), keys: Iterable[str] = ()) -> None:
        self._models = Names(("", *models))
        self._keys = Names(("", *keys), _KEYS)
        self._outcomes = Names(_TIMEOUTS, _OUTCOMES)
        self._cells: dict[tuple[str, str, str], Cell] = {}
        self._by_model: dict[str, ModelCell] = {}
        self._attempts: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self._filtered: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._hedges: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._queued: defaultdict[str, Histogram] = defaultdict(Histogram)
        self._statuses = [0] * 10
        self._gauges: dict[str, tuple[Family, Callable[[], Reading]]] = {}

    def announce(self, models: Iterable[str] = (), keys: Iterable[str] = ()) -> None:
        """Tell more models and keys apart by name, as after a reload."""
        self._models.announce(models)
        self._keys.announce(keys)

    def label(self, model: str) -> str:
        """Return a model's name as it may stand in a label: itself if it was announced."""
        return self._models.label(model)

    def gauge(
        self,
        name: str,
        help: str,  # noqa: A002 - Prometheus' own word
        read: Callable[[], Reading],
        label: str = "",
    ) -> None:
        """Show what `read` returns at each scrape: a number, or numbers by the value of `label`."""
        family = Family(name, "gauge", (label,) if label else (), help)
        self._gauges[name] = (family, read)

    def counter(
        self,
        name: str,
        help: str,  # noqa: A002 - Prometheus' own word
        read: Callable[[], Reading],
        label: str = "",
    ) -> None:
        """Show a count that somebody else keeps, as `gauge` does; its name ends in `_total`."""
        family = Family(name, "counter", (label,) if label else (), help)
        self._gauges[name] = (family, read)

    def families(self) -> tuple[Family, ...]:
        """Return every metric there is, gauges included."""
        return (*FAMILIES, *(family for family, _ in self._gauges.values()))

    def record(self, call: Call) -> None:
        """Count a finished call."""
        asked, caller, outcome = call.asked, call.caller, call.outcome
        key = "" if caller is None else caller.name
        cell = self._cells.get((asked, key, outcome)) or self._cell(asked, key, outcome)
        cell.calls += 1
        if (cost := call.cost) is None:
            cell.unpriced += 1
        else:
            cell.cost += cost
        if call.attempts:
            self._count_attempts(call)
        elif outcome in _LIMITS:
            cell.limited += 1
        if call.filtered:
            self._filtered[self._models.label(asked), call.filtered] += 1
        if call.hedge:
            self._hedges[self._models.label(asked), call.hedge] += 1
        if call.queued:
            self._queued[PRIORITIES[rank_of(call)]].add(call.queued)
        self._statuses[call.status // 100 % 10] += 1
        (self._by_model.get(asked) or self._model_cell(asked)).add(call)

    # Labels stand for themselves, so that cells are found by the names as they come.

    def _cell(self, model: str, key: str, outcome: str) -> Cell:
        """Return the cell of a combination that was not met under these very names."""
        names = self._models.label(model), self._keys.label(key), self._outcomes.label(outcome)
        if names not in self._cells and len(self._cells) >= SERIES:
            names = (OTHER, OTHER, OTHER)
        return self._cells.get(names) or self._cells.setdefault(names, Cell())

    def _model_cell(self, model: str) -> ModelCell:
        """Return the cell of a model that was not met under this very name."""
        name = self._models.label(model)
        return self._by_model.get(name) or self._by_model.setdefault(name, ModelCell())

    def _count_attempts(self, call: Call) -> None:
        failed = [(one.route, one.code) for one in call.trail if one.code] if call.trail else ()
        for route, outcome in failed:
            self._count_attempt(route, outcome)
        if call.route is not None and call.attempts > len(failed):
            self._count_attempt(call.route, call.outcome)

    def _count_attempt(self, route: Route, outcome: str) -> None:
        names = route.upstream, route.model, outcome
        if names not in self._attempts:
            model = self._models.label(route.model)
            names = route.upstream, model, self._outcomes.label(outcome)
        self._attempts[names] += 1

    def samples(self) -> Iterator[tuple[Family, list[Sample]]]:
        """Yield every metric as it stands."""
        cells, models = tuple(self._cells.items()), tuple(self._by_model.items())
        yield _CALLS, [("", names, cell.calls) for names, cell in cells]
        yield (
            _RESPONSES,
            [
                ("", (f"{hundred}xx",), count)
                for hundred, count in enumerate(self._statuses)
                if count
            ],
        )
        yield (
            _ATTEMPTS,
            [
                ("", (f"{upstream}/{model}", outcome), count)
                for (upstream, model, outcome), count in tuple(self._attempts.items())
            ],
        )
        yield (
            _LATE,
            [
                ("", (upstream, model, _TIMEOUTS[outcome]), count)
                for (upstream, model, outcome), count in tuple(self._attempts.items())
                if outcome in _TIMEOUTS
            ],
        )
        yield (
            _TOKENS,
            [("", (model, kind), getattr(cell, kind)) for model, cell in models for kind in _KINDS],
        )
        yield _COST, _summed((names[:2], cell.cost / _NANO) for names, cell in cells)
        yield _UNPRICED, _summed((names[:2], cell.unpriced) for names, cell in cells)
        yield (
            _LIMITED,
            _summed(
                ((key, _LIMITS.get(outcome, OTHER)), cell.limited)
                for (_, key, outcome), cell in cells
                if cell.limited
            ),
        )
        yield _FILTERED, [("", names, count) for names, count in tuple(self._filtered.items())]
        yield _HEDGES, [("", names, count) for names, count in tuple(self._hedges.items())]
        yield _SECONDS, [s for model, cell in models for s in cell.total.samples((model,))]
        yield _FIRST_BYTE, [s for model, cell in models for s in cell.first.samples((model,))]
        queued = tuple(self._queued.items())
        yield _QUEUED, [s for priority, found in queued for s in found.samples((priority,))]
        for family, read in tuple(self._gauges.values()):
            yield family, _readings(family, read)


def _summed(parts: Iterable[tuple[tuple[str, ...], float]]) -> list[Sample]:
    sums: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for names, value in parts:
        sums[names] += value
    return [("", names, value) for names, value in sums.items()]


def _readings(family: Family, read: Callable[[], Reading]) -> list[Sample]:
    try:
        reading = read()
    except Exception:  # noqa: BLE001 - one broken gauge must not hide the others
        _log.exception("the gauge %s could not be read", family.name)
        return []
    if isinstance(reading, Mapping):
        return [("", (name,), value) for name, value in reading.items()]
    return [("", (), reading)]
