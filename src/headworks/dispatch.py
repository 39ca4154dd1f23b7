"""Gets a request answered: route by route, attempt by attempt, until one begins to answer."""

import logging
from dataclasses import dataclass, field

from headworks.answer import Answer
from headworks.attempt import Attempt, book_failure
from headworks.core.backoff import Backoff, Situation, Step, held_back
from headworks.core.budget import BudgetExceeded
from headworks.core.cost_bound import CostUnbounded
from headworks.core.course import Course
from headworks.core.demand import Demand
from headworks.core.endpoints import (
    can_go_out,
    endpoint,
    is_repeatable,
    timed,
    waits,
)
from headworks.core.fixed_answer import fixed_answer
from headworks.core.hedging import Hedges
from headworks.core.pace import EARLY
from headworks.core.pricing import ModelUnpriced
from headworks.core.selection import Choice, choose, is_near, unavailable
from headworks.core.sse import MOST_EVENT
from headworks.core.trail import (
    PASSED,
    note,
    out_of_time,
    passed_over,
    tell_passed,
    tried,
    unaffordable,
)
from headworks.core.way import Way
from headworks.errors import CallError, DeadlineExceeded, Retry, UpstreamError
from headworks.hedging import Hedging
from headworks.made import made_answer
from headworks.ports import (
    Admission,
    Clock,
    Estimator,
    Health,
    Hold,
    Homes,
    Ledger,
    Random,
    Router,
    Upstream,
)
from headworks.types import Call, Hedge, Plan, Refusal, Request, Route, Usage

_log = logging.getLogger("headworks")

_UNAFFORDABLE = (BudgetExceeded, CostUnbounded, ModelUnpriced)
"""Why an attempt is not made on one route, and may be on another one."""

