"""The ledger for those whose machines lose power: no row is told to be on disk before it is.

A commit that waits for the disk takes milliseconds, too long for the event loop. So one thread
commits, one batch at a time, and what comes meanwhile is the next batch: however many calls wait,
each waits for two of these commits at most. While a batch is under way the writer is the thread's;
settlements are kept here until it has ended.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from typing_extensions import override

from headworks.ports import Clock
from headworks.stores.ledger import Batch, PriceBook, SqliteLedger, Verdicts
from headworks.stores.ledger_rows import Row


class DurableLedger(SqliteLedger):
    """A ledger whose acknowledged rows survive a power cut too. Fulfils `ports.Ledger`."""

    _survives_power_cut = True

    def __init__(
        self, path: Path, prices: PriceBook, clock: Clock, *, checkpointing: bool = True
    ) -> None:
        super().__init__(path, prices, clock, checkpointing=checkpointing)
        self._closing: list[tuple[Row, Row]] = []
        self._running: tuple[Batch, Future[Verdicts]] | None = None
        self._thread = ThreadPoolExecutor(1, "headworks-ledger")

    @override
    def close_row(self, held: Row, outcome: Row) -> None:
        self._closing.append((held, outcome))
        self._flush_soon()

    @override
    def flush(self) -> None:
        """Write at once what waits; the caller waits for the disk."""
        self._end()
        super()._flush()

    @override
    def close(self) -> None:
        super().close()
        self._thread.shutdown()

    @override
    def _flush(self) -> None:
        """Let the thread commit what is waiting, unless it has still to do."""
        if self._running is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is None or self._is_closed:
            self.flush()
            return
        batch = self._take()
        commit = self._thread.submit(self._commit, batch)
        self._running, self._due = (batch, commit), loop
        commit.add_done_callback(_on(loop, self._go_on))

    @override
    def _take(self) -> Batch:
        for held, outcome in self._closing:
            self._writer.owe(held, outcome)
        self._closing.clear()
        return super()._take()

    def _go_on(self, commit: Future[Verdicts]) -> None:
        """Tell of a commit that has ended, and begin the next one if anything waits."""
        if self._running is None or self._running[1] is not commit:
            return  # somebody could not wait for the loop's turn, see `flush`
        try:
            self._end()
        finally:
            if self._rows or self._closing or self._readers:
                self._flush()

    def _end(self) -> None:
        """Wait for the commit under way, if there is one, and tell of it."""
        running, self._running = self._running, None
        if running is not None:
            self._due = None
            batch, commit = running
            self._tell_all(batch, commit.result())


def _on(
    loop: asyncio.AbstractEventLoop, told: Callable[[Future[Verdicts]], None]
) -> Callable[[Future[Verdicts]], None]:
    """Return what tells of a commit on the loop; a loop that is closed need not hear of it."""

    def tell(commit: Future[Verdicts]) -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(told, commit)

    return tell
