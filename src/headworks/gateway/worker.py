"""The task that has a connection's requests answered: one for all of them, in turn.

To wake a task that waits costs a fifth of what it costs to make one, and to have it forgotten.
"""

import asyncio
import logging

from headworks.errors import InternalError, ShuttingDown
from headworks.gateway.exchange import Exchange
from headworks.gateway.faces import Carry
from headworks.gateway.lifecycle import Lifecycle

log = logging.getLogger("headworks.gateway")


class Worker:
    """Has an application answer the exchanges of one connection.

    An application that goes on behind its answer keeps its task busy, and nobody waiting: the next
    exchange gets a new task. Each of them is in `tasks` until it ends. What an application keeps in
    context variables lasts as long as its task.
    """

    __slots__ = ("_carry", "_has_left", "_lifecycle", "_loop", "_tasks", "_waiter")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        carry: Carry,
        lifecycle: Lifecycle,
        tasks: set[asyncio.Task[None]],
    ) -> None:
        self._loop, self._carry = loop, carry
        self._lifecycle, self._tasks = lifecycle, tasks
        self._waiter: asyncio.Future[Exchange | None] | None = None
        self._has_left = False

    def serve(self, exchange: Exchange) -> None:
        """Have an exchange answered from now on."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(exchange)
            return
        task = self._loop.create_task(self._work(exchange))
        task.add_done_callback(self._tasks.discard)
        self._tasks.add(task)

    def leave(self) -> None:
        """Let the task end when it has nothing to do: no exchange comes any more."""
        self._has_left = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _work(self, exchange: Exchange | None) -> None:
        """Run the app to its end for one exchange after the other.

        An app that fails leaves an error answer or a closed connection.
        """
        lifecycle = self._lifecycle
        while exchange is not None:
            lifecycle.in_flight += 1
            try:
                await self._carry(exchange)
                if not exchange.response_complete and not exchange.disconnected:
                    log.error("the application returned without completing its response")
                    exchange.fail(InternalError())
            except asyncio.CancelledError:
                exchange.fail(ShuttingDown())
                raise
            except Exception:
                log.exception("the application failed")
                exchange.fail(InternalError())
            finally:
                lifecycle.in_flight -= 1
                lifecycle.finished += 1
            exchange = None  # an idle connection holds nothing of its last request
            if not self._has_left and self._waiter is None:
                self._waiter = self._loop.create_future()
                exchange = await self._waiter
