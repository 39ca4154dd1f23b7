"""What a provider's error means: one table, read by message, by code, by type, then by status.

Vocabularies are open: an unknown code falls back to its type, an unknown type to its status.
`docs/guides/failures.md` shows the table; a test compares. Sources: OpenAI's error guide and
OpenAPI description; recorded answers.
"""

import re
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, cast

import msgspec

from headworks.core.durations import LONGEST_RETRY_AFTER, retry_after, seconds
from headworks.errors import CredentialRefused, Failure, Retry, UpstreamAnswered, UpstreamError
from headworks.types import Headers

_NEVER, _ONCE = Retry.NEVER, Retry.ONCE
_SAME, _OTHER = Retry.SAME_ROUTE, Retry.OTHER_ROUTE


class Row(NamedTuple):
    """One sign of a failure: where it stands, what it is, what it means, what may be tried next.

    A `message` holds one of several texts, divided by `|`; it counts for errors of one `status`,
    and for those inside an answer that claims success.
    """

    by: Literal["message", "code", "type", "status"]
    sign: str
    failure: Failure
    retry: Retry
    status: int = 0


def _rows(
    by: Literal["code", "type", "status"], failure: Failure, retry: Retry, *signs: str
) -> Iterable[Row]:
    return (Row(by, sign, failure, retry) for sign in signs)


TABLE: tuple[Row, ...] = (
    # what only the text tells: the request is larger than the limit, so that waiting never helps;
    # servers without codes say it is too long; a picture's host may recover
    Row("message", "Request too large|must be reduced", "too_large", _OTHER, 429),
    Row(
        "message", "maximum context length is|exceeds the available context size",
        "context_length", _NEVER, 400,
    ),
    Row("message", "Error while downloading", "request", _ONCE, 400),
    # the caller's request, wherever it is sent
    *_rows("code", "context_length", _NEVER, "context_length_exceeded"),
    *_rows(
        "code", "content_filter", _NEVER,
        "content_filter", "content_policy_violation", "moderation_blocked", "invalid_prompt",
        "bio_policy", "misalignment_policy_violation", "image_content_policy_violation",
        "ResponsibleAIPolicyViolation", "contentFilter",
    ),
    *_rows(
        "code", "request", _NEVER,
        "unknown_parameter", "unsupported_parameter", "unsupported_value", "invalid_value",
        "string_above_max_length", "unsupported_file", "invalid_image", "invalid_image_format",
        "invalid_image_mode", "invalid_image_url", "invalid_base64_image", "image_too_large",
        "image_too_small", "image_parse_error", "image_file_too_large", "image_file_not_found",
        "unsupported_image_media_type", "empty_image_file",
    ),
    *_rows("code", "request", _ONCE, "failed_to_download_image"),
    # this credential's account: another one may be able to pay
    *_rows(
        "code", "quota", _OTHER,
        "insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded", "organization_usage_limit_exceeded",
        "billing_hard_limit_reached", "billing_not_active",
    ),
    *_rows(
        "code", "credential", _OTHER, "invalid_api_key", "account_deactivated", "ip_not_authorized"
    ),
    # this model here
    *_rows("code", "model", _OTHER, "model_not_found", "DeploymentNotFound", "data_residency_mismatch"),
    # the provider's trouble
    *_rows("code", "rate_limit", _SAME, "rate_limit_exceeded", "slow_down"),
    *_rows("code", "overloaded", _SAME, "server_is_overloaded"),
    *_rows("code", "server_error", _SAME, "server_error", "vector_store_timeout"),
    *_rows("type", "context_length", _NEVER, "exceed_context_size_error"),
    *_rows("type", "quota", _OTHER, "insufficient_quota"),
    *_rows("type", "rate_limit", _SAME, "rate_limit_error", "tokens", "requests"),
    *_rows("type", "overloaded", _SAME, "service_unavailable_error"),
    *_rows("type", "server_error", _SAME, "server_error"),
    *_rows("status", "credential", _OTHER, "401", "403"),
    *_rows("status", "quota", _OTHER, "402"),
    *_rows("status", "timeout", _SAME, "408"),
    *_rows("status", "conflict", _SAME, "409"),
    *_rows("status", "too_large", _NEVER, "413"),
    *_rows("status", "rate_limit", _SAME, "429"),
    *_rows("status", "request", _NEVER, "4xx"),
    *_rows("status", "overloaded", _SAME, "503", "529"),
    *_rows("status", "server_error", _SAME, "5xx"),
)  # fmt: skip
"""Every sign there is, the first that fits decides."""

UNPAID = frozenset(row.sign for row in TABLE if row.failure == "quota" and row.by != "status")
"""Codes and types that say that an account cannot pay."""

_MISFITS = frozenset({"unsupported_parameter", "unsupported_value"})
_NOT_HERE = "with this model"
"""OpenAI's words where there is no code: "Web search options not supported with this model."."""

_MESSAGES = tuple(row for row in TABLE if row.by == "message")
_TOO_LARGE = _MESSAGES[0]
_SIGNS = {(row.by, row.sign): row for row in TABLE if row.by != "message"}

