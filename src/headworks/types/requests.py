"""Who asks, and for what."""

from collections.abc import Mapping
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any, Literal, final

import msgspec
from msgspec.structs import force_setattr as set_field
from typing_extensions import override

from headworks.types.uploads import Upload

Headers = tuple[tuple[bytes, bytes], ...]
"""Header fields in order, names in lower case."""


Priority = Literal["interactive", "background", "batch"]


Certainty = Literal["exact", "estimated", "unknown"]
"""How a settled usage came to be: as reported, counted by us upwards, or found open."""


@final
class Secret:
    """A value that never shows: not in a repr, a log or an error."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value, for the one place that sends or hashes it."""
        return self._value

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and compare_digest(
            self._value.encode(), other._value.encode()
        )

    @override
    def __hash__(self) -> int:
        return hash(self._value)

    @override
    def __repr__(self) -> str:
        return "***"

    @override
    def __str__(self) -> str:
        return "***"


BufferMode = Literal["off", "words", "sentences", "interval"]
"""Where the text of a stream is cut: as it comes, or behind whole words or sentences, or by time."""


@dataclass(frozen=True, slots=True)
class Buffering:
    """How the text of a stream is cut for its caller; what is None is for others to say.

    Attributes:
        max_delay: Seconds that a piece of text waits at most.
    """

    mode: BufferMode | None = None
    max_delay: float | None = None

    def over(self, other: "Buffering") -> "Buffering":
        """Return this, with the other's word where it says nothing."""
        mode = other.mode if self.mode is None else self.mode
        return Buffering(mode, other.max_delay if self.max_delay is None else self.max_delay)


AS_OTHERS_SAY = Buffering()


@dataclass(frozen=True, slots=True)
class Tags:
    """What a call is for, as the caller says: the axes of every usage report."""

    feature: str = ""
    user: str = ""
    session: str = ""
    tags: tuple[str, ...] = ()
    priority: Priority = "interactive"


class Request(msgspec.Struct, frozen=True):
    """One API request, as a caller made it. Holds no secret.

    Attributes:
        path: Normalised, begins with "/v1/".
        query: The raw query string, without "?".
        headers: What may go on to an upstream: names in lower case, no credentials, no cookies.
        content: The body's bytes as they came; b"" where there is an `upload`.
        fields: The body's top-level JSON fields, or the short texts of a form; empty for others.
        timeout: Seconds that the caller is prepared to wait, None when it did not say.
        buffering: How it wants its stream cut.
        socket: Whether it opens a WebSocket connection; then `query` names no model.
        model: The model the caller asked for, "" when it named none. Follows from `fields`, where
            these name one; else it stands in the path, the query or a session.
        stream: Whether the caller wants server-sent events. Follows from `fields`.
        upload: The body, where it is too large to be held.
        model_at: Where the name of the model begins and ends in a body that is a form.
        is_admin: Whether it administers the provider's account.
    """

    method: str
    path: str
    query: bytes = b""
    headers: Headers = ()
    content: bytes = b""
    fields: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])
    tags: Tags = Tags()
    timeout: float | None = None
    model: str = ""
    stream: bool = False
    buffering: Buffering = AS_OTHERS_SAY
    socket: bool = False
    upload: Upload | None = None
    model_at: tuple[int, int] | None = None
    is_admin: bool = False

    @property
    def size(self) -> int:
        """Bytes of the body, as far as is known."""
        if self.upload is None:
            return len(self.content)
        return self.upload.length or self.upload.passed

    @override
    def __repr__(self) -> str:
        """Return what it asks for, and nothing of what it says: that is its caller's own."""
        return f"Request({self.method} {self.path}, model={self.model!r}, {self.size} bytes)"

    def __post_init__(self) -> None:
        fields = self.fields
        model, stream = fields.get("model") or self.model, fields.get("stream") is True
        set_field(self, "model", model if isinstance(model, str) else "")
        if stream is not self.stream:
            set_field(self, "stream", stream)


Reserve = Literal["expected", "strict"]
"""What is set aside for an answer: as much as 95 of 100 take, or the most that it may come to."""


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What may be done at most in any minute or day, and at once; None is no limit.

    Attributes:
        rpm: Requests a minute, `rpd` a day; `tpm` and `tpd` are tokens.
        parallel: Requests at once.
        models: What holds besides for some models, by the names that callers ask for.
        queue: Requests that may wait at once for these limits; of a key alone.
    """

    rpm: int | None = None
    parallel: int | None = None
    tpm: int | None = None
    rpd: int | None = None
    tpd: int | None = None
    reserve: Reserve = "expected"
    models: "tuple[tuple[str, RateLimits], ...]" = ()
    queue: int | None = None


OnDisconnect = Literal["cancel", "drain"]
"""What becomes of an attempt whose caller has gone: it ends at once, or is read to its end."""


OnLedgerFailure = Literal["refuse", "continue"]
"""What becomes of a call whose attempt cannot be booked now: it ends, or goes on to be booked later."""


Scope = Literal["admin"]
"""What a key may do besides using the API: administer the provider's account."""


Unpriced = Literal["refuse", "flag"]
"""What becomes of an attempt at a model without a known price."""


@dataclass(frozen=True, slots=True)
class ClientToken:
    """A short-lived token that a key has minted for one user of its app.

    Attributes:
        user: Whom its calls are for, whatever they say themselves; `feature` and `tags` likewise.
        limits: What may be done with it at most, besides what holds for its key.
    """

    id: str
    user: str
    feature: str = ""
    tags: tuple[str, ...] = ()
    limits: RateLimits = RateLimits()


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose key it is, and what the key may do.

    Attributes:
        key_id: Public id of the key, safe to show.
        models: Names the key may use; None means every model.
        on_disconnect: What becomes of an attempt under way when the caller hangs up.
        on_ledger_failure: What becomes of its calls while the ledger cannot be written.
        unpriced: What becomes of its calls to models without a known price.
        priority: The highest that its calls may have.
        buffering: How its streams are cut.
        token: What the key has minted and the call was made with, None for the key itself.
        scopes: What else it may do.
    """

    name: str
    key_id: str
    project: str = ""
    models: frozenset[str] | None = None
    limits: RateLimits = RateLimits()
    on_disconnect: OnDisconnect = "cancel"
    on_ledger_failure: OnLedgerFailure = "refuse"
    unpriced: Unpriced = "flag"
    priority: Priority = "interactive"
    buffering: Buffering = AS_OTHERS_SAY
    token: ClientToken | None = None
    scopes: frozenset[Scope] = frozenset()


class Presence(msgspec.Struct):
    """Whether a call's caller is still there: shared by the face that sees it and the call.

    Attributes:
        is_gone: The caller has left. Nothing new is begun for it.
        credit: Bytes of the answer that may be read for nobody; with none left the call ends as
            soon as its caller leaves.
    """

    is_gone: bool = False
    credit: int = 0

    def leave(self) -> bool:
        """Note that the caller has gone; return whether the call goes on without it."""
        self.is_gone = True
        return self.credit > 0

    def drop(self, chunk: bytes) -> bool:
        """Count what nobody reads; return whether more of it may be read."""
        self.credit -= len(chunk)
        return self.credit > 0
