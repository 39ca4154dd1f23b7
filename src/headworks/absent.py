"""What stands in a capability's place while it is switched off: it does nothing, rightly."""

from headworks.core.budget import BudgetAlert
from headworks.core.context import unmarked
from headworks.errors import CallError
from headworks.types import Call, Caller, Plan, Request, Response, Route


class NoPrompts:
    """Prompts are spelled out, or the provider's own."""

    async def resolve(self, request: Request, caller: Caller) -> Request:  # noqa: ARG002 - the port's signature
        """Return the request as it is."""
        return request


class NoContext:
    """Requests go out at the length they came."""

    async def fit(self, request: Request, call: Call) -> Request:  # noqa: ARG002 - the port's signature
        """Return the request as it came, but for marks that only we understand."""
        return unmarked(request)

    async def refit(self, call: Call, error: CallError) -> Request | None:  # noqa: ARG002 - the port's signature
        """Return None: what was too long stays so."""
        return None


class NoHomes:
    """All things are in one account."""

    async def narrow(self, request: Request, plan: Plan) -> Plan:  # noqa: ARG002 - the port's signature
        """Return the plan as it is."""
        return plan

    def witness(self, request: Request, route: Route) -> None:
        """Return nobody: there is nothing to remember."""


class NoIdempotency:
    """Every call is made, whatever key it carries."""

    async def claim(self, call: Call) -> Response | None:  # noqa: ARG002 - the port's signature
        """Return None: nothing was kept."""
        return None

    async def record(self, call: Call, response: Response) -> Response:  # noqa: ARG002 - the port's signature
        """Return the response as it is."""
        return response

    def release(self, call: Call) -> None:
        """Do nothing: nobody waits."""


class NoAlerts:
    """Nobody is told."""

    def budget(self, alert: BudgetAlert) -> None:
        """Tell nobody."""


class NoCache:
    """No answer is kept."""

    async def get(self, request: Request, caller: Caller) -> Response | None:  # noqa: ARG002 - the port's signature
        """Return None: nothing was kept."""
        return None

    def put(self, request: Request, caller: Caller, answer: Response) -> None:
        """Forget the answer."""


class NoFilter:
    """Answers pass as they are."""

    def filter(self, chunk: bytes) -> bytes:
        """Return the chunk as it is."""
        return chunk
