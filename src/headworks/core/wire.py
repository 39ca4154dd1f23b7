"""What our answers look like on the wire: header fields, and errors in OpenAI's shape."""

import math
from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from headworks.core.memo import remembered
from headworks.errors import (
    CallError,
    MethodNotAllowed,
    NoRouteLeft,
    Retry,
    UpstreamAnswered,
    UpstreamError,
)
from headworks.types import Call, Headers, Response, Tried

_JSON = (b"content-type", b"application/json")
_OF_CONTENT = frozenset(
    {
        b"accept-ranges",
        b"content-disposition",
        b"content-encoding",
        b"content-range",
        b"content-type",
        b"etag",
        b"last-modified",
        b"location",
    }
)
_PROVIDERS_OWN = b"openai-"
_KEPT_BACK = frozenset({b"openai-organization", b"openai-project"})
_RENAMED = b"x-headworks-upstream-"
_OBEYED = 60.0
"""Seconds of Retry-After up to which all official clients obey it."""

_LONGEST_ROUTE = 256
_NUL, _LF, _CR = b"\0\n\r"

_encode = msgspec.json.encode


def message_head(lines: Sequence[bytes]) -> bytes:
    """Return the head of an HTTP message that consists of these lines, with its last empty line.

    Raises:
        ValueError: A line holds CR, LF or NUL: it could be read as two.
    """
    refuse_breaks(b"".join(lines))
    return b"\r\n".join((*lines, b"", b""))


def refuse_breaks(text: bytes) -> None:
    """Return if what is to stand in a line of a head leaves it one line.

    Raises:
        ValueError: It does not: it holds CR, LF or NUL.
    """
    if _CR in text or _LF in text or _NUL in text:
        raise ValueError("A line of a head holds no CR, LF or NUL")


def head_fields(head: bytes) -> list[tuple[bytes, bytes]]:
    """Return the fields of a whole head that llhttp has found valid: each on a line, with a colon.

    Names are in lower case; around values there are no other spaces than blanks and tabs. Half as
    dear as llhttp's telling them one by one.
    """
    lines = head[:-4].split(b"\r\n")
    del lines[0]
    return [
        (name.lower(), value.strip())
        for line in lines
        for name, _, value in (line.partition(b":"),)
    ]


@remembered
def media_type(value: bytes) -> bytes:
    """Return what a content-type says, without its parameters, in lower case."""
    return value.partition(b";")[0].strip().lower()


def answer_headers(call: Call, upstream: Headers, now: float) -> Headers:
    """Return the fields of a relayed answer: the provider's that matter, and ours.

    The provider's request id and rate limits go by a name of their own: they are about the
    gateway's credential, not about the caller's key.
    """
    told = [(shown, value) for name, value in upstream if (shown := _shown_as(name)) is not None]
    return (*told, *call_headers(call, now))


def error_headers(call: Call, error: CallError, now: float) -> Headers:
    """Return the fields of a failed call: the provider's as with an answer, if it gave one."""
    said = error.said if isinstance(error, UpstreamError) else ()
    about = tuple(field for field in said if field[0] not in _OF_CONTENT)
    return (*answer_headers(call, about, now), *retry_headers(error, call))


@remembered
def _shown_as(name: bytes) -> bytes | None:
    """Return the name by which callers see a provider's field, None when they do not."""
    if name in _OF_CONTENT or (name.startswith(_PROVIDERS_OWN) and name not in _KEPT_BACK):
        return name
    if name == b"x-request-id" or name.startswith(b"x-ratelimit-"):
        return _RENAMED + name.removeprefix(b"x-")
    return None


def call_headers(call: Call, now: float) -> list[tuple[bytes, bytes]]:
    """Return the fields that tell the caller about its call; `now` is on the engine's clock."""
    id_ = call.id.encode()
    overhead = (now - call.started - call.waited) * 1000
    fields = [
        (b"x-request-id", id_),
        (b"x-headworks-call", id_),
        (b"x-headworks-attempts", b"%d" % call.attempts),
        (b"x-headworks-cache", call.cache.encode()),
        (b"x-headworks-overhead-ms", b"%.3f" % overhead if overhead > 0 else b"0.000"),
    ]
    if call.route is not None:
        fields.append((b"x-headworks-route", _shortened(str(call.route))))
    if call.trail:
        fields.append((b"x-headworks-trail", b"; ".join(map(_abridged, call.trail))))
    if call.filtered:
        fields.append((b"x-headworks-filtered", call.filtered.encode()))
    if call.replays:
        fields.append((b"x-headworks-replay-of", call.replays.encode()))
    if call.fitted is not None:
        fields.append((b"x-headworks-context", _visible(str(call.fitted))))
    fields += call.rates
    return fields


def _abridged(one: Tried) -> bytes:
    """Return a failed attempt as callers see it, as in `openai/gpt-6-sol rate_limit 2.0s`."""
    wait = f" {one.wait:.1f}s" if one.wait else ""
    return _shortened(str(one.route)) + f" {one.failure}{wait}".encode()


@remembered
def _shortened(route: str) -> bytes:
    return _visible(route)[:_LONGEST_ROUTE]


def _visible(text: str) -> bytes:
    """Return a text as a field may hold it: a model's name is the caller's, and may be anything."""
    if not (text.isascii() and text.isprintable()):
        text = quote(text, safe="/:@ ")
    return text.encode()


def usd(nano: int) -> str:
    """Return nano-dollars as US dollars, exact: nine decimals."""
    digits = str(nano).zfill(10)
    return f"{digits[:-9]}.{digits[-9:]}"


def error_response(error: CallError) -> Response:
    """Return the answer that tells the caller of `error`."""
    content = error.content if isinstance(error, UpstreamAnswered) else None
    about: Headers = (_JSON,)
    if isinstance(error, MethodNotAllowed):
        about = (_JSON, (b"allow", error.allowed.encode()))
    return Response(error.status, about + error.headers, content or _encode(error.body()))


def retry_headers(error: CallError, call: Call | None = None) -> Headers:
    """Return what tells official clients whether and when to try again; they obey it.

    `x-should-retry` is true only where the same request may succeed later and nobody has tried
    again on the caller's behalf, nor was kept from it by the upstream's retry budget: that bounds
    the retries of clients too.
    """
    wait = error.retry_after
    should = (b"x-should-retry", b"true" if _should_retry(error, call) else b"false")
    if wait is None:
        return (should,)
    return (
        should,
        (b"retry-after", b"%d" % max(1, math.ceil(wait))),
        (b"retry-after-ms", b"%d" % max(1, math.ceil(wait * 1000))),
    )


def _should_retry(error: CallError, call: Call | None) -> bool:
    attempts, trail = (0, ()) if call is None else (call.attempts, call.trail)
    if any("budget" in {one.failure, one.why} for one in trail):
        return False
    if (error.retry_after or 0.0) > _OBEYED:
        return False
    if isinstance(error, NoRouteLeft):
        return False
    if isinstance(error, UpstreamError):
        is_final = error.retry is Retry.NEVER or (
            error.is_answer and error.retry is Retry.OTHER_ROUTE  # this route will say it again
        )
        return attempts == 1 and not is_final
    return error.should_retry
