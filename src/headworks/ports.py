"""What the engine needs from the world. Capabilities and adapters provide it, `build` joins them."""

from collections.abc import AsyncIterator
from typing import Protocol

from headworks.core.budget import BudgetAlert
from headworks.core.demand import Demand
from headworks.errors import CallError
from headworks.types import (
    Call,
    Caller,
    Certainty,
    Headers,
    Plan,
    Refusal,
    Request,
    Response,
    Route,
    Secret,
    Usage,
)


class Clock(Protocol):
    """Time, and a way to wait."""

    def now(self) -> float:
        """Return seconds that only go forward."""
        ...

    def time(self) -> float:
        """Return seconds since 1970."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Random(Protocol):
    """Chance, so that a test can take it away."""

    def random(self) -> float:
        """Return a number in [0, 1)."""
        ...

    def call_id(self) -> str:
        """Return an id that no other call has, sortable by time."""
        ...


class Keys(Protocol):
    """Finds the caller behind a key."""

    def authenticate(self, key: Secret | None) -> Caller:
        """Return the key's caller, or raise `Unauthenticated`. Never waits."""
        ...


class Listing(Protocol):
    """Answers questions about the gateway itself: which models there are."""

    def answer(self, request: Request, caller: Caller) -> Response | None:
        """Return the answer, None when the question is one for an upstream."""
        ...


class Prompts(Protocol):
    """Fills in prompts that are named instead of spelled out."""

    async def resolve(self, request: Request, caller: Caller) -> Request:
        """Return the request with its prompt in place."""
        ...


class Guard(Protocol):
    """Looks at a request before it costs anything."""

    async def inspect(self, request: Request, caller: Caller) -> None:
        """Return, or raise `CallerError`."""
        ...


class Context(Protocol):
    """Makes a request fit the model's window."""

    async def fit(self, request: Request, call: Call) -> Request:
        """Return a request that fits, or raise `ContextTooLong`; `call.fitted` says what was done."""
        ...

    async def refit(self, call: Call, error: CallError) -> Request | None:
        """Return a smaller request after a provider refused the call's as too long, if there is one."""
        ...


class Cache(Protocol):
    """Answers seen before."""

    async def get(self, request: Request, caller: Caller) -> Response | None:
        """Return the answer to an equal request, if it is still fresh."""
        ...

    def put(self, request: Request, caller: Caller, answer: Response) -> None:
        """Keep a whole answer. Never waits: writes happen in the background."""
        ...


class Idempotency(Protocol):
    """Lets a call that carries an idempotency key be made once."""

    async def claim(self, call: Call) -> Response | None:
        """Return the answer to an equal request with that key; None lets the call go on.

        The key is taken out of `call.request`: it is not the provider's.
        Waits while such a call is under way. Raises `IdempotencyKeyReused` when the key was that of
        another request, `IdempotencyKeyInUse`, `IdempotentAnswerNotKept`, `IdempotencyUnavailable`.
        """
        ...

    async def record(self, call: Call, response: Response) -> Response:
        """Return the response as its caller is to read it; it is kept before its last byte."""
        ...

    def release(self, call: Call) -> None:
        """Let those go on who wait for the call, however it ended. Never waits; idempotent."""
        ...


class Reservation(Protocol):
    """What was set aside for one call."""

    def settle(self, usage: Usage) -> None:
        """Replace the estimate by what was used, once. Never waits."""
        ...


class Limits(Protocol):
    """Rates and parallel calls, of everybody that a call is made for."""

    async def reserve(self, call: Call, estimate: Usage) -> Reservation:
        """Set aside what the call's request may use, all or nothing, or raise `LimitError`.

        `call.rates` tells how the limits stand, either way.
        """
        ...


class Router(Protocol):
    """Chooses where a request may go."""

    def plan(self, request: Request, estimate: Usage) -> Plan:
        """Return the routes to try for a request of about that size, or raise `ModelNotFound`."""
        ...


class Witness(Protocol):
    """Sees an answer before its caller does, and remembers the ids that it tells of."""

    def whole(self, content: bytes) -> None:
        """Learn from a whole answer. Never waits."""
        ...

    def event(self, name: bytes, data: bytes) -> None:
        """Learn from one event of a stream. Never waits."""
        ...


class Homes(Protocol):
    """Knows which account holds what a provider keeps, such as files and responses."""

    async def narrow(self, request: Request, plan: Plan) -> Plan:
        """Return the plan with the routes alone that can find what the request refers to.

        Raises `StatefulIdElsewhere`, `StatefulIdUnknown`, or `HomesUnavailable`.
        """
        ...

    def witness(self, request: Request, route: Route) -> Witness | None:
        """Return who is to see the answer, None where it tells of no ids."""
        ...


class Admission(Protocol):
    """Leave for one attempt on a route. What became of it is learned from once."""

    def heard(self, headers: Headers) -> None:
        """Learn from the head of the answer what is left of the provider's limits. Never waits."""
        ...

    def answered(self) -> None:
        """Note that the answer has begun. Never waits."""
        ...

    def settle(self, error: BaseException | None = None) -> None:
        """Note how the attempt ended: None well, else what ended it. Never waits.

        Calls after the first change nothing.
        """
        ...


