"""Which of the things that a provider keeps a request refers to.

Responses, files, batches and their like live in the account that made them; every other account
says "not found". A request names them in its path, in its body, or sends back something that only
their maker can read, such as encrypted reasoning. Prompts that a provider hosts are not among
them: they are the operator's own.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

from typing_extensions import TypeIs

from headworks.types import Request

_KINDS = frozenset(
    {
        "agents",
        "agents/automations",
        "agents/environments",
        "agents/sessions",
        "assistants",
        "audio/voice_consents",
        "audio/voices",
        "batches",
        "chat/completions",
        "chatkit/sessions",
        "chatkit/threads",
        "containers",
        "conversations",
        "evals",
        "files",
        "fine_tuning/jobs",
        "live/sessions",
        "realtime/calls",
        "responses",
        "skills",
        "threads",
        "uploads",
        "vector_stores",
        "videos",
        "videos/characters",
    }
)
_WORDS = frozenset(
    {
        ("agents/environments", "templates"),
        ("responses", "compact"),
        ("responses", "input_tokens"),
        ("threads", "runs"),
        ("videos", "edits"),
        ("videos", "extensions"),
    }
)
"""What stands in an id's place and is none."""

_ID = frozenset(
    {
        "agent_id",
        "assistant_id",
        "container_id",
        "conversation",
        "environment_id",
        "eval_id",
        "file_id",
        "input_file_id",
        "previous_response_id",
        "thread_id",
        "training_file",
        "validation_file",
        "vector_store_id",
    }
)
_IDS = frozenset({"file_ids", "input_file_ids", "vector_store_ids"})
_OBJECT = frozenset({"conversation", "video", "voice"})
"""Fields that hold one id, a list of them, or an object with one."""

_FIELDS = _ID | _IDS | _OBJECT
_FREE = frozenset({"annotations", "headers", "metadata", "parameters", "results", "schema"})
"""Fields whose content is the caller's own, or was a model's: an id there asks for nothing."""


class Reference(NamedTuple):
    """Something that a provider keeps; any one of `ids` tells where, and people call it `shown`."""

    ids: tuple[str, ...]
    shown: str


class Place(NamedTuple):
    """What a path is about: a kind of things, the id of one or "", and how many parts follow."""

    kind: str
    id: str
    depth: int


def references(request: Request) -> list[Reference]:
    """Return what a request refers to; nothing, for most."""
    known = _FINDERS.get(request.path)
    if known is not None:
        return known(request.fields) if request.fields else []
    if request.is_admin:
        return []
    found = list(_walk(request.fields)) if request.fields else []
    at = place(request.path)
    if at is not None and at.id:
        found.append(_named(at.id))
    return found


def is_list(request: Request) -> bool:
    """Return whether a request asks for all things of a kind: those of one account."""
    if request.method not in {"GET", "HEAD"} or request.socket:
        return False
    at = place(request.path)
    return at is not None and at.depth == 0


def place(path: str) -> Place | None:
    """Return what a path is about, None where that is nothing with an id."""
    parts = path.split("/")[2:]
    length = 2 if "/".join(parts[:2]) in _KINDS else 1
    kind = "/".join(parts[:length])
    if kind not in _KINDS:
        return None
    rest = parts[length:]
    if not rest or (kind, rest[0]) in _WORDS:
        return Place(kind, "", len(rest))
    return Place(kind, unquote(rest[0]), len(rest))


def _named(id_: str) -> Reference:
    return Reference((id_,), id_)


def _in_chat(fields: Mapping[str, Any]) -> list[Reference]:
    """Find files and earlier speech among messages; most are text alone."""
    found: list[Reference] = []
    messages: Any = fields.get("messages")
    for message in messages if messages.__class__ is list else ():
        if message.__class__ is not dict:
            continue
        content = message.get("content")
        if content.__class__ is list:
            found += _walk([one for one in content if one.__class__ is dict and "file" in one])
        speech = message.get("audio")
        if speech.__class__ is dict and _is_id(speech.get("id")):
            found.append(_named(speech["id"]))
    if "audio" in fields:
        found += _walk(fields["audio"])
    return found


