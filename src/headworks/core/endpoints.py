"""Which part of the API a path belongs to, and what that part needs."""

import re
from dataclasses import dataclass, replace
from typing import Literal, get_args
from urllib.parse import quote, unquote_to_bytes

from headworks.errors import MethodNotAllowed, PathNotFound
from headworks.types import Request, Route, Timeouts, Upload

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
        is_admin: It administers the provider's account.
        bills_later: What it leads to is billed elsewhere: a session that the app opens itself.
    """

    name: str
    dialect: Dialect = "opaque"
    methods: frozenset[str] = frozenset({"GET", "POST"})
    takes_model: bool = False
    repeatable: bool = False
    is_free: bool = False
    is_admin: bool = False
    bills_later: bool = False


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
_FOUND = {(method, path): known for path, known in _KNOWN.items() for method in known.methods}
_RESPONSE = re.compile(r"/v1/responses/[^/]+")
_COUNTING = frozenset({"/v1/responses/input_tokens"})
_LATER = frozenset({"realtime", "live", "chatkit"})
_KEEPERS = frozenset(
    {
        "assistants",
        "audio",
        "batches",
        "chat",
        "containers",
        "content_provenance_checks",
        "conversations",
        "evals",
        "files",
        "fine_tuning",
        "responses",
        "safety",
        "skills",
        "threads",
        "uploads",
        "vaults",
        "vector_stores",
        "webhook_endpoints",
    }
)
"""Where a POST mostly makes or changes something that is kept, which costs nothing by the call."""
_WORK = re.compile(
    r"/v1/(?:audio/(?:speech|transcriptions|translations)|containers|responses/compact"
    r"|threads/(?:[^/]+/)?runs|threads/[^/]+/runs/[^/]+/submit_tool_outputs"
    r"|evals/[^/]+/runs|fine_tuning/(?:jobs|alpha/graders/run))"
)
"""Where it is work all the same."""
_JOBS = re.compile(r"/v1/(?:evals/[^/]+/runs|fine_tuning/jobs)")
"""Work that goes on when the answer is there, and says later what it came to."""
_CLOSING = ("/hangup", "/reject", "/refer", "/cancel")
"""What ends a session, or hands it to somebody else."""
_MODELLESS = (
    "/v1/files",
    "/v1/uploads",
    "/v1/containers",
    "/v1/skills",
    "/v1/vector_stores",
    "/v1/audio/voice",
    "/v1/content_provenance_checks",
)
"""Paths whose forms hold files and no model."""
_ADMIN = ("/v1/organization", "/v1/projects")
_PARTS = _KEEPERS | _LATER | {kind.partition(".")[0] for kind in get_args(RequestType)}


def endpoint(method: str, path: str) -> Endpoint:
    """Return the endpoint of a normalised path.

    Raises:
        MethodNotAllowed: The endpoint does not answer to `method`.
    """
    known = _FOUND.get((method, path))
    if known is not None:
        return known
    known = _KNOWN.get(path)
    if known is None:
        name = path.split("/", 3)[2]
        dialect: Dialect = "responses" if _RESPONSE.fullmatch(path) else "opaque"
        is_admin = path.startswith(_ADMIN)
        known = Endpoint(
            name,
            dialect,
            _ANY,
            is_free=is_admin or path in _COUNTING,
            is_admin=is_admin,
            bills_later=name in _LATER,
        )
    if method not in known.methods:
        allowed = ", ".join(sorted(known.methods))
        told = f"{path} does not answer to {method}; it takes {allowed}."
        raise MethodNotAllowed(told, allowed=allowed)
    return known


def names_no_model(path: str) -> bool:
    """Return whether a form that is sent there is about no model."""
    return path.startswith(_MODELLESS)


def must_be_kept(request: Request, upload: Upload) -> bool:
    """Return whether all of an upload must be here before it is known what is asked for.

    A form may name its model behind its file, and only whole bodies can be compared.
    """
    if upload.is_kept:
        return False
    if request.method == "POST" and any(name == b"idempotency-key" for name, _ in request.headers):
        return True
    is_open = request.model_at is None and not upload.has_all_fields
    return is_open and not names_no_model(request.path)


def can_go_out(request: Request) -> bool:
    """Return whether the request is all here: what passed through us is gone."""
    return request.upload is None or not request.upload.is_spent


def tells_batches(request: Request) -> bool:
    """Return whether the answer tells of batches, and of what they have used."""
    return request.path.startswith("/v1/batches")


def is_repeatable(request: Request) -> bool:
    """Return whether sending it twice is possible, and does no harm but its cost."""
    if request.upload is not None and not request.upload.is_kept:
        return False
    if request.method in _SAFE:
        return True
    has_effects = request.fields.get("conversation") or goes_on(request)
    return endpoint(request.method, request.path).repeatable and not has_effects


def goes_on(request: Request) -> bool:
    """Return whether the provider works on when it has answered, or nobody reads what it says."""
    fields = request.fields
    is_later = fields.get("background") or fields.get("deferred")
    return bool(is_later) or _JOBS.fullmatch(request.path) is not None


def opens_session(request: Request) -> bool:
    """Return whether it leads to a session with the provider through which no later call of ours goes."""
    if request.method in {"GET", "HEAD", "DELETE"} or request.path.endswith(_CLOSING):
        return False
    return endpoint(request.method, request.path).bills_later


def is_work(request: Request) -> bool:
    """Return whether a provider may charge for a request by itself, though it name no model.

    So for whatever a POST to a path does that nobody knows.
    """
    if request.method != "POST":
        return False
    kind, path = endpoint(request.method, request.path), request.path
    if kind.takes_model:
        return True
    if kind.is_free or kind.bills_later or path.endswith("/cancel"):
        return False
    return kind.name not in _KEEPERS or _WORK.fullmatch(path) is not None


def is_billed(request: Request) -> bool:
    """Return whether the usage in the answer is this request's own.

    What is read, cancelled or deleted later repeats the usage of the request that made it.
    """
    if request.method != "POST" or request.model:
        return request.method == "POST"
    names_nothing_readable = bool(request.content or request.upload is not None)
    return (names_nothing_readable and not request.fields) or is_work(request)


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
        PathNotFound: The path is not under /v1/, or has empty, dotted or encoded-slash segments; or
            it is one of the API's in other letters, which some provider may take for that.
    """
    if path in _KNOWN:
        return path
    parts = [unquote_to_bytes(part) for part in path.split("/")]
    if len(parts) < 3 or parts[:2] != [b"", b"v1"] or any(map(_is_evil, parts[2:])):  # noqa: PLR2004 - "", "v1" and one more
        raise PathNotFound(
            "No such path. The API lives under /v1/, for example /v1/chat/completions; "
            "paths have no empty, dotted or encoded-slash segments."
        )
    spelled = "/".join(quote(part, safe=":@!$&'()*+,=~") for part in parts)
    if spelled != (plain := spelled.lower()) and _is_known(plain, spelled):
        raise PathNotFound("No such path: the API's are in lower case.")
    return spelled


def _is_known(plain: str, spelled: str) -> bool:
    """Return whether a path in lower case is one for which there are rules, and was not spelled so."""
    part, rest = plain.split("/", 3)[2], spelled.split("/", 3)[2]
    is_part = part in _PARTS or plain.startswith(_ADMIN)
    return plain in _KNOWN or (part != rest and is_part)


def _is_evil(segment: bytes) -> bool:
    return segment in {b"", b".", b".."} or any(
        byte < 0x21 or byte > 0x7E or byte in b"/\\;%?#"  # noqa: PLR2004 - visible ASCII
        for byte in segment
    )
