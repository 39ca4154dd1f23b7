"""Errors of a call as a whole, and of ours."""

from collections.abc import Sequence

from headworks.errors.base import CallError


class DeadlineExceeded(CallError):
    """The call's total time is up.

    Attributes:
        sent: Whether a whole request may have reached a provider.
    """

    status, type, code = 504, "timeout_error", "deadline_exceeded"
    sent: bool = True


class NoRouteLeft(CallError):
    """Every route was tried; `failures` says what each answered."""

    status, code = 503, "all_routes_failed"

    def __init__(self, failures: Sequence[CallError]) -> None:
        statuses = {failure.status for failure in failures}
        listed = "; ".join(f"{failure.status} {failure.code}" for failure in failures)
        waits = [failure.retry_after for failure in failures if failure.retry_after]
        super().__init__(
            f"Every route failed: {listed or 'none was planned'}.",
            retry_after=min(waits, default=None),
        )
        self.failures = tuple(failures)
        if len(statuses) == 1:
            self.status = statuses.pop()


class CredentialsExhausted(CallError):
    """The provider refused every credential of the gateway; the caller's key is fine."""

    status, code = 502, "upstream_credentials_exhausted"


class CircuitOpen(CallError):
    """Every route to this model has failed too often of late; it is asked again in a moment."""

    status, code, should_retry = 503, "circuit_open", True


class CoolingDown(CallError):
    """The provider asked for a longer pause than this call can wait; there is no other route."""

    status, type, code = 429, "rate_limit_error", "upstream_cooling_down"


class LedgerUnavailable(CallError):
    """The ledger cannot be written, so nothing that costs money is sent."""

    status, code, should_retry = 503, "ledger_unavailable", True


class HomesUnavailable(CallError):
    """It cannot be looked up now which account holds what the request refers to."""

    status, code, should_retry = 503, "stateful_ids_unavailable", True


class ShuttingDown(CallError):
    """This instance is draining; send the request to another one."""

    status, code, should_retry = 503, "shutting_down", True


class InternalError(CallError):
    """Something unforeseen went wrong in headworks; the call id finds it in the log."""

    code = "internal_error"
