"""Errors of a provider, or on the way to it."""

from headworks.errors.base import CallError, Failure, Retry


class UpstreamError(CallError):
    """The provider failed, or could not be reached.

    Attributes:
        failure: What kind of failure it is; a model may have routes of its own for it.
        sent: Whether a whole request may have reached the provider, so that it may bill for it.
        is_answer: Whether the provider itself said no, so that it does not bill.
        said: Header fields of its answer, as far as there was one.
    """

    status, type = 502, "upstream_error"
    failure: Failure = "broken"
    sent: bool = True
    is_answer: bool = False
    said: tuple[tuple[bytes, bytes], ...] = ()


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
