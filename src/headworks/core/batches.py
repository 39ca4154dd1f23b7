"""What batches have used, as their provider tells when they are over."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from headworks.core.pricing import parse_usage
from headworks.core.shapes import as_fields
from headworks.types import NO_USAGE, Certainty, Usage

_OVER: Final = frozenset({"completed", "expired", "cancelled"})
_LONGEST: Final = 256


class Finished(NamedTuple):
    """A batch that is over, and what is to be booked for it."""

    id: str
    model: str
    usage: Usage
    certainty: Certainty
    odd: tuple[str, ...]


class _Batch(msgspec.Struct):
    id: Any = None
    object: Any = None
    status: Any = None
    model: Any = None
    usage: msgspec.Raw = msgspec.Raw(b"null")
    request_counts: Any = None
    data: list["_Batch"] | None = None


_decode = msgspec.json.Decoder(_Batch).decode


def finished(answer: bytes) -> Iterator[Finished]:
    """Yield the batches in an answer that are over: it is one batch, or a list of them.

    A usage that was not told is none, and flagged: it is unknown what such a batch has cost. But
    one of which no request was carried out has cost nothing.
    """
    try:
        told = _decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    for batch in (told, *(told.data or ())):
        is_over = batch.object == "batch" and batch.status in _OVER
        if is_over and isinstance(batch.id, str) and 0 < len(batch.id) <= _LONGEST:
            yield _read(batch.id, batch)


def _read(id_: str, batch: _Batch) -> Finished:
    model = batch.model[:_LONGEST] if isinstance(batch.model, str) else ""
    reported = parse_usage(bytes(batch.usage), "batch")
    if reported is None and as_fields(batch.request_counts).get("completed", True) == 0:
        return Finished(id_, model, NO_USAGE, "exact", ())
    if reported is None:
        usage = msgspec.structs.replace(NO_USAGE, tier="batch")
        return Finished(id_, model, usage, "unknown", ("batch_without_usage",))
    usage, odd = reported
    return Finished(id_, model, usage, "estimated" if odd else "exact", odd)