def _in_response(fields: Mapping[str, Any]) -> list[Reference]:
    found: list[Reference] = []
    for name in ("previous_response_id", "conversation"):
        if name in fields:
            found += _of_field(name, fields[name])
    items: Any = fields.get("input")
    for item in items if items.__class__ is list else ():
        if item.__class__ is not dict or item.get("content").__class__ is str:
            continue
        if item.get("type") is None and "role" not in item and _is_id(item.get("id")):
            found.append(_named(item["id"]))  # the short form of an item_reference
        else:
            found += _walk(item)
    if "tools" in fields:
        found += _walk(fields["tools"])
    if "prompt" in fields:
        found += _walk(fields["prompt"])
    return found


def _nothing(_: Mapping[str, Any]) -> list[Reference]:
    return []


_FINDERS: Mapping[str, Callable[[Mapping[str, Any]], list[Reference]]] = {
    "/v1/chat/completions": _in_chat,
    "/v1/responses": _in_response,
    "/v1/completions": _nothing,
    "/v1/embeddings": _nothing,
    "/v1/moderations": _nothing,
    "/v1/models": _nothing,
}
"""The paths of most calls, which must cost next to nothing."""


def _walk(value: object) -> Iterator[Reference]:
    """Yield what is referred to anywhere in a JSON value."""
    left: list[Any] = [value]
    while left:
        one = left.pop()
        if one.__class__ is list:
            left += one
        elif one.__class__ is dict:
            kind = one.get("type")
            if kind == "function" or (isinstance(kind, str) and kind.endswith("_call")):
                yield from _of_picture(one)
                continue  # nothing else there is the provider's to find
            yield from _of_object(kind, one)
            left += (inner for name, inner in one.items() if name not in _FREE)


def _of_object(kind: object, one: Mapping[str, Any]) -> Iterator[Reference]:
    if not _FIELDS.isdisjoint(one):
        for name in filter(_FIELDS.__contains__, one):
            yield from _of_field(name, one[name])
    container, skill, id_ = one.get("container"), one.get("skill_id"), one.get("id")
    if kind == "code_interpreter" and _is_id(container):
        yield _named(container)
    if _is_id(skill) and skill.startswith("skill_"):  # others are everybody's
        yield _named(skill)
    sealed = one.get("encrypted_content")
    if _is_id(sealed):
        ids = (sealed, id_) if _is_id(id_) else (sealed,)
        yield Reference(ids, id_ if _is_id(id_) else f"the encrypted {kind}")
    elif _is_id(id_) and _stands_for_more(kind, one):
        yield _named(id_)


def _stands_for_more(kind: object, one: Mapping[str, Any]) -> bool:
    """Return whether an object with an id needs what the provider has kept under it."""
    if kind == "reasoning":
        return not one.get("content")  # what some providers show whole needs no memory
    return kind in ("item_reference", "file_id")  # no set: what strangers send may have no hash


def _of_picture(one: Mapping[str, Any]) -> Iterator[Reference]:
    """Yield a picture that was made earlier and is sent back by its id alone."""
    if (
        one.get("type") == "image_generation_call"
        and not one.get("result")
        and _is_id(one.get("id"))
    ):
        yield _named(one["id"])


def _of_field(name: str, value: object) -> Iterator[Reference]:
    if _is_id(value) and name in _ID:
        yield _named(value)
    elif isinstance(value, list) and name in _IDS:
        yield from (_named(one) for one in cast("list[object]", value) if _is_id(one))
    elif isinstance(value, dict) and name in _OBJECT:
        id_ = cast("dict[str, object]", value).get("id")
        if _is_id(id_):
            yield _named(id_)


def _is_id(value: object) -> TypeIs[str]:
    return isinstance(value, str) and bool(value)