_LOOK = 1.0
"""Seconds after which a call looks how its line has moved; one that waits long looks less often."""


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """Fallback around retry around one send; at most `backoff.attempts` sends in all.

    Attributes:
        most: The largest answer, in bytes, that is read whole.
        hedges: What has been learned of answers that are late, and spent on them.
        most_event: The largest event of a stream, where events are usually smaller.
    """

    router: Router
    upstream: Upstream
    ledger: Ledger
    estimator: Estimator
    clock: Clock
    random: Random
    backoff: Backoff
    most: int
    health: Health
    homes: Homes
    hedges: Hedges = field(default_factory=Hedges)
    most_event: int = MOST_EVENT

    async def dispatch(self, call: Call, estimate: Usage) -> Answer:
        """Return the first answer that begins; after that there is no second try.

        Raises:
            CallError: The failure of the only route, `NoRouteLeft` when several were tried.
        """
        plan = self.router.plan(call.request, estimate)
        plan = self.health.by_room(await self.homes.narrow(call.request, plan))
        call.trail += plan.unfit
        until = call.started + _total(plan, call.request)
        course = Course(plan, Way(plan), until, Demand(call.request, estimate))
        send = self._send_once if plan.hedge is None else self._hedging(plan.hedge).send
        while True:
            attempt = self._enter(call, course) or await self._enter_elsewhere(call, course)
            try:
                return await send(call, course, attempt, estimate)
            except DeadlineExceeded as error:
                call.trail.append(out_of_time(course.way.route, error, attempt.number))
                raise
            except _UNAFFORDABLE as error:
                self._pass_by(call, course, error)
                continue
            except UpstreamError as error:
                call.presence.credit = 0
                step = self._next(call, course, error)
                _note_filter(call, error, is_last=step is None)
                if step is None:
                    if (instead := await self._instead(call, plan, error)) is not None:
                        return instead
                    raise course.verdict(self.clock.now()) from None
            course.held += step.wait
            await self._wait(call, step.wait)
            if step.other_route:
                course.move()

    def _enter(self, call: Call, course: Course) -> Attempt | None:
        """Return the next attempt, to be made on the route under way; None where that refuses."""
        route = course.way.route
        admission = self._admit(call, course, route)
        if isinstance(admission, Refusal):
            return None
        course.here += 1
        return Attempt(route, admission)

    async def _enter_elsewhere(self, call: Call, course: Course) -> Attempt:
        """Return the next attempt, to be made on the best route of those left that works."""
        try:
            while isinstance(admission := await self._pass_on(call, course), Refusal):
                pass
        finally:
            course.demand.leave()
        course.here += 1
        return Attempt(course.way.route, admission)

    def _admit(
        self,
        call: Call,
        course: Course,
        route: Route,
        *,
        is_last: bool = False,
        in_line: bool = False,
    ) -> Admission | Refusal:
        """Ask for leave by the waits for such requests: by them it is judged who was late."""
        held = timed(route, call.request) if route.timeouts.by_type else route
        if not course.failures and not (is_last or in_line):
            return self.health.admit(held, course.demand)
        return self.health.admit(
            held,
            course.demand,
            is_retry=course.way.is_retry(route),
            is_last=is_last,
            in_line=in_line,
            met_limit=route in course.way.limited,
        )

    def _refusal(self, course: Course, route: Route) -> Refusal | None:
        """Return why the route cannot be asked now, None where it can."""
        is_retry, met_limit = course.way.is_retry(route), route in course.way.limited
        return self.health.refusal(route, course.demand, is_retry=is_retry, met_limit=met_limit)

    async def _pass_on(self, call: Call, course: Course) -> Admission | Refusal:
        """Go to the best route of those left, after a wait where it is worth one.

        Raises:
            CallError: None works; what earlier attempts met, else `CircuitOpen` or `CoolingDown`.
        """
        way, ahead = course.way, course.way.ahead
        refusals = [self._refusal(course, one) for one in ahead]
        remaining = course.until - self.clock.now()
        choice = choose(ahead, refusals, course.plan.patience, remaining, course.held)
        admission: Admission | Refusal | None = None
        if choice is None:
            choice, admission = self._probe(call, course)
        last = len(ahead) if choice is None else choice.index + (choice.wait > 0)
        for route, refusal in zip(ahead[:last], refusals, strict=False):
            if refusal is not None:
                note(call.trail, passed_over(route, refusal, choice))
        if choice is None:
            known = [refusal for refusal in refusals if refusal is not None]
            if course.failures:
                raise course.verdict(self.clock.now())
            error = unavailable(known, self.random.random())
            error.should_retry = error.should_retry and self.health.may_return(way.route)
            raise error
        course.pass_over(choice.index)
        if choice.wait:
            self.health.line_up(way.route, course.demand)
            await self._wait_turn(call, course, choice.wait)
        if admission is not None:
            return admission
        return self._admit(call, course, way.route, in_line=choice.wait > 0)

    async def _wait_turn(self, call: Call, course: Course, seconds: float) -> None:
        """Wait for so long, or less where a line moves faster than was thought."""
        began = self.clock.now()
        while (left := began + seconds - self.clock.now()) > EARLY:
            is_long = course.demand.line is not None and left > _LOOK
            await self._wait(call, max(_LOOK, left / 8) if is_long else left)
            if is_long and self._refusal(course, course.way.route) is None:
                break
        course.held += self.clock.now() - began

    def _pass_by(self, call: Call, course: Course, error: CallError) -> None:
        """Go on from a route that costs too much to the next one, which may cost less.

        Raises:
            CallError: There is none: what earlier attempts met, else the error itself.
        """
        has_other = course.way.has_other
        call.trail.append(unaffordable(course.way.route, has_other=has_other))
        if not has_other:
            raise course.verdict(self.clock.now()) if course.failures else error
        course.move()

    def _probe(self, call: Call, course: Course) -> tuple[Choice | None, Admission | None]:
        """Return a route that may be probed because no other works, if there is one."""
        for index, route in enumerate(course.way.ahead):
            given = self._admit(call, course, route, is_last=True)
            if not isinstance(given, Refusal):
                return Choice(index), given
        return None, None

    async def _wait(self, call: Call, seconds: float) -> None:
        if seconds:
            await self.clock.sleep(seconds)
            call.waited += seconds

    def _next(self, call: Call, course: Course, error: UpstreamError) -> Step | None:
        """Decide what follows a failed attempt, and note it in the call's trail."""
        way, retry = course.way, error.retry
        course.fail(way.route, error)
        has_turned = way.turn(error.failure, is_final=retry is Retry.NEVER)
        if has_turned and retry is Retry.NEVER:
            retry = Retry.OTHER_ROUTE
        # What the provider may have done is not asked for twice: it could be done twice.
        is_here = can_go_out(call.request)
        may_repeat = is_here and (not error.sent or error.is_answer or is_repeatable(call.request))
        is_gone = call.presence.is_gone
        at, step = self._situation(call, course), None
        cause = "no other works" if way.has_other and not at.has_other else ""
        cause = f"on {error.failure}" if has_turned and at.has_other else cause
        cause = "caller gone" if is_gone else cause
        cause = cause if is_here else PASSED
        if may_repeat and not is_gone:
            step = self.backoff.next(retry, error.retry_after, self.random.random(), at)
        if step is not None and not step.other_route:
            refusal = self._refusal(course, way.route)
            if refusal is not None and not is_near(refusal, step.wait):
                step, cause = held_back(refusal, at, course.held), refusal.reason
        call.trail.append(tried(way.route, error, step, at, may_repeat=may_repeat, cause=cause))
        if not is_here:
            tell_passed(error)
        if len(course.failures) == 1:
            call.trail += course.plan.unfit_behind
        return step

    def _situation(self, call: Call, course: Course) -> Situation:
        way, patience = course.way, course.plan.patience
        others = (self._refusal(course, one) for one in way.ahead[1:])
        has_other = way.has_other and any(is_near(refusal, patience) for refusal in others)
        remaining = course.until - self.clock.now()
        return Situation(call.attempts, course.here, has_other, patience, remaining)

    async def _instead(self, call: Call, plan: Plan, error: UpstreamError) -> Answer | None:
        """Return the answer that the operator has written for what a content filter stopped."""
        request = call.request
        if plan.fixed_answer is None or error.failure != "content_filter":
            return None
        name = endpoint(request.method, request.path).name
        content = fixed_answer(name, call, plan.fixed_answer) if request.content else None
        if content is None:
            return None
        answer = made_answer(content, call, self.ledger, self.estimator)
        await answer.open(len(content))
        return answer

    def _hedging(self, hedge: Hedge) -> Hedging:
        """Return what sends an attempt, and one more beside it where it is late."""
        most = self.backoff.attempts
        return Hedging(hedge, self._send_once, self.health, self.clock, self.hedges, most)

    async def _send_once(
        self, call: Call, course: Course, attempt: Attempt, estimate: Usage
    ) -> Answer:
        """Hold the attempt's row, send the request, and read its answer to the commit point."""
        route, admission, now = attempt.route, attempt.admission, self.clock.now
        hold = answer = None
        try:
            remaining = course.remaining(now())
            hold = await self._hold(call, attempt, estimate)
            attempt.begun = begun = now()
            course.begin(begun)
            call.presence.credit = self._credit(call)
            response = await self.upstream.send(call.request, route, remaining)
            admission.heard(response.headers)
            answer = Answer(response, call, hold, self.ledger, self.estimator, admission, route)
            answer.witness = self.homes.witness(call.request, route)
            refuses_filtered = self._refuses_filtered(call, course)
            await answer.open(
                self.most,
                course.plan.commit,
                refuses_filtered=refuses_filtered,
                most_event=self.most_event,
            )
            admission.answered()
        except BaseException as error:
            course.judge(route, error)
            admission.settle(error)
            if hold is not None:
                book_failure(answer, hold, call, estimate, error, ending=attempt.ending)
                if answer is not None:
                    await answer.aclose()
                if isinstance(error, CallError):
                    await self.ledger.written()
            raise
        finally:
            if attempt.begun is not None:
                call.waited += course.end(now())
        return answer

    async def _hold(self, call: Call, attempt: Attempt, estimate: Usage) -> Hold:
        """Number the attempt and write its row; one that may not be paid for is none."""
        before = call.route
        call.route = attempt.route
        call.attempts = attempt.number = call.attempts + 1
        try:
            return await self.ledger.hold(call, attempt.route, estimate)
        except _UNAFFORDABLE:
            call.route, call.attempts, attempt.number = before, call.attempts - 1, 0
            raise

    def _credit(self, call: Call) -> int:
        """Return how much of the answer is read if the caller leaves: what is asked for is paid."""
        caller = call.caller
        drains = caller is not None and caller.on_disconnect == "drain"
        return self.most if drains and call.request.method == "POST" else 0

    def _refuses_filtered(self, call: Call, course: Course) -> bool:
        """Return whether the caller gets something else than an answer that was filtered."""
        plan = course.plan
        if plan.fixed_answer is not None or not plan.on:
            return plan.fixed_answer is not None
        way, patience = course.way, course.plan.patience
        ahead = way.leads_on("content_filter")
        if not ahead or call.attempts >= self.backoff.attempts or not is_repeatable(call.request):
            return False
        return any(is_near(self._refusal(course, one), patience) for one in ahead)


def _total(plan: Plan, request: Request) -> float:
    timeouts, most = plan.routes[0].timeouts, request.timeout
    total = waits(timeouts, request).total if timeouts.by_type else timeouts.total
    return total if most is None else min(total, most)


def _note_filter(call: Call, error: UpstreamError, *, is_last: bool) -> None:
    """Note that a content filter stopped the call, for whoever reviews it."""
    if error.failure != "content_filter":
        return
    call.filtered = call.filtered or "prompt"
    if not is_last:
        _log.warning(
            "call %s: the content filter of %s stopped its %s; another route is asked",
            call.id,
            call.route,
            call.filtered,
        )
