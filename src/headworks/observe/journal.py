"""Where finished calls are remembered: a log line each, and a fan-out to several journals."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from headworks.observe.log import Redaction
from headworks.ports import Journal
from headworks.types import Call, Tried

_log = logging.getLogger("headworks.observe")

_NANO = 1_000_000_000
_FLUSH_SECONDS = 0.1
_FLUSH_LINES = 500


Shown = Callable[[tuple[str, ...]], tuple[str, ...]]
"""Takes secrets out of what callers and providers said, text by text."""


class Line(msgspec.Struct):
    """What the call log tells of a call; None is what was never known."""

    time: datetime
    call: str
    key: str | None
    project: str | None
    feature: str
    user: str
    model: str
    route: str | None
    status: int
    outcome: str
    attempts: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost_usd: float | None
    duration_ms: float | None
    first_byte_ms: float | None
    context: str | None
    filtered: str | None
    hedge: str | None
    trail: list[dict[str, object]]


def line_of(call: Call, shown: Shown) -> Line:
    """Return what the call log tells of a call."""
    caller, route, usage, tags = call.caller, call.route, call.usage, call.request.tags
    started, ended, answered = call.started, call.ended, call.answered
    place = "" if route is None else route.place
    said = shown((tags.feature, tags.user, call.asked, place, call.outcome))
    feature, user, asked, place, outcome = said
    return Line(
        datetime.fromtimestamp(call.time, UTC),
        call.id,
        None if caller is None else caller.name,
        None if caller is None else caller.project,
        feature,
        user,
        asked,
        place or None,
        call.status,
        outcome,
        call.attempts,
        usage.input,
        usage.output,
        usage.cached,
        usage.reasoning,
        None if call.cost is None else call.cost / _NANO,
        None if ended is None else _milliseconds(ended - started),
        None if answered is None else _milliseconds(answered - started),
        None if call.fitted is None else str(call.fitted),
        call.filtered or None,
        call.hedge or None,
        [_step(one, shown) for one in call.trail] if call.trail else [],
    )


def _step(one: Tried, shown: Shown) -> dict[str, object]:
    place, code = shown((one.route.place, one.code))
    return {
        "route": place,
        "failure": one.failure,
        "code": code,
        "next": one.next,
        "why": one.why,
        "wait_ms": round(one.wait * 1000),
    }


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1_000_000) / 1000


class Sink(Protocol):
    """Where lines go."""

    def write(self, lines: bytes, /) -> object:
        """Take whole lines."""
        ...

    def flush(self) -> None:
        """Hand on what was held back."""
        ...


class CallLog:
    """A `Journal` that writes one JSON line a call, in batches: a call pays for its line alone.

    Lines wait as bytes: a tenth of a second's calls, kept whole, would drive what is in use out of
    the processor's caches.

    Attributes:
        lost: Lines that the stream did not take.
    """

    def __init__(self, stream: Sink, redaction: Redaction | None = None) -> None:
        self.lost = 0
        self._stream = stream
        self._redaction = redaction or Redaction()
        self._encode = msgspec.json.Encoder().encode
        self._lines: list[bytes] = []

    def record(self, call: Call) -> None:
        """Note a finished call; it is written within a tenth of a second, at once without a loop."""
        lines = self._lines
        lines.append(self._encode(line_of(call, self._redaction.words)))
        waiting = len(lines)
        if waiting >= _FLUSH_LINES or (waiting == 1 and not self._flush_soon()):
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        lines, self._lines = self._lines, []
        if lines:
            try:
                self._stream.write(b"\n".join([*lines, b""]))
                self._stream.flush()
            except (OSError, ValueError):  # a full disk, a closed pipe, a closed file
                self.lost += len(lines)

    def _flush_soon(self) -> bool:
        """Arrange for a flush, if a loop runs."""
        try:
            asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.flush)
        except RuntimeError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class JournalStatistics:
    """How often each journal failed to take a call."""

    failures: dict[str, int]


class Journals:
    """A `Journal` of journals: one that fails is counted, and keeps no other from its record."""

    def __init__(self, journals: Sequence[Journal]) -> None:
        self._journals = tuple(journals)
        self._records = tuple(journal.record for journal in journals)
        self._failures = [0] * len(self._journals)

    def record(self, call: Call) -> None:
        """Note a finished call everywhere."""
        for record in self._records:
            try:
                record(call)
            except Exception:  # noqa: BLE001 - whatever a sink does wrong must not reach the call
                self._failed(self._records.index(record))

    def _failed(self, number: int) -> None:
        self._failures[number] += 1
        if self._failures[number] == 1:
            _log.exception("%s could not take a call", type(self._journals[number]).__name__)

    def statistics(self) -> JournalStatistics:
        """Return how often each journal failed."""
        failures: dict[str, int] = {}
        for journal, count in zip(self._journals, self._failures, strict=True):
            name = type(journal).__name__
            failures[name] = failures.get(name, 0) + count
        return JournalStatistics(failures)
