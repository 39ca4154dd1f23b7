"""Everything that can go wrong, and the three answers each error gives.

Whose fault it is (its family), how it looks on the wire (status, type, code), and what may be
tried next (`retry`, `retry_after`). `docs/errors.md` lists every code for users; a test compares.

* CallError
  x CallerError                 the caller must change something            never retried
    + InvalidRequest            400 invalid_request
    + InvalidJSON               400 invalid_json
    + ContextTooLong            400 context_length_exceeded
    + Unauthenticated           401 invalid_api_key
    + ModelNotAllowed           403 model_not_allowed
    + PathNotAllowed            403 path_not_allowed
    + ModelNotFound             404 model_not_found
    + PathNotFound              404 path_not_found
    + MethodNotAllowed          405 method_not_allowed
    + RequestTimeout            408 request_timeout
    + StatefulIdElsewhere       409 stateful_id_elsewhere
    + StatefulIdUnknown         409 stateful_id_unknown
    + BodyTooLarge              413 body_too_large
    + UnsupportedMediaType      415 unsupported_media_type
    + WebSocketUnsupported      501 websocket_not_supported
  x LimitError                  our own limits said no                      after a while
    + RateLimited               429 rate_limit_exceeded
    + ParallelLimited           429 parallel_limit_exceeded
  x UpstreamError               the provider failed
    + ConnectFailed             502 upstream_unreachable                    same route: nothing sent
    + ConnectTimeout            504 upstream_connect_timeout                same route: nothing sent
    + ConnectionLost            502 upstream_connection_lost                same route: may be billed
    + FirstByteTimeout          504 upstream_first_byte_timeout             other route: may be billed
    + IdleTimeout               504 upstream_idle_timeout                   other route: may be billed
    + MalformedResponse         502 upstream_malformed_response             same route: may be billed
    + StreamTruncated           502 upstream_stream_truncated               same route: may be billed
    + MalformedEvent            502 upstream_malformed_event                same route: may be billed
    + AnswerFiltered            400 content_filter                          as the model's policy says
    + CredentialRefused         502 upstream_auth_failed                    other route
    + UpstreamAnswered          as answered                                 by its code: core/classify
  x DeadlineExceeded            504 deadline_exceeded                       never: the time is up
  x NoRouteLeft                 503 all_routes_failed                       every route was tried
  x CredentialsExhausted        502 upstream_credentials_exhausted          each was refused
  x CircuitOpen                 503 circuit_open                            after a while
  x CoolingDown                 429 upstream_cooling_down                   waiting takes too long
  x LedgerUnavailable           503 ledger_unavailable                      after a while
  x HomesUnavailable            503 stateful_ids_unavailable                after a while
  x ShuttingDown                503 shutting_down                           after a while
  x InternalError               500 internal_error                          our own defect
* ConfigurationError            the operator must change something; never reaches a caller
"""

from collections.abc import Sequence
from enum import Enum, auto
from typing import Literal

Failure = Literal[
    "connection", "timeout", "broken", "rate_limit", "overloaded", "server_error", "conflict",
    "quota", "credential", "model", "too_large", "context_length", "content_filter", "request",
]  # fmt: skip
"""What kind of failure an attempt met; `core.classify` tells what a provider's own error is."""


class Retry(Enum):
    """What a failed attempt allows next; `ONCE` is the same route, but for one more attempt."""

    NEVER = auto()
    ONCE = auto()
    SAME_ROUTE = auto()
    OTHER_ROUTE = auto()


class CallError(Exception):
    """Base of all errors that end a call; each knows how it looks on the wire.

    Attributes:
        retry_after: Seconds after which trying again may help, None when unknown.
        param: The request field at fault, where there is one.
        headers: Header fields for the caller: about its call, and whether to try again.
        should_retry: Whether the caller itself may repeat the request, unchanged.
    """

    status: int = 500
    type: str = "server_error"
    code: str = ""
    retry: Retry = Retry.NEVER
    should_retry: bool = False

    def __init__(
        self, message: str = "", *, retry_after: float | None = None, param: str | None = None
    ) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())
        self.retry_after = retry_after
        self.param = param
        self.headers: tuple[tuple[bytes, bytes], ...] = ()

    def body(self) -> dict[str, dict[str, str | None]]:
        """Return the error object that OpenAI's clients know."""
        told = {"message": str(self), "type": self.type, "param": self.param}
        return {"error": {**told, "code": self.code or None}}


class CallerError(CallError):
    """The caller must change something before trying again."""

    status, type = 400, "invalid_request_error"


class InvalidRequest(CallerError):
    """The request does not say what it must."""

    code = "invalid_request"


class InvalidJSON(CallerError):
    """The body is not the JSON that we accept."""

    code = "invalid_json"


class ContextTooLong(CallerError):
    """The request is longer than the model's window."""

    code = "context_length_exceeded"


class Unauthenticated(CallerError):
    """No API key was sent, or one that is not valid."""

    status, code = 401, "invalid_api_key"


class ModelNotAllowed(CallerError):
    """The key may not use this model."""

    status, code = 403, "model_not_allowed"


