"""What a key is for and may do, wherever it was made."""

from dataclasses import dataclass
from typing import Final

from headworks.core.budget import Budget
from headworks.core.client_tokens import TokenRules
from headworks.types import (
    AS_OTHERS_SAY,
    Buffering,
    OnDisconnect,
    OnLedgerFailure,
    Priority,
    RateLimits,
    Scope,
    Unpriced,
)

_NO_LIMITS: Final = RateLimits()


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key is for and may do.

    Attributes:
        models: Names it may use; None means every model.
        expires: Seconds since 1970.
        priority: The highest that its calls may have.
        budget: What may be spent under its name.
        buffering: How its streams are cut.
        scopes: What it may do besides using the API.
        client_tokens: What the tokens may be that it mints, None when it may not mint any.
    """

    name: str
    project: str = ""
    models: frozenset[str] | None = None
    limits: RateLimits = _NO_LIMITS
    expires: float | None = None
    on_disconnect: OnDisconnect = "cancel"
    on_ledger_failure: OnLedgerFailure = "refuse"
    unpriced: Unpriced = "flag"
    priority: Priority = "interactive"
    budget: Budget | None = None
    buffering: Buffering = AS_OTHERS_SAY
    client_tokens: TokenRules | None = None
    scopes: frozenset[Scope] = frozenset()
