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
_LONGEST = 200
_FLUSH_SECONDS = 0.1
_FLUSH_LINES = 500


def line_of(call: Call, shown: Callable[[str], str]) -> dict[str, object]:
    """Return what the call log tells of a call; None is what was never known.

    `shown` takes secrets out of what callers and providers said.
    """
    caller, usage, tags = call.caller, call.usage, call.request.tags
    return {
        "time": datetime.fromtimestamp(call.time, UTC),
        "call": call.id,
        "key": None if caller is None else caller.name,
        "project": None if caller is None else caller.project,
        "feature": shown(tags.feature[:_LONGEST]),
        "user": shown(tags.user[:_LONGEST]),
        "model": shown(call.asked[:_LONGEST]),
        "route": None if call.route is None else shown(str(call.route)[:_LONGEST]),
        "status": call.status,
        "outcome": shown(call.outcome[:_LONGEST]),
        "attempts": call.attempts,
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cached_tokens": usage.cached,
        "reasoning_tokens": usage.reasoning,
        "cost_usd": None if call.cost is None else call.cost / _NANO,
        "duration_ms": _milliseconds(call.started, call.ended),
        "first_byte_ms": _milliseconds(call.started, call.answered),
        "context": None if call.fitted is None else str(call.fitted),
        "filtered": call.filtered or None,
        "hedge": call.hedge or None,
        "trail": [_step(one, shown) for one in call.trail],
    }


def _step(one: Tried, shown: Callable[[str], str]) -> dict[str, object]:
    return {
        "route": shown(str(one.route)[:_LONGEST]),
        "failure": one.failure,
        "code": shown(one.code[:_LONGEST]),
        "next": one.next,
        "why": one.why,
        "wait_ms": round(one.wait * 1000),
    }


def _milliseconds(start: float, end: float | None) -> float | None:
    return None if end is None else round((end - start) * 1_000_000) / 1000


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

    Attributes:
        lost: Lines that the stream did not take.
    """

    def __init__(self, stream: Sink, redaction: Redaction | None = None) -> None:
        self.lost = 0
        self._stream = stream
        self._redaction = redaction or Redaction()
        self._encoder = msgspec.json.Encoder()
        self._lines: list[dict[str, object]] = []

    def record(self, call: Call) -> None:
        """Note a finished call; it is written within a tenth of a second, at once without a loop."""
        self._lines.append(line_of(call, self._redaction.word))
        waiting = len(self._lines)
        if waiting >= _FLUSH_LINES or (waiting == 1 and not self._flush_soon()):
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        lines, self._lines = self._lines, []
        if lines:
            try:
                self._stream.write(self._encoder.encode_lines(lines))
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
        self._failures = [0] * len(self._journals)

    def record(self, call: Call) -> None:
        """Note a finished call everywhere."""
        for number, journal in enumerate(self._journals):
            try:
                journal.record(call)
            except Exception:  # noqa: BLE001 - whatever a sink does wrong must not reach the call
                self._failures[number] += 1
                if self._failures[number] == 1:
                    _log.exception("%s could not take a call", type(journal).__name__)

    def statistics(self) -> JournalStatistics:
        """Return how often each journal failed."""
        failures: dict[str, int] = {}
        for journal, count in zip(self._journals, self._failures, strict=True):
            name = type(journal).__name__
            failures[name] = failures.get(name, 0) + count
        return JournalStatistics(failures)