_ASKED = re.compile(r"Limit:? ([\d,]{1,15}).{0,80}?Requested:? ([\d,]{1,15})", re.DOTALL)
"""OpenAI's words for a limit: how much it is, and how much a request would have taken."""

_WAIT = re.compile(
    r"(?:try again in|retry after) ((?:\d{1,9}(?:\.\d{1,9})?(?:ms|s|m|h))+|\d{1,9}(?= seconds?\b))(?!\w)",
    re.ASCII | re.IGNORECASE,
)
"""OpenAI's and Azure's words for a wait."""

_STATUS_OF: dict[Failure, int] = {
    "context_length": 400,
    "content_filter": 400,
    "request": 400,
    "model": 404,
    "rate_limit": 429,
    "quota": 429,
    "too_large": 429,
    "overloaded": 503,
}
"""What an error without a status of its own becomes; any other one is a 502."""

_OK, _BAD_REQUEST, _TOO_MANY, _SERVER_ERROR = 200, 400, 429, 500
_ERRORS, _DIGITS = range(400, 1000), 3
_LONGEST_MESSAGE = 4096


class _Error(msgspec.Struct):
    message: Any = None
    type: Any = None
    code: Any = None
    param: Any = None
    innererror: Any = None


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
    code, kind = _text(error.code), _text(error.type)
    found = _status(status, code, kind)
    message = _text(error.message) or _no_message(status)
    row = _row(found, message, (code, _inner_code(error)), kind)
    if found == 401 or (row.by == "code" and row.failure == "credential"):  # noqa: PLR2004 - HTTP's own number
        return CredentialRefused(
            f"The provider refused the gateway's credential ({status} {code or kind or 'no code'}). "
            "The caller's key is fine; the operator must look."
        )
    if status not in _ERRORS:
        is_by_status = found != _OK and row.by == "status"
        status = found if is_by_status else _STATUS_OF.get(row.failure, 502)
    wait = retry_after(headers, now)
    if wait is None and row.failure == "rate_limit":
        wait = _told_wait(message)
    return UpstreamAnswered(
        message,
        status=status,
        type=kind or ("server_error" if status >= _SERVER_ERROR else "invalid_request_error"),
        code=code,
        param=_text(error.param) or None,
        retry=row.retry,
        failure=row.failure,
        retry_after=wait,
        content=content if is_whole else None,
    )


def known_code(error: UpstreamError) -> str:
    """Return the error's code where it is our own or one of the table, else its status."""
    is_known = not isinstance(error, UpstreamAnswered) or ("code", error.code) in _SIGNS
    return error.code if is_known and error.code else str(error.status)


def is_misfit(error: UpstreamError) -> bool:
    """Return whether it says that this model cannot do what the request asks: another may."""
    is_request = error.failure == "request" and error.status == _BAD_REQUEST
    return is_request and (error.code in _MISFITS or _NOT_HERE in str(error))


def _status(status: int, code: str, kind: str) -> int:
    """Return the status that an error has, 200 where it came with success and does not say."""
    if status in _ERRORS:
        return status
    told = int(code) if code.isdecimal() and len(code) == _DIGITS else _OK
    if told in _ERRORS:
        return told
    return _ERRORS.start if kind == "invalid_request_error" else _OK


def _row(status: int, message: str, codes: Iterable[str], kind: str) -> Row:
    """Return the first row of the table that fits; an error inside a success counts as 502."""
    for row in _MESSAGES:
        if status in {row.status, _OK} and any(text in message for text in row.sign.split("|")):
            return row
    if status in {_TOO_MANY, _OK} and _asks_too_much(message):
        return _TOO_LARGE
    signs = [
        *(("code", code) for code in codes),
        ("type", kind),
        ("status", str(status)),
        ("status", f"{status // 100}xx"),
    ]
    return next((_SIGNS[sign] for sign in signs if sign in _SIGNS), _SIGNS["status", "5xx"])


def _asks_too_much(message: str) -> bool:
    """Return whether a request would have taken more than its limit ever holds."""
    found = _ASKED.search(message)
    if found is None:
        return False
    limit, asked = (int(number.replace(",", "") or 0) for number in found.groups())
    return limit < asked


def _told_wait(message: str) -> float | None:
    """Return the seconds after which a message asks to try again, None without or beyond reason."""
    found = _WAIT.search(message)
    wait = None if found is None else seconds(found[1])
    return wait if wait is not None and wait <= LONGEST_RETRY_AFTER else None


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
    kind = None if body.type == "error" else body.type  # what the whole event is called
    return _Error(body.message, kind, body.code, body.param), False


def _inner_code(error: _Error) -> str:
    """Return the code that Azure puts one level deeper."""
    inner: object = error.innererror
    if not isinstance(inner, dict):
        return ""
    return _text(cast("dict[str, object]", inner).get("code"))


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return str(value)[:_LONGEST_MESSAGE]


def _no_message(status: int) -> str:
    return f"The provider answered {status} without an error that can be read."