class Health(Protocol):
    """Knows which routes work, and who may be sent to them."""

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
        """Let an attempt be made, or say why not. Never waits.

        A retry asks an upstream again that has just failed this very call, or beside another
        attempt; a last attempt has nowhere else to go; one in line has waited there as it was told.
        `demand` is what the provider's limits are charged, None for nothing.
        Who met the route's limit itself need not rest with the others.
        """
        ...

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
        ...

    def by_room(self, plan: Plan) -> Plan:
        """Return the plan with the credentials of each place in the order of what is left there."""
        ...

    def may_return(self, route: Route) -> bool:
        """Return whether a caller that no route takes may come back by itself; counts as a retry.

        Else all that were refused in an outage would be there when it ends, beside those who come
        anyway.
        """
        ...

    def line_up(self, route: Route, demand: Demand | None = None) -> None:
        """Keep a place there for a call that waits as `refusal` says; the next waits longer.

        `demand.leave` gives it up.
        """
        ...


class Estimator(Protocol):
    """Counts tokens."""

    def estimate(self, request: Request) -> Usage:
        """Return what the request may use, in microseconds and erring upwards."""
        ...

    def recount(self, request: Request, text: str, lost: int = 0) -> Usage:
        """Return what a broken answer used, as exactly as can be: `text` is its output.

        The provider may have written `lost` tokens more.
        """
        ...

    def learn(self, request: Request, model: str, usage: Usage) -> None:
        """Learn from what `model` reported of its answer to the request. Never waits."""
        ...


class Hold(Protocol):
    """One attempt's row in the ledger: held, then settled or released, once."""

    @property
    def is_open(self) -> bool:
        """Whether neither `settle` nor `release` was called."""
        ...

    def settle(
        self, usage: Usage, certainty: Certainty, outcome: str, odd: tuple[str, ...] = ()
    ) -> int | None:
        """Book what the attempt used; return nano-dollars, None for an unknown price.

        `odd` names what was wrong with the provider's own report, a word each.

        Never waits: `Ledger.written` tells when the row is on disk. A ledger that cannot be
        written is reported by the ledger itself (log, metric); the row is written when it can be.
        """
        ...

    def release(self, outcome: str) -> None:
        """Close the row of an attempt that was never sent: it cost nothing."""
        ...


class Ledger(Protocol):
    """Money, one row per attempt."""

    async def hold(self, call: Call, route: Route, estimate: Usage) -> Hold:
        """Write the attempt's row before its first byte leaves, or raise `LedgerUnavailable`.

        The row is on disk when this returns. `call.attempts` is the attempt's number, from 1.
        """
        ...

    async def written(self) -> None:
        """Wait until every settlement so far is on disk, or known to be impossible for now."""
        ...


class Alerts(Protocol):
    """Hears of what an operator should know before it is too late."""

    def budget(self, alert: BudgetAlert) -> None:
        """Hear that a share of a budget is spent, each once in a period. Never waits or raises."""
        ...


class UpstreamResponse(Protocol):
    """An answer whose head has arrived."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Headers:
        """The header fields, names in lower case."""
        ...

    async def read(self, most: int) -> bytes:
        """Return the whole body, or raise `UpstreamError` if it is broken or over `most` bytes."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives; raises `UpstreamError` where it breaks."""
        ...

    def expect(self, *, content: bool) -> None:
        """Say whether a stream's content is still to come: `first_byte` bounds that wait.

        Whatever else comes until then, such as keep-alives, does not prolong it.
        """
        ...

    def unread(self) -> bytes:
        """Return what has come of the body and nobody has read; it is then read. Never waits."""
        ...

    def masked(self, content: bytes) -> bytes:
        """Return what the provider said without the credential that it was shown."""
        ...

    def hurry(self, seconds: float) -> None:
        """Bound the waits for the rest of the body: `total` is over in so long, if not before."""
        ...

    async def drain(self, seconds: float) -> None:
        """Read and forget what is left of the body, for at most so long. Never raises."""
        ...

    async def aclose(self) -> None:
        """Give the connection back if its answer is complete, else close it. Idempotent."""
        ...


class Upstream(Protocol):
    """Sends one request to one route, once."""

    async def send(self, request: Request, route: Route, remaining: float) -> UpstreamResponse:
        """Return a successful answer's head, or raise `UpstreamError`.

        `remaining` seconds are left of the call's total time; they bound the body as well, which
        raises `DeadlineExceeded` when they are over.
        """
        ...


class OutputFilter(Protocol):
    """Looks at an answer before the caller sees it."""

    def filter(self, chunk: bytes) -> bytes:
        """Return what may pass of a body or of one event, or raise `CallerError`."""
        ...


class Journal(Protocol):
    """Remembers every call: log, metrics and traces hang off it."""

    def record(self, call: Call) -> None:
        """Note a finished call. Never waits, never raises."""
        ...
