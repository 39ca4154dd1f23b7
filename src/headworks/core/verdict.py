"""What a caller is told of a call whose attempts have all failed."""

from collections.abc import Sequence

from headworks.core.classify import known_code
from headworks.errors import (
    CallError,
    CredentialRefused,
    CredentialsExhausted,
    NoRouteLeft,
    Retry,
    UpstreamError,
)

_PAYMENT_REQUIRED = 402
_REFUSED = (
    "The provider refused every credential of the gateway that was tried ({}). The caller's key "
    "is fine; the operator must look."
)


def verdict(failures: Sequence[UpstreamError], remaining: float, *, has_moved: bool) -> CallError:
    """Return the error that tells the caller most; `failures` are those of its attempts, in order.

    A single failure passes as it is, and so does one that is final. Where the provider asks for a
    longer wait than the call has `remaining`, repeating it is not for its caller's client either.
    """
    last = failures[-1]
    is_final = last.retry is Retry.NEVER
    if last.retry_after is not None and last.retry_after >= remaining:
        last.retry = Retry.NEVER
    if all(_is_refused(one) for one in failures) and not _is_told(failures):
        refusals = ", ".join(dict.fromkeys(known_code(one) for one in failures))
        return CredentialsExhausted(_REFUSED.format(refusals))
    return last if is_final or not has_moved else NoRouteLeft(failures)


def _is_refused(error: UpstreamError) -> bool:
    return error.failure == "credential" or error.status == _PAYMENT_REQUIRED


def _is_told(failures: Sequence[UpstreamError]) -> bool:
    """Return whether the only failure already says that the credential was refused."""
    return len(failures) == 1 and isinstance(failures[0], CredentialRefused)
