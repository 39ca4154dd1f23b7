"""Realtime sessions that an app opens with the provider itself: no limit of ours sees what they do."""

from dataclasses import replace

from headworks.core.admission import NO_LIMITS, Rules
from headworks.core.endpoints import opens_session
from headworks.errors import CallerError
from headworks.stores.budgets import MemoryBudgets
from headworks.types import Call, Caller, Request


class SessionUnlimited(CallerError):
    """No limit, budget or list of models could hold in a session that the app opens by itself."""

    status, code = 403, "session_unlimited"


class SessionGuard:
    """Lets only those open such sessions whom nothing binds. Fulfils `ports.Guard`."""

    def __init__(self, rules: Rules, budgets: MemoryBudgets) -> None:
        self._rules, self._budgets = rules, budgets

    async def inspect(self, request: Request, caller: Caller) -> None:
        """Return, or raise `SessionUnlimited`."""
        if not opens_session(request):
            return
        bound = self._bound(request, caller)
        if bound:
            raise SessionUnlimited(
                f"The session would be the provider's alone, and {bound} would not hold in it. "
                "Connect to /v1/realtime by WebSocket, which is relayed; or have provider_sessions "
                "set to allow."
            )

    def _bound(self, request: Request, caller: Caller) -> str:
        """Return what holds for a call and would not hold in the session, "" for nothing."""
        if caller.models is not None:
            return "the key's list of models"
        for bound in self._rules.bounds(caller, request.tags, request.model):
            if replace(bound.limits, queue=None, reserve="expected") != NO_LIMITS:
                return f"the limits of the {bound.subject.level.kind}"
        for account in self._budgets.of(Call("", request, 0.0, 0.0, caller)):
            return f"the budget of {account.owner.spelled!r}"
        return ""
