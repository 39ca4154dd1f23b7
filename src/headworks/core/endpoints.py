"""Which part of the API a path belongs to, and what that part needs."""

import re
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import quote, unquote_to_bytes

from headworks.errors import MethodNotAllowed, PathNotAllowed, PathNotFound
from headworks.types import Request, Route, Timeouts

Dialect = Literal["chat", "responses", "opaque"]
"""How a stream of this endpoint reads: its events, its end, where its usage is."""

RequestType = Literal[
    "chat.completions",
    "completions",
    "responses",
    "embeddings",
    "moderations",
    "images",
    "audio",
    "videos",
    "files",
    "uploads",
    "batches",
    "vector_stores",
    "fine_tuning",
    "evals",
    "conversations",
    "containers",
    "assistants",
    "threads",
    "models",
]
"""The parts of the API that a configuration may speak of, as `Endpoint.name` spells them."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One part of the API.

    Attributes:
        name: Stable word for reports, such as "chat.completions".
        methods: What it answers to.
        takes_model: A POST must carry a JSON object that names a model.
        repeatable: Sending a POST twice does no harm but its cost.
        is_free: The provider charges nothing for it.
    """

    name: str
    dialect: Dialect = "opaque"
    methods: frozenset[str] = frozenset({"GET", "POST"})
    takes_model: bool = False
    repeatable: bool = False
    is_free: bool = False


_POST = frozenset({"POST"})
_SAFE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_ANY = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})

_KNOWN = {
    "/v1/chat/completions": Endpoint("chat.completions", "chat", takes_model=True, repeatable=True),
    "/v1/completions": Endpoint("completions", "chat", _POST, takes_model=True, repeatable=True),
    "/v1/responses": Endpoint("responses", "responses", takes_model=True, repeatable=True),
    "/v1/embeddings": Endpoint("embeddings", "opaque", _POST, takes_model=True, repeatable=True),
    "/v1/moderations": Endpoint("moderations", "opaque", _POST, repeatable=True, is_free=True),
    "/v1/models": Endpoint("models", methods=frozenset({"GET", "HEAD"})),
}
_RESPONSE = re.compile(r"/v1/responses/[^/]+")
_ADMIN = ("/v1/organization", "/v1/projects")


def endpoint(method: str, path: str) -> Endpoint:
    """Return the endpoint of a normalised path.

    Raises:
        MethodNotAllowed: The endpoint does not answer to `method`.
        PathNotAllowed: The path administers the provider's account.
    """
    known = _KNOWN.get(path)
    if known is None:
        if path.startswith(_ADMIN):
            raise PathNotAllowed(
                "Paths that administer the provider's account need its admin key; "
                "a virtual key cannot use them."
            )
        name = path.split("/", 3)[2]
        dialect: Dialect = "responses" if _RESPONSE.fullmatch(path) else "opaque"
        known = Endpoint(name, dialect, _ANY)
    if method not in known.methods:
        allowed = ", ".join(sorted(known.methods))
        raise MethodNotAllowed(f"{path} does not answer to {method}; it takes {allowed}.")
    return known


def is_repeatable(request: Request) -> bool:
    """Return whether sending it twice does no harm but its cost."""
    if request.method in _SAFE:
        return True
    has_effects = request.fields.get("conversation") or goes_on(request)
    return endpoint(request.method, request.path).repeatable and not has_effects


def goes_on(request: Request) -> bool:
    """Return whether the provider works on when it has answered, or nobody reads what it says."""
    return bool(request.fields.get("background") or request.fields.get("deferred"))


def waits(timeouts: Timeouts, request: Request) -> Timeouts:
    """Return the timeouts that hold for requests of this type."""
    if not timeouts.by_type:
        return timeouts
    return timeouts.of(endpoint(request.method, request.path).name)


def timed(route: Route, request: Request) -> Route:
    """Return the route with the waits for such requests: by them it is judged who was late."""
    held = waits(route.timeouts, request)
    return route if held is route.timeouts else replace(route, timeouts=held)


def normalise(path: str) -> str:
    """Return the one spelling of a request path, as sent in the request line without its query.

    Percent-encoded letters are decoded, so that no spelling slips past a rule about a path.

    Raises:
        PathNotFound: The path is not under /v1/, or has empty, dotted or encoded-slash segments.
    """
    if path in _KNOWN:
        return path
    parts = [unquote_to_bytes(part) for part in path.split("/")]
    if len(parts) < 3 or parts[:2] != [b"", b"v1"] or any(map(_is_evil, parts[2:])):  # noqa: PLR2004 - "", "v1" and one more
        raise PathNotFound(
            "No such path. The API lives under /v1/, for example /v1/chat/completions; "
            "paths have no empty, dotted or encoded-slash segments."
        )
    return "/".join(quote(part, safe=":@!$&'()*+,=~") for part in parts)


def _is_evil(segment: bytes) -> bool:
    return segment in {b"", b".", b".."} or any(
        byte < 0x21 or byte > 0x7E or byte in b"/\\;%?#"  # noqa: PLR2004 - visible ASCII
        for byte in segment
    )