class PathNotAllowed(CallerError):
    """The key may not use this path."""

    status, code = 403, "path_not_allowed"


class ModelNotFound(CallerError):
    """No route leads to this model."""

    status, code = 404, "model_not_found"


class PathNotFound(CallerError):
    """The API lives under /v1/."""

    status, code = 404, "path_not_found"


class MethodNotAllowed(CallerError):
    """The path does not answer to this method."""

    status, code = 405, "method_not_allowed"


class RequestTimeout(CallerError):
    """The request took too long to arrive."""

    status, code = 408, "request_timeout"


class StatefulIdElsewhere(CallerError):
    """What the request refers to lives in an account that this call cannot be sent to."""

    status, code = 409, "stateful_id_elsewhere"


class StatefulIdUnknown(CallerError):
    """Nobody knows which account holds what the request refers to."""

    status, code = 409, "stateful_id_unknown"


class BodyTooLarge(CallerError):
    """The body exceeds the configured size."""

    status, code = 413, "body_too_large"


class UnsupportedMediaType(CallerError):
    """The body has a content type or encoding that this path does not take."""

    status, code = 415, "unsupported_media_type"


class WebSocketUnsupported(CallerError):
    """WebSocket connections are not relayed by this version; use the HTTP form of the API."""

    status, code = 501, "websocket_not_supported"


class LimitError(CallError):
    """One of our own limits said no."""

    status, type, should_retry = 429, "rate_limit_error", True


class RateLimited(LimitError):
    """Too many requests a minute."""

    code = "rate_limit_exceeded"


class ParallelLimited(LimitError):
    """Too many requests at once."""

    code = "parallel_limit_exceeded"


class UpstreamError(CallError):
    """The provider failed, or could not be reached.

    Attributes:
        failure: What kind of failure it is; a model may have routes of its own for it.
        sent: Whether request bytes may have reached the provider, so that it may bill for them.
        is_answer: Whether the provider itself said no, so that it does not bill.
    """

    status, type = 502, "upstream_error"
    failure: Failure = "broken"
    sent: bool = True
    is_answer: bool = False


class ConnectFailed(UpstreamError):
    """The provider could not be reached."""

    code, retry, sent = "upstream_unreachable", Retry.SAME_ROUTE, False
    failure: Failure = "connection"


class ConnectTimeout(UpstreamError):
    """The provider did not accept a connection in time."""

    status, code, retry, sent = 504, "upstream_connect_timeout", Retry.SAME_ROUTE, False
    failure: Failure = "connection"


class ConnectionLost(UpstreamError):
    """The provider closed the connection before it had answered."""

    code, retry = "upstream_connection_lost", Retry.SAME_ROUTE
    failure: Failure = "connection"


class FirstByteTimeout(UpstreamError):
    """The provider did not begin to answer in time."""

    status, code, retry = 504, "upstream_first_byte_timeout", Retry.OTHER_ROUTE
    failure: Failure = "timeout"


class IdleTimeout(UpstreamError):
    """The provider fell silent in the middle of its answer."""

    status, code, retry = 504, "upstream_idle_timeout", Retry.OTHER_ROUTE
    failure: Failure = "timeout"


class MalformedResponse(UpstreamError):
    """The provider's answer is not a valid HTTP message or not valid JSON."""

    code, retry = "upstream_malformed_response", Retry.SAME_ROUTE


class StreamTruncated(UpstreamError):
    """The provider's stream ended before its answer was complete."""

    code, retry = "upstream_stream_truncated", Retry.SAME_ROUTE


class MalformedEvent(UpstreamError):
    """The provider sent an event that cannot be read."""

    code, retry = "upstream_malformed_event", Retry.SAME_ROUTE


class AnswerFiltered(UpstreamError):
    """The provider's content filter stopped the answer."""

    status, type, code = 400, "invalid_request_error", "content_filter"
    failure: Failure = "content_filter"


class CredentialRefused(UpstreamError):
    """The provider refused the gateway's own credential; the caller's key is fine."""

    code, retry, is_answer = "upstream_auth_failed", Retry.OTHER_ROUTE, True
    failure: Failure = "credential"


class UpstreamAnswered(UpstreamError):
    """The provider answered with an error of its own, kept as it came.

    Attributes:
        content: The provider's error body, bytes as they came (JSON), or None to use `body()`.
    """

    is_answer = True

    def __init__(  # noqa: PLR0913 - one fact of the provider's answer each
        self,
        message: str,
        *,
        status: int,
        type: str,  # noqa: A002 - the wire's own word
        code: str | None,
        param: str | None = None,
        retry: Retry = Retry.NEVER,
        failure: Failure = "request",
        retry_after: float | None = None,
        content: bytes | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after, param=param)
        self.status, self.type, self.code, self.retry = status, type, code or "", retry
        self.failure, self.content = failure, content


class DeadlineExceeded(CallError):
    """The call's total time is up.

    Attributes:
        sent: Whether request bytes may have reached a provider.
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


class ConfigurationError(Exception):
    """The operator must change something: `problems`, each as `file:line: key: what is wrong`."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
