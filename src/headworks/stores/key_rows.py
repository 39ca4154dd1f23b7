"""Keys as rows of the store: what stands in which column."""

from dataclasses import dataclass
from datetime import UTC, tzinfo
from functools import lru_cache
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from headworks.core.budget import Budget
from headworks.core.client_tokens import TokenRules
from headworks.core.grants import Grant
from headworks.stores.schema import StoreUnusable
from headworks.types import AS_OTHERS_SAY, Buffering, RateLimits, Scope

_GRANT: Final = (
    "project, models, rpm, parallel, on_disconnect, on_ledger_failure, unpriced, expires, limits,"
    " priority, budget, client_tokens, scopes, buffering"
)
COLUMNS: Final = f"id, origin, name, digest, created, revoked_at, replaced_by, {_GRANT}"

KeyStatus = Literal["active", "replaced", "expired", "revoked"]


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as it is stored: all but its secret. Times are seconds since 1970.

    Attributes:
        origin: Id of the first key of its line; its own unless it came of a rotation.
        replaced_by: Id of the key that a rotation put in its place.
    """

    id: str
    origin: str
    grant: Grant
    digest: bytes
    created: float
    revoked_at: float | None = None
    replaced_by: str | None = None

    def status(self, now: float) -> KeyStatus:
        """Return how the key stands; one that was replaced works until it expires."""
        if self.revoked_at is not None:
            return "revoked"
        if self.grant.expires is not None and now >= self.grant.expires:
            return "expired"
        return "active" if self.replaced_by is None else "replaced"


def read_record(row: tuple[Any, ...]) -> KeyRecord:
    """Turn a row of `COLUMNS` into a record, or raise `StoreUnusable`."""
    id_, origin, name, digest, created, revoked_at, replaced_by, *granted = row
    project, models, rpm, parallel, gone, unbooked, unpriced, expires, *more = granted
    limits, priority, budget, tokens, scopes, cut = more
    try:
        allowed = None if models is None else frozenset(_MODELS.decode(models))
        rates = RateLimits(rpm, parallel) if limits is None else _LIMITS.decode(limits)
        money = None if budget is None else _read_budget(budget)
        minting = None if tokens is None else _TOKENS.decode(tokens)
        beside = _NO_SCOPES if scopes is None else frozenset(_SCOPES.decode(scopes))
        buffering = AS_OTHERS_SAY if cut is None else _BUFFERING.decode(cut)
    except (msgspec.MsgspecError, ValueError) as error:
        raise StoreUnusable(
            f"key {id_}: its models, limits, budget, tokens, scopes or buffering are malformed: {error}"
        ) from error
    policies = (gone, unbooked, unpriced, priority)
    grant = Grant(
        name,
        project,
        allowed,
        rates,
        expires,
        *policies,
        money,
        buffering,
        client_tokens=minting,
        scopes=beside,
    )
    return KeyRecord(id_, origin, grant, digest, created, revoked_at, replaced_by)


def write_record(record: KeyRecord) -> tuple[Any, ...]:
    """Turn a record into a row of `COLUMNS`."""
    grant = record.grant
    return (
        *(record.id, record.origin, grant.name, record.digest, record.created),
        *(record.revoked_at, record.replaced_by, *_write_grant(grant)),
    )


def _write_grant(grant: Grant) -> tuple[Any, ...]:
    limits = grant.limits
    is_plain = limits == RateLimits(limits.rpm, limits.parallel)
    return (
        grant.project,
        None if grant.models is None else _text(sorted(grant.models)),
        limits.rpm,
        limits.parallel,
        grant.on_disconnect,
        grant.on_ledger_failure,
        grant.unpriced,
        grant.expires,
        None if is_plain else _text(limits),
        grant.priority,
        None if grant.budget is None else _text(grant.budget),
        None if grant.client_tokens is None else _text(grant.client_tokens),
        _text(sorted(grant.scopes)) if grant.scopes else None,
        None if grant.buffering == AS_OTHERS_SAY else _text(grant.buffering),
    )


@lru_cache(maxsize=1024)
def _read_budget(text: str) -> Budget:
    """Read a budget; the same text is the same object, so that a thousand keys hold one."""
    return _BUDGET.decode(text)


def _zone(kind: type, name: Any) -> tzinfo:
    if kind is not tzinfo:
        raise NotImplementedError(kind)
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (KeyError, OSError) as error:
        raise ValueError(f"no time zone {name!r} is known here; install tzdata") from error


def _text(value: object) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


_MODELS: Final = msgspec.json.Decoder(list[str])
_LIMITS: Final = msgspec.json.Decoder(RateLimits)
_BUDGET: Final = msgspec.json.Decoder(Budget, dec_hook=_zone)
_TOKENS: Final = msgspec.json.Decoder(TokenRules)
_BUFFERING: Final = msgspec.json.Decoder(Buffering)
_SCOPES: Final = msgspec.json.Decoder(list[Scope])
_NO_SCOPES: Final[frozenset[Scope]] = frozenset()
