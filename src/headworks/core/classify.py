"""What a provider's error means: one table, read by code, then by type, then by status.

Vocabularies are open: an unknown code falls back to its status. Sources: OpenAI's error guide and
OpenAPI description; recorded answers.
"""

import re
from typing import Any

import msgspec

from headworks.core.durations import retry_after
from headworks.errors import CredentialRefused, Retry, UpstreamAnswered, UpstreamError
from headworks.types import Headers

_NEVER, _SAME, _OTHER = Retry.NEVER, Retry.SAME_ROUTE, Retry.OTHER_ROUTE

_BY_CODE: dict[str, Retry] = {
    # the caller's request, wherever it is sent
    "context_length_exceeded": _NEVER,
    "content_filter": _NEVER,
    "content_policy_violation": _NEVER,
    "moderation_blocked": _NEVER,
    "invalid_prompt": _NEVER,
    "unknown_parameter": _NEVER,
    "invalid_value": _NEVER,
    # this credential's account: another one may be able to pay
    "insufficient_quota": _OTHER,
    "credit_balance_exhausted": _OTHER,
    "organization_spend_limit_exceeded": _OTHER,
    "project_spend_limit_exceeded": _OTHER,
    "organization_usage_limit_exceeded": _OTHER,
    "billing_hard_limit_reached": _OTHER,
    "billing_not_active": _OTHER,
    # this model here
    "model_not_found": _OTHER,
    # the provider's trouble
    "rate_limit_exceeded": _SAME,
    "slow_down": _SAME,
    "server_error": _SAME,
    "server_is_overloaded": _SAME,
    "vector_store_timeout": _SAME,
}
_BY_TYPE: dict[str, Retry] = {
    "insufficient_quota": _OTHER,
    "rate_limit_error": _SAME,
    "server_error": _SAME,
    "service_unavailable_error": _SAME,
}
_BY_STATUS: dict[int, Retry] = {
    401: _OTHER,
    402: _OTHER,
    403: _OTHER,
    408: _SAME,
    409: _SAME,
    429: _SAME,
}

_STATUS_OF_CODE = {
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "server_is_overloaded": 503,
}
_TOO_LARGE = re.compile(r"Request too large|must be reduced")
_CREDENTIAL = frozenset({"invalid_api_key", "account_deactivated", "ip_not_authorized"})
_SERVER_ERROR = 500
_LONGEST_MESSAGE = 4096


class _Error(msgspec.Struct):
    message: Any = None
    type: Any = None
    code: Any = None
    param: Any = None


class _Body(msgspec.Struct):
    error: _Error | str | None = None
    message: Any = None
    type: Any = None
    code: Any = None
    param: Any = None


_decode = msgspec.json.Decoder(_Body).decode


def classify(status: int, headers: Headers, content: bytes, *, now: float) -> UpstreamError:
    """Return the error that a provider's answer stands for.

    `status` is 200 for an error inside a stream or inside an answer that claims success; the
    error's own code then gives its status. `now` is in seconds since 1970, for dates.
    """
    error, is_whole = _read(content)
    message = _text(error.message) or _no_message(status)
    code, kind = _text(error.code), _text(error.type)
    if status in {401, 403} and (code in _CREDENTIAL or status == 401):  # noqa: PLR2004 - HTTP's own numbers
        return CredentialRefused(
            f"The provider refused the gateway's credential ({status} {code or kind or 'no code'}). "
            "The caller's key is fine; the operator must look."
        )
    if status < 400:  # noqa: PLR2004 - HTTP's own numbers
        status = _STATUS_OF_CODE.get(code, 502)
    return UpstreamAnswered(
        message,
        status=status,
        type=kind or ("server_error" if status >= _SERVER_ERROR else "invalid_request_error"),
        code=code,
        param=_text(error.param) or None,
        retry=_retry(status, code, kind, message),
        retry_after=retry_after(headers, now),
        content=content if is_whole else None,
    )


def _retry(status: int, code: str, kind: str, message: str) -> Retry:
    if status == 429 and _TOO_LARGE.search(message):  # noqa: PLR2004 - waiting never helps
        return _OTHER
    for table, word in ((_BY_CODE, code), (_BY_TYPE, kind)):
        if word in table:
            return table[word]
    return _SAME if status >= _SERVER_ERROR else _BY_STATUS.get(status, _NEVER)


def _read(content: bytes) -> tuple[_Error, bool]:
    """Return the error object, and whether the body has the shape that clients know."""
    try:
        body = _decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Error(), False
    if isinstance(body.error, _Error):
        return body.error, True
    if body.error is not None:
        return _Error(message=body.error), False
    return _Error(body.message, body.type, body.code, body.param), False


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return str(value)[:_LONGEST_MESSAGE]


def _no_message(status: int) -> str:
    return f"The provider answered {status} without an error that can be read."
