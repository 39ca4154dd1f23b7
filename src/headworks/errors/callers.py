"""Errors before anything is sent: the caller's own, and our limits'."""

from collections.abc import Hashable

from headworks.errors.base import CallError


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


class UploadIncomplete(CallerError):
    """The upload ended before all of it had come."""

    code = "upload_incomplete"


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

    def __init__(self, message: str = "", *, allowed: str = "") -> None:
        """Tell which methods are `allowed`, as the field Allow has them (RFC 9110, 15.5.6)."""
        super().__init__(message)
        self.allowed = allowed


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
    """WebSocket connections are relayed at /v1/realtime and /v1/responses, by `headworks serve`."""

    status, code = 501, "websocket_not_supported"


class UploadNotKept(CallError):
    """The upload has to be kept on disk for a moment, and there is no room for it now."""

    status, code, should_retry = 503, "upload_not_kept", True


class LimitError(CallError):
    """One of our own limits said no.

    Attributes:
        subject: What the limit is on, None when nobody says; `limit` is how much it allows.
        period: Seconds until what was let in counts no longer, 0.0 where it is no rate.
    """

    status, type, should_retry = 429, "rate_limit_error", True
    subject: Hashable = None
    limit: int = 0
    period: float = 0.0


class RateLimited(LimitError):
    """Too many requests in a minute or a day; or tokens, which the type then says."""

    type, code = "requests", "rate_limit_exceeded"


class ParallelLimited(LimitError):
    """Too many requests at once."""

    code = "parallel_limit_exceeded"


class QueueFull(LimitError):
    """The key has as many requests waiting as it may."""

    code = "queue_full"


class Overloaded(CallError):
    """This instance carries as many requests as it may, and more are waiting than it can serve."""

    status, code, should_retry = 503, "overloaded", True
