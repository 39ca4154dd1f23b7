"""Reads a request as it came: what may go on, what steers us, and what is refused at the door."""

from collections.abc import Iterable
from typing import Any, Literal, get_args

from headworks.core.durations import seconds
from headworks.core.endpoints import Endpoint, endpoint, normalise
from headworks.core.memo import remembered
from headworks.core.strict_json import parse_object
from headworks.core.wire import media_type
from headworks.errors import InvalidRequest, UnsupportedMediaType
from headworks.types import Headers, Priority, Request, Secret, Tags

_FORWARDED = frozenset(
    {
        b"accept",
        b"content-type",
        b"idempotency-key",
        b"if-match",
        b"if-none-match",
        b"range",
        b"user-agent",
        b"x-client-request-id",
    }
)
_KEPT_BACK = frozenset({b"openai-organization", b"openai-project"})
_OURS = b"x-headworks-"
_STEERING = frozenset({b"content-encoding", b"x-stainless-read-timeout", b"x-stainless-timeout"})
_KEYS = frozenset({b"authorization", b"api-key"})
_MARGIN = 1.0
"""Seconds before the end of a client's patience at which our answer is to be there."""

_LONGEST_MODEL = 256
"""Characters: names are kept, in memory and in the ledger, whether or not there is such a model."""
_LONGEST_TAG = 256
_MOST_TAGS = 16
_NO_TAGS = Tags()
_PRIORITIES: dict[str, Priority] = {name: name for name in get_args(Priority)}


def read_request(
    method: str, path: str, query: bytes, headers: Iterable[tuple[bytes, bytes]], content: bytes
) -> Request:
    """Return the request; header names are in lower case, `path` is as sent, without its query.

    Raises:
        CallerError: The path, method, content type, body or one of our headers is not acceptable.
    """
    path = normalise(path)
    kind = endpoint(method, path)
    forwarded: list[tuple[bytes, bytes]] = []
    steering: dict[bytes, bytes] = {}
    ours: dict[bytes, bytes] = {}
    for field in headers:
        use = _use(field[0])
        if use == "forwarded":
            forwarded.append(field)
        elif use == "steering":
            steering[field[0]] = field[1]
        elif use == "ours":
            ours[field[0][len(_OURS) :]] = field[1]
    if steering.get(b"content-encoding", b"identity") != b"identity":
        raise UnsupportedMediaType("Send the body as it is: content-encoding is not accepted.")
    fields = _fields(kind, method, forwarded, content)
    tags = _tags(ours) if ours else _NO_TAGS
    timeout = _timeout(ours, steering, streamed=fields.get("stream") is True)
    return Request(method, path, query, tuple(forwarded), content, fields, tags, timeout)


@remembered
def _use(name: bytes) -> Literal["forwarded", "steering", "ours"] | None:
    """Return what a header field is for, None where we leave it alone."""
    if name in _FORWARDED or (name.startswith(b"openai-") and name not in _KEPT_BACK):
        return "forwarded"
    if name in _STEERING:
        return "steering"
    return "ours" if name.startswith(_OURS) else None


def presented_key(headers: Iterable[tuple[bytes, bytes]]) -> Secret | None:
    """Return the key that the caller shows: a bearer token, or Azure's `api-key`."""
    for name, value in headers:
        if name not in _KEYS:
            continue
        if name == b"api-key":
            return Secret(value.decode("latin-1"))
        if value[:7].lower() == b"bearer ":
            return Secret(value[7:].strip().decode("latin-1"))
    return None


def _fields(
    kind: Endpoint, method: str, headers: Headers | list[Any], content: bytes
) -> dict[str, Any]:
    is_json = _is_json(headers)
    needs_object = kind.takes_model and method == "POST"
    if needs_object and not is_json:
        raise UnsupportedMediaType("Send the body as JSON, with content-type: application/json.")
    if not needs_object and not (content and is_json):
        return {}
    fields = parse_object(content)
    model = fields.get("model")
    if model is None and needs_object:
        raise InvalidRequest("You must provide a model parameter.", param="model")
    if model is not None and not isinstance(model, str):
        raise InvalidRequest("model must be a string.", param="model")
    if model is not None and len(model) > _LONGEST_MODEL:
        message = f"model must have at most {_LONGEST_MODEL} characters."
        raise InvalidRequest(message, param="model")
    if not isinstance(fields.get("stream") or False, bool):
        raise InvalidRequest("stream must be true or false.", param="stream")
    return fields


def _is_json(headers: Headers | list[Any]) -> bool:
    for name, value in headers:
        if name == b"content-type":
            return media_type(value) == b"application/json"
    return False


def _tags(ours: dict[bytes, bytes]) -> Tags:
    def text(name: bytes) -> str:
        value = ours.get(name, b"")
        return value.decode("utf-8", "replace")[:_LONGEST_TAG]

    tags = tuple(tag.strip() for tag in text(b"tags").split(",") if tag.strip())
    priority = _PRIORITIES.get(text(b"priority") or "interactive")
    if priority is None:
        raise InvalidRequest(f"x-headworks-priority must be one of {', '.join(_PRIORITIES)}.")
    return Tags(text(b"feature"), text(b"user"), text(b"session"), tags[:_MOST_TAGS], priority)


def _timeout(
    ours: dict[bytes, bytes], steering: dict[bytes, bytes], *, streamed: bool
) -> float | None:
    deadline = ours.get(b"deadline")
    if deadline is not None:
        wait = seconds(deadline.decode("latin-1").strip())
        if not wait:
            raise InvalidRequest('x-headworks-deadline must be a duration such as "30s".')
        return wait
    if streamed or not steering:
        return (
            None  # when streamed, the clients' own timeout is then for one read, not for the call
        )
    theirs = steering.get(b"x-stainless-read-timeout") or steering.get(b"x-stainless-timeout")
    wait = seconds((theirs or b"").decode("latin-1").strip())
    return None if not wait else wait - min(_MARGIN, wait / 20)
