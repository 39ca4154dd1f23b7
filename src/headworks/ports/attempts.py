"""What an attempt needs: a route that works, somebody to ask, and a row that books it."""

from collections.abc import AsyncIterator, Coroutine
from typing import Any, Protocol

from headworks.core.budget import BudgetAlert
from headworks.core.demand import Demand
from headworks.types import Call, Certainty, Headers, Plan, Refusal, Request, Route, Usage


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

    @property
    def measures(self) -> frozenset[str]:
        """What its price bills by; see `core.pricing.Price`. Empty where it is not known."""
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

    def hold(self, call: Call, route: Route, estimate: Usage) -> Coroutine[Any, Any, Hold]:
        """Write the attempt's row before its first byte leaves, or raise `LedgerUnavailable`.

        The row is on disk when this returns. `call.attempts` is the attempt's number, from 1.
        """
        ...

    def knows(self, call: str) -> bool:
        """Return whether the call of that id has a row."""
        ...

    def written(self) -> Coroutine[Any, Any, None]:
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
        """Yield the body as it arrives, empty after a `nudge`; raises `UpstreamError` at a break."""
        ...

    def expect(self, *, content: bool) -> None:
        """Say whether a stream's content is still to come: `first_byte` bounds that wait.

        Whatever else comes until then, such as keep-alives, does not prolong it.
        """
        ...

    def unread(self) -> bytes:
        """Return what has come of the body and nobody has read; it is then read. Never waits."""
        ...

    def nudge(self) -> None:
        """Let whoever waits in `chunks` have an empty chunk now; nothing is lost by it."""
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
