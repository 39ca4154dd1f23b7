"""Gets a request answered: route by route, attempt by attempt, until one begins to answer."""

from dataclasses import dataclass

from headworks.answer import Answer, charge
from headworks.core.backoff import Backoff, Situation, Step
from headworks.core.endpoints import endpoint
from headworks.errors import CallError, DeadlineExceeded, NoRouteLeft, Retry, UpstreamError
from headworks.ports import Clock, Estimator, Hold, Ledger, Random, Router, Upstream
from headworks.types import NO_USAGE, Call, Plan, Request, Route, Usage

_SAFE_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE"})


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """Fallback around retry around one send; at most `backoff.attempts` sends in all.

    Attributes:
        most: The largest answer, in bytes, that is read whole.
    """

    router: Router
    upstream: Upstream
    ledger: Ledger
    estimator: Estimator
    clock: Clock
    random: Random
    backoff: Backoff
    most: int

    async def dispatch(self, call: Call, estimate: Usage) -> Answer:
        """Return the first answer that begins; after that there is no second try.

        Raises:
            CallError: The failure of the only route, `NoRouteLeft` when several were tried.
        """
        plan = self.router.plan(call.request)
        until = self.clock.now() + _total(plan, call.request)
        failures: list[UpstreamError] = []
        tried = here = 0
        while True:
            here += 1
            try:
                return await self._send_once(call, plan.routes[tried], estimate, until)
            except UpstreamError as error:
                failures.append(error)
                call.trail.append(f"{plan.routes[tried]} {error.code or error.status}")
                has_other = tried + 1 < len(plan.routes)
                remaining = until - self.clock.now()
                at = Situation(call.attempts, here, has_other, plan.patience, remaining)
                step = self._next(call, error, at)
                if step is None:
                    raise _verdict(failures, tried) from None
            if step.wait:
                await self._wait(call, step.wait)
            if step.other_route:
                tried, here = tried + 1, 0

    async def _wait(self, call: Call, seconds: float) -> None:
        await self.clock.sleep(seconds)
        call.waited += seconds

    def _next(self, call: Call, error: UpstreamError, at: Situation) -> Step | None:
        if error.sent and not error.is_answer and not _is_repeatable(call):
            return None  # the provider may have done it: doing it again could do it twice
        return self.backoff.next(error.retry, error.retry_after, self.random.random(), at)

    async def _send_once(self, call: Call, route: Route, estimate: Usage, until: float) -> Answer:
        remaining = until - self.clock.now()
        if remaining <= 0:
            raise DeadlineExceeded
        call.route = route
        call.attempts += 1
        hold = await self.ledger.hold(call, route, estimate)
        answer = None
        begun = self.clock.now()
        try:
            response = await self.upstream.send(call.request, route, remaining)
            answer = Answer(response, call, hold, self.ledger, self.estimator)
            await answer.open(self.most)
        except BaseException as error:
            _book_failure(answer, hold, call, estimate, error)
            if answer is not None:
                await answer.aclose()
            if isinstance(error, CallError):
                await self.ledger.written()
            raise
        finally:
            call.waited += self.clock.now() - begun
        return answer


def _total(plan: Plan, request: Request) -> float:
    total = plan.routes[0].timeouts.total
    return total if request.timeout is None else min(total, request.timeout)


def _is_repeatable(call: Call) -> bool:
    request = call.request
    if request.method in _SAFE_METHODS:
        return True
    has_effects = request.fields.get("conversation") or request.fields.get("background")
    return endpoint(request.method, request.path).repeatable and not has_effects


def _book_failure(
    answer: Answer | None, hold: Hold, call: Call, estimate: Usage, error: BaseException
) -> None:
    """Book an attempt that failed before its commit point.

    Nothing, where nothing was sent or the provider refused; what was seen, where an answer broke;
    the estimate, where the provider may have worked unseen.
    """
    outcome = (error.code or str(error.status)) if isinstance(error, CallError) else "abandoned"
    if isinstance(error, UpstreamError) and not error.sent:
        hold.release(outcome)
    elif isinstance(error, UpstreamError) and error.is_answer:
        charge(call, hold.settle(NO_USAGE, "exact", outcome))
    elif answer is not None and (answer.stream is not None or answer.whole is not None):
        answer.book(outcome)
    else:
        charge(call, hold.settle(estimate, "unknown", outcome))


def _verdict(failures: list[UpstreamError], tried: int) -> CallError:
    """Return the failure that tells the caller most."""
    last = failures[-1]
    return last if tried == 0 or last.retry is Retry.NEVER else NoRouteLeft(failures)
