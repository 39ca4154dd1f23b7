"""Reads a request as it came: what may go on, what steers us, and what is refused at the door."""

from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Any, Final, NamedTuple, get_args

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
_MARGIN = 1.0
"""Seconds before the end of a client's patience at which our answer is to be there."""

_LONGEST_MODEL = 256
"""Characters: names are kept, in memory and in the ledger, whether or not there is such a model."""
_LONGEST_TAG = 256
_MOST_TAGS = 16
_NO_TAGS = Tags()
_NONE: Final[dict[bytes, bytes]] = {}
_PRIORITIES: dict[str, Priority] = {name: name for name in get_args(Priority)}


def read_request(
    method: str, path: str, query: bytes, headers: Sequence[tuple[bytes, bytes]], content: bytes
) -> Request:
    """Return the request; header names are in lower case, `path` is as sent, without its query.

    Raises:
        CallerError: The path, method, content type, body or one of our headers is not acceptable.
    """
    path = normalise(path)
    kind = endpoint(method, path)
    uses = _uses(tuple([name for name, _ in headers]))
    forwarded = tuple(compress(headers, uses.forwarded))
    steering = dict(compress(headers, uses.steering)) if uses.steering else _NONE
    ours = _ours(compress(headers, uses.ours)) if uses.ours else _NONE
    if steering.get(b"content-encoding", b"identity") != b"identity":
        raise UnsupportedMediaType("Send the body as it is: content-encoding is not accepted.")
    fields = _fields(kind, method, forwarded, content)
    tags = _tags(ours) if ours else _NO_TAGS
    timeout = _timeout(ours, steering, streamed=fields.get("stream") is True)
    return Request(method, path, query, forwarded, content, fields, tags, timeout)


class _Uses(NamedTuple):
    """Which fields of a head go on, which steer us, and which are ours; empty where none is."""

    forwarded: list[bool]
    steering: list[bool]
    ours: list[bool]


@remembered
def _uses(names: tuple[bytes, ...]) -> _Uses:
    """Return what the fields of a head are for: the heads of one client have the same names."""
    steering = [name in _STEERING for name in names]
    ours = [name.startswith(_OURS) for name in names]
    forwarded = [name in _FORWARDED or _is_openai(name) for name in names]
    return _Uses(forwarded, steering if any(steering) else [], ours if any(ours) else [])


def _is_openai(name: bytes) -> bool:
    return name.startswith(b"openai-") and name not in _KEPT_BACK


def _ours(fields: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    return {name[len(_OURS) :]: value for name, value in fields}


def presented_key(headers: Iterable[tuple[bytes, bytes]]) -> Secret | None:
    """Return the key that the caller shows: a bearer token, or Azure's `api-key`."""
    told = dict(headers)
    bearer = told.get(b"authorization", b"")
    if bearer[:7].lower() == b"bearer ":
        return Secret(bearer[7:].strip().decode("latin-1"))
    key = told.get(b"api-key")
    return None if key is None else Secret(key.decode("latin-1"))


def _fields(kind: Endpoint, method: str, headers: Headers, content: bytes) -> dict[str, Any]:
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


def _is_json(headers: Headers) -> bool:
    return media_type(dict(headers).get(b"content-type", b"")) == b"application/json"


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
