"""Everything that can go wrong, and the three answers each error gives.

Whose fault it is (its family), how it looks on the wire (status, type, code), and what may be
tried next (`retry`, `retry_after`). `docs/errors.md` lists every code for users; a test compares.

* CallError
  x CallerError                 the caller must change something            never retried
    + InvalidRequest            400 invalid_request
    + InvalidJSON               400 invalid_json
    + ContextTooLong            400 context_length_exceeded
    + UploadIncomplete          400 upload_incomplete
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
    + QueueFull                 429 queue_full
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
  x Overloaded                  503 overloaded                              after a while
  x DeadlineExceeded            504 deadline_exceeded                       never: the time is up
  x NoRouteLeft                 503 all_routes_failed                       every route was tried
  x CredentialsExhausted        502 upstream_credentials_exhausted          each was refused
  x CircuitOpen                 503 circuit_open                            after a while
  x CoolingDown                 429 upstream_cooling_down                   waiting takes too long
  x UploadNotKept               503 upload_not_kept                         after a while
  x LedgerUnavailable           503 ledger_unavailable                      after a while
  x HomesUnavailable            503 stateful_ids_unavailable                after a while
  x ShuttingDown                503 shutting_down                           after a while
  x InternalError               500 internal_error                          our own defect
* ConfigurationError            the operator must change something; never reaches a caller
"""

from headworks.errors.base import CallError, ConfigurationError, Failure, Retry
from headworks.errors.callers import (
    BodyTooLarge,
    CallerError,
    ContextTooLong,
    InvalidJSON,
    InvalidRequest,
    LimitError,
    MethodNotAllowed,
    ModelNotAllowed,
    ModelNotFound,
    Overloaded,
    ParallelLimited,
    PathNotAllowed,
    PathNotFound,
    QueueFull,
    RateLimited,
    RequestTimeout,
    StatefulIdElsewhere,
    StatefulIdUnknown,
    Unauthenticated,
    UnsupportedMediaType,
    UploadIncomplete,
    UploadNotKept,
    WebSocketUnsupported,
)
from headworks.errors.calls import (
    CircuitOpen,
    CoolingDown,
    CredentialsExhausted,
    DeadlineExceeded,
    HomesUnavailable,
    InternalError,
    LedgerUnavailable,
    NoRouteLeft,
    ShuttingDown,
)
from headworks.errors.upstream import (
    AnswerFiltered,
    ConnectFailed,
    ConnectionLost,
    ConnectTimeout,
    CredentialRefused,
    FirstByteTimeout,
    IdleTimeout,
    MalformedEvent,
    MalformedResponse,
    StreamTruncated,
    UpstreamAnswered,
    UpstreamError,
)

__all__ = [
    "AnswerFiltered",
    "BodyTooLarge",
    "CallError",
    "CallerError",
    "CircuitOpen",
    "ConfigurationError",
    "ConnectFailed",
    "ConnectTimeout",
    "ConnectionLost",
    "ContextTooLong",
    "CoolingDown",
    "CredentialRefused",
    "CredentialsExhausted",
    "DeadlineExceeded",
    "Failure",
    "FirstByteTimeout",
    "HomesUnavailable",
    "IdleTimeout",
    "InternalError",
    "InvalidJSON",
    "InvalidRequest",
    "LedgerUnavailable",
    "LimitError",
    "MalformedEvent",
    "MalformedResponse",
    "MethodNotAllowed",
    "ModelNotAllowed",
    "ModelNotFound",
    "NoRouteLeft",
    "Overloaded",
    "ParallelLimited",
    "PathNotAllowed",
    "PathNotFound",
    "QueueFull",
    "RateLimited",
    "RequestTimeout",
    "Retry",
    "ShuttingDown",
    "StatefulIdElsewhere",
    "StatefulIdUnknown",
    "StreamTruncated",
    "Unauthenticated",
    "UnsupportedMediaType",
    "UploadIncomplete",
    "UploadNotKept",
    "UpstreamAnswered",
    "UpstreamError",
    "WebSocketUnsupported",
]
