"""A second attempt beside one that is late: the first to answer wins, the other one is given up.

Each attempt is a task while there may be two. Both have ended when `Hedging.send` returns or raises,
however that comes about: nothing runs on, and nothing is open any more but the winner's answer.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from headworks.answer import Answer
from headworks.attempt import Attempt
from headworks.core.course import Course
from headworks.core.endpoints import is_repeatable, timed
from headworks.core.hedging import Hedges, weight
from headworks.core.trail import beside
from headworks.errors import CallError, DeadlineExceeded, Retry, UpstreamError
from headworks.ports import Clock, Health
from headworks.types import Call, GivenUp, Hedge, Refusal, Usage

_log = logging.getLogger("headworks")

Send = Callable[[Call, Course, Attempt, Usage], Coroutine[Any, Any, Answer]]
"""Makes an attempt, and returns its answer at the commit point."""

_Tasks = dict[asyncio.Task[Answer | None], int]
"""What is under way, with the number of the attempt in its race: 0 or 1."""

_TICK: Final = 0.0005
"""Seconds that a timer may be early."""
_CANCELLED: Final = asyncio.CancelledError("given up")


@dataclass(frozen=True, slots=True)
class Hedging:
    """Sends attempts of a model that hedges.

    Attributes:
        send_once: Sends one of them.
        known: What has been learned and spent.
        most: Attempts of one call.
    """

    hedge: Hedge
    send_once: Send
    health: Health
    clock: Clock
    known: Hedges
    most: int

    async def send(self, call: Call, course: Course, first: Attempt, estimate: Usage) -> Answer:
        """Return the answer of an attempt, or of one that is sent beside it when it is late.

        Raises:
            CallError: The failure that tells more, if both fail; `course` is then at its route.
        """
        request, hedge = call.request, self.hedge
        times = self.known.times(first.route, stream=request.stream)
        after = times.p95 if hedge.after is None else hedge.after
        if not call.attempts:
            self.known.allowance(request.model).deposit()
        if after is None or call.attempts + 1 >= self.most or not is_repeatable(request):
            answer, has_failed = await self.send_once(call, course, first, estimate), False
        else:
            race = _Race(self, call, course, first, estimate)
            answer, has_failed = await race.run(after), race.has_failed(first)
        if hedge.after is None and first.begun is not None and not has_failed:
            times.observe(self.clock.now() - first.begun)
        return answer

    def enter(self, call: Call, course: Course) -> Attempt | None:
        """Return a second attempt: on the next route that works, else on the same one again.

        None, where there may be none: then nothing has changed.
        """
        allowance = self.known.allowance(call.request.model)
        is_over = not course.under_way or course.until <= self.clock.now() or call.presence.is_gone
        if is_over or call.attempts >= self.most or not allowance.has_left(self.hedge.share):
            return None
        present, *others = course.way.ahead
        for route in (*others, present):
            admission = self.health.admit(timed(route, call.request), course.demand, is_retry=True)
            if not isinstance(admission, Refusal):
                allowance.withdraw()
                course.fork(route)
                call.hedge = "lost"
                return Attempt(route, admission)
        return None


class _Race:
    """One or two attempts of a call, the second behind the first, and what becomes of them."""

    def __init__(
        self, hedging: Hedging, call: Call, course: Course, first: Attempt, estimate: Usage
    ) -> None:
        self._hedging, self._call, self._course, self._estimate = hedging, call, course, estimate
        self._attempts = [first]
        self._failures: list[tuple[Attempt, CallError]] = []
        self._decisive: Attempt | None = None
        self._is_won = False

    def has_failed(self, attempt: Attempt) -> bool:
        """Return whether the attempt failed by itself."""
        return any(attempt is one for one, _ in self._failures)

    async def run(self, after: float) -> Answer:
        """Return the first answer; see `Hedging.send`."""
        begin = asyncio.get_running_loop().create_task
        # A local name: as an attribute, with what they raise, tasks would make a cycle.
        tasks = {begin(self._send(self._attempts[0])): 0, begin(self._send_late(after)): 1}
        answer = None
        try:
            answer = await self._first_answer(tasks)
            await self._end(tasks, "superseded")
        except BaseException:
            await self._end(tasks, "abandoned")
            if answer is not None:
                await answer.aclose()
            raise
        finally:
            self._tell()
        return answer

    def _send(self, attempt: Attempt) -> Coroutine[Any, Any, Answer]:
        return self._hedging.send_once(self._call, self._course, attempt, self._estimate)

    async def _send_late(self, after: float) -> Answer | None:
        """Send the second attempt so long after the first was sent; None if there may be none."""
        first, clock = self._attempts[0], self._hedging.clock
        while (wait := after if first.begun is None else first.begun + after - clock.now()) > _TICK:
            await clock.sleep(wait)
        second = self._hedging.enter(self._call, self._course)
        if second is None:
            return None
        self._attempts.append(second)
        return await self._send(second)

    async def _first_answer(self, tasks: _Tasks) -> Answer:
        """Wait for an answer; whatever has ended is taken out of `tasks`.

        Raises:
            CallError: The first failed before it was late, or both failed.
        """
        while tasks:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in [one for one in tasks if one in done]:
                answer = self._outcome(task, tasks.pop(task))
                if answer is not None:
                    return answer
            if self._failures and len(self._attempts) == 1:
                break
        later_first = reversed(self._failures)
        self._decisive, error = max(later_first, key=lambda failed: weight(failed[1]))
        raise error

    def _outcome(self, task: asyncio.Task[Answer | None], number: int) -> Answer | None:
        """Return the answer that a task brought, None where there is hope in the other one.

        Raises:
            CallError: There is none: the time of both is up, or the request itself is wrong.
        """
        try:
            answer = task.result()
        except CallError as error:
            attempt = self._attempts[number]
            self._failures.append((attempt, error))
            if not self._is_final(attempt, error):
                return None
            self._decisive = attempt
            raise
        if answer is not None:
            self._decisive, self._is_won = self._attempts[number], True
            self._call.hedge = "won" if number else self._call.hedge
        return answer

    def _is_final(self, attempt: Attempt, error: CallError) -> bool:
        if isinstance(error, UpstreamError):
            is_asked = attempt.route.model == self._attempts[0].route.model
            return is_asked and error.retry is Retry.NEVER
        return isinstance(error, DeadlineExceeded)

    async def _end(self, tasks: _Tasks, ending: GivenUp) -> None:
        """Cancel what is under way, and return when it has ended, however often we are cancelled."""
        for task, number in tasks.items():
            for attempt in self._attempts[number : number + 1]:
                attempt.ending = ending
            task.cancel()
        cancelled: asyncio.CancelledError | None = None
        while tasks:
            try:
                await asyncio.wait(tasks)
                while tasks:
                    await self._close(*tasks.popitem(), ending)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            try:
                raise cancelled
            finally:
                del cancelled

    async def _close(self, task: asyncio.Task[Answer | None], number: int, ending: GivenUp) -> None:
        """Close what an attempt has brought that nobody waits for any more."""
        if task.cancelled():
            return
        try:
            answer = task.result()
        except CallError as error:
            self._failures.append((self._attempts[number], error))
        except Exception:  # noqa: BLE001 - the call has its answer, or a failure of its own
            _log.exception("call %s: an attempt that was given up failed unforeseen", self._call.id)
        else:
            if answer is not None:
                answer.book(ending)
                await answer.aclose()

    def _tell(self) -> None:
        """Note what became of the attempt that did not decide the call, and go on from the other."""
        call, course, failures = self._call, self._course, self._failures
        under_way = [one for one in self._attempts if not self.has_failed(one)]
        decisive = self._decisive or (under_way or self._attempts)[0]
        for attempt in self._attempts:
            if attempt is decisive and self._is_won:
                continue
            attempt.admission.settle(_CANCELLED)
            if attempt is decisive or not attempt.number:
                continue
            error = next((error for one, error in failures if one is attempt), None)
            call.trail.append(beside(attempt.route, error, attempt.ending))
            if isinstance(error, UpstreamError):
                course.fail(attempt.route, error)
        call.route = decisive.route
        course.rejoin(decisive.route)
