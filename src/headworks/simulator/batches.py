"""Batches, which really do what their files ask for.

A batch does its work when somebody looks, never by itself: each step is due at a time of the clock,
and whoever looks does all that is due by then, a few steps at a time, so that nobody else waits long.
So batches run in virtual time as well, and what is told is always what the clock says.

    validating ─▶ failed
        └──────▶ in_progress ─▶ finalizing ─▶ completed
                    ├─ the window is over ──▶ expired
    any of these ─▶ cancelling ─────────────▶ cancelled
"""

import asyncio
import heapq
from collections.abc import Iterator
from itertools import count
from typing import final

from headworks.ports import Clock
from headworks.simulator.batch_work import Work
from headworks.simulator.problems import Refusal

_MOST_KEPT = 10_000
_SLICE = 20


@final
class Batches:
    """All batches of one simulator."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, Work] = {}
        self._due: list[tuple[float, int, Work, Iterator[float]]] = []
        self._numbers = count()
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self, work: Work) -> None:
        """Take a new batch, or raise the refusal of one too many."""
        if len(self._known) >= _MOST_KEPT:
            over = (name for name, known in self._known.items() if known.batch.is_over)
            oldest = next(over, None)
            if oldest is None:
                raise Refusal(429, "Too many batches are in progress.", code="rate_limit_exceeded")
            del self._known[oldest]
        work.begin()
        self._known[work.batch.order.id] = work
        self._schedule(work)

    def cancel(self, work: Work) -> None:
        """Stop a batch, or raise the refusal of one that is over."""
        status = work.batch.status
        if work.batch.is_over:
            message = f"Cannot cancel a batch with status '{status}'."
            raise Refusal(400, message, code="invalid_batch_status")
        if status != "cancelling":
            work.wind_up(self._clock.time())
            self._schedule(work)

    def find(self, name: str, owner: str) -> Work:
        """Return a batch, or raise the refusal of one that is not there for this owner."""
        work = self._known.get(name)
        if work is None or work.batch.order.owner != owner:
            raise Refusal(404, f"No batch found with id '{name}'.")
        return work

    def of(self, owner: str) -> list[Work]:
        """Return the batches of one owner, oldest first."""
        return [work for work in self._known.values() if work.batch.order.owner == owner]

    async def catch_up(self) -> None:
        """Do all that is due now, and let others run in between."""
        self._loop = asyncio.get_running_loop()
        until = self._clock.time()
        while self._advance(until):  # noqa: ASYNC110 - nothing is waited for
            await asyncio.sleep(0)  # noqa: TID251 - not a wait: lets others run

    def catch_up_now(self) -> None:
        """Do all that is due now, from any thread; where a loop runs the work is left to it."""
        loop = self._loop
        if loop is not None and loop.is_running() and loop is not _running_loop():
            asyncio.run_coroutine_threadsafe(self.catch_up(), loop).result()
            return
        until = self._clock.time()
        while self._advance(until):
            pass

    def reset(self) -> None:
        """Forget all batches."""
        self._known, self._due = {}, []

    def _schedule(self, work: Work) -> None:
        heapq.heappush(self._due, (self._clock.time(), next(self._numbers), work, work.steps))

    def _advance(self, until: float) -> bool:
        """Do some of the steps that are due, earliest first; return whether there are more."""
        due = self._due
        for _ in range(_SLICE):
            if not due or due[0][0] > until:
                return False
            when, _number, work, steps = heapq.heappop(due)
            following = next(steps, None) if steps is work.steps else None
            if following is not None:
                heapq.heappush(due, (max(when, following), next(self._numbers), work, steps))
        return True


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
