"""Reads a request as it came: what may go on, what steers us, and what is refused at the door."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypedDict, get_args

from headworks.core.durations import seconds
from headworks.core.endpoints import Endpoint, endpoint, names_no_model, normalise
from headworks.core.memo import remembered
from headworks.core.multipart import FormReader, form_of
from headworks.core.naming import named_model, session_model, two_models
from headworks.core.strict_json import parse_object
from headworks.core.wire import media_type
from headworks.errors import InvalidRequest, UnsupportedMediaType
from headworks.types import (
    AS_OTHERS_SAY,
    Buffering,
    BufferMode,
    Headers,
    Priority,
    Request,
    Secret,
    Tags,
    Upload,
)

_FORWARDED = frozenset(
    {
        b"accept",
        b"content-type",
        b"idempotency-key",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
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
_LONGEST_DELAY = 60.0
"""Seconds that a caller may have the text of its stream wait."""
_MOST_TAGS = 16
_NO_TAGS = Tags()
_NONE: Final[dict[bytes, bytes]] = {}
_BUFFER_MODES: dict[str, BufferMode] = {name: name for name in get_args(BufferMode)}
_NO_FIELDS: Final[Mapping[str, Any]] = MappingProxyType({})
_JSON: Final = b"application/json"
_At = tuple[int, int] | None
_PRIORITIES: dict[str, Priority] = {name: name for name in get_args(Priority)}


def check_coding(fields: Mapping[bytes, bytes]) -> None:
    """Return if a body is sent as it is; raise `UnsupportedMediaType` if it is packed."""
    if fields.get(b"content-encoding", b"identity") != b"identity":
        raise UnsupportedMediaType("Send the body as it is: content-encoding is not accepted.")


class Opening(NamedTuple):
    """What the head of a request says; the same may open many requests.

    Attributes:
        path: Normalised, without its query.
        headers: What may go on to an upstream.
        is_json: Whether the body says that it is JSON.
        patience: Seconds that the caller waits for a whole answer, None when it does not say;
            `stream_patience` for a stream.
    """

    method: str
    path: str
    query: bytes
    kind: Endpoint
    headers: Headers
    is_json: bool
    tags: Tags
    patience: float | None
    stream_patience: float | None
    buffering: Buffering

    def request(self, body: bytes | Upload) -> Request:
        """Return the request that consists of this head and a body.

        Raises:
            CallerError: The body is not acceptable, or not of an acceptable type.
        """
        method, path, query, kind, headers, is_json, tags, patience, streamed, buffering = self
        at: _At = None
        fields: Mapping[str, Any]
        if is_json and isinstance(body, bytes):
            fields = _fields(kind, method, body)
        elif kind.takes_model and method == "POST":
            raise UnsupportedMediaType(
                "Send the body as JSON, with content-type: application/json."
            )
        else:
            at, fields = _form(path, headers, body)
        timeout = streamed if fields.get("stream") is True else patience
        if kind.takes_model and isinstance(body, bytes):  # most calls, whose model is in their JSON
            return Request(
                method, path, query, headers, body, fields, tags, timeout, buffering=buffering
            )
        held, upload = (body, None) if isinstance(body, bytes) else (b"", body)
        model = _model(path, query, fields)
        more: _More = {"upload": upload, "model_at": at, "is_admin": kind.is_admin}
        return Request(method, path, query, headers, held, fields, tags, timeout, model, **more)


def read_head(
    method: str, path: str, query: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> Opening:
    """Return what a head says; header names are in lower case, `path` is as sent, without its query.

    Raises:
        CallerError: The path, method, coding or one of our headers is not acceptable.
    """
    path = normalise(path)
    kind = endpoint(method, path)
    uses = _uses(tuple([name for name, _ in headers]))
    forwarded = tuple(compress(headers, uses.forwarded))
    steering = dict(compress(headers, uses.steering)) if uses.steering else _NONE
    ours = _ours(compress(headers, uses.ours)) if uses.ours else _NONE
    check_coding(steering)
    return Opening(
        method,
        path,
        query,
        kind,
        forwarded,
        _is_json(forwarded),
        _tags(ours) if ours else _NO_TAGS,
        _timeout(ours, steering, streamed=False),
        _timeout(ours, steering, streamed=True),
        _buffering(ours[b"buffer"]) if b"buffer" in ours else AS_OTHERS_SAY,
    )


def read_request(
    method: str,
    path: str,
    query: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes | Upload,
) -> Request:
    """Return the request that a head, as `read_head` takes it, and a body make.

    Raises:
        CallerError: One of them is not acceptable.
    """
    return read_head(method, path, query, headers).request(body)


def unread_request(method: str, path: str) -> Request:
    """Return what is known of a request whose body nobody reads.

    Raises:
        CallerError: The path or the method is not acceptable.
    """
    path = normalise(path)
    kind = endpoint(method, path)
    return Request(method, path, is_admin=kind.is_admin)


def _model(path: str, query: bytes, fields: Mapping[str, Any]) -> str:
    """Return the model that a request names, wherever it does; what it names twice must agree."""
    places = (fields.get("model"), named_model(path, query), session_model(path, fields))
    named = {name for name in places if name}
    if len(named) > 1:
        raise two_models()
    return named.pop() if named else ""


class _More(TypedDict):
    upload: Upload | None
    model_at: _At
    is_admin: bool


class _Uses(NamedTuple):
    """Which fields of a head go on, which steer us, and which are ours; empty where none is."""

    forwarded: list[bool]
    steering: list[bool]
    ours: list[bool]


@remembered
def _uses(names: tuple[bytes, ...]) -> _Uses:
    """Return what the fields of a head are for: the heads of one client have the same names.

    Raises:
        InvalidRequest: It says twice of what kind the body is.
    """
    if names.count(b"content-type") > 1:
        raise InvalidRequest("content-type must be said once.")
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


def is_held(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a body of this type is read whole before anything is done about it."""
    return media_type(headers.get(b"content-type", b"")) == _JSON


def new_form(path: str, headers: Mapping[bytes, bytes]) -> FormReader | None:
    """Return what reads the form that is sent to a path, None for a body of another type.

    Raises:
        CallerError: The path is none of ours, or the form has no proper boundary.
    """
    has_model = not names_no_model(normalise(path))
    return form_of(headers.get(b"content-type", b""), has_model=has_model)


def _form(path: str, headers: Headers, body: bytes | Upload) -> tuple[_At, Mapping[str, Any]]:
    """Return where the model stands in a body that is no JSON, and a form's short fields."""
    if not isinstance(body, bytes):
        return body.model_at, dict(body.fields)
    form = new_form(path, dict(headers)) if body else None
    if form is None:
        return None, _NO_FIELDS
    form.feed(body)
    form.end()
    return form.model_at, form.fields


def _fields(kind: Endpoint, method: str, content: bytes) -> dict[str, Any]:
    needs_object = kind.takes_model and method == "POST"
    if not needs_object and not content:
        return {}
    fields = parse_object(content)
    model = fields.get("model")
    if model is None and needs_object and fields.get("prompt").__class__ is not dict:
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
    return media_type(dict(headers).get(b"content-type", b"")) == _JSON


def _tags(ours: dict[bytes, bytes]) -> Tags:
    def text(name: bytes) -> str:
        value = ours.get(name, b"")
        return value.decode("utf-8", "replace")[:_LONGEST_TAG]

    tags = tuple(tag.strip() for tag in text(b"tags").split(",") if tag.strip())
    priority = _PRIORITIES.get(text(b"priority") or "interactive")
    if priority is None:
        raise InvalidRequest(f"x-headworks-priority must be one of {', '.join(_PRIORITIES)}.")
    return Tags(text(b"feature"), text(b"user"), text(b"session"), tags[:_MOST_TAGS], priority)


def _buffering(value: bytes) -> Buffering:
    """Return what `words`, or `sentences; max_delay=2s`, says."""
    name, _, rest = value.decode("latin-1").partition(";")
    label, _, delay = rest.partition("=")
    mode = _BUFFER_MODES.get(name.strip())
    wait = seconds(delay.strip()) if label.strip() == "max_delay" else None
    if mode is None or (rest.strip() and not 0 < (wait or 0.0) <= _LONGEST_DELAY):
        modes = ", ".join(_BUFFER_MODES)
        raise InvalidRequest(
            f'x-headworks-buffer must be one of {modes}, or such as "sentences; max_delay=2s", '
            f"at most {_LONGEST_DELAY:g} s."
        )
    return Buffering(mode, wait)


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
