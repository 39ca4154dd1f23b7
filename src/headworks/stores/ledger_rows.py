"""The ledger's statements, and the rows they write.

`NULLIF(?, '')` stands for what is seldom there: sqlite3 takes ten times as long over a None, or a
bool, as over a str or an int.
"""

from functools import lru_cache

import msgspec

from headworks.core.cost_bound import may_cost
from headworks.core.endpoints import endpoint
from headworks.core.pricing import Price
from headworks.errors import CallError
from headworks.types import Call, Caller, Route, Usage

HOLD = """
    INSERT INTO attempts (
        seq, call, attempt, boot, state, held_at, key_id, key_name, project, feature, user, session,
        tags, endpoint, upstream, credential, model_asked, model_sent, stream, estimate_nano,
        price_version, input, output, cached, written, written_12h, reasoning, tier, anomalies
    ) VALUES (
        ?, ?, ?, ?, 'held', ?, ?, ?, ?, ?, ?, ?, NULLIF(?, ''), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
        ?, ?, ?, NULLIF(?, '')
    )
"""
CLOSE = """
    UPDATE attempts
    SET state = ?, certainty = ?, outcome = ?, settled_at = ?, input = ?, output = ?, cached = ?,
        written = ?, written_12h = ?, reasoning = ?, tier = ?, cost_nano = ?,
        anomalies = NULLIF(?, ''), link = ?, chain = ?
    WHERE seq = ? AND state = 'held'
"""
NOTE_PRICE = "INSERT OR IGNORE INTO prices (version, model, numbers) VALUES (?, ?, ?)"

Value = str | int | bytes | None
Row = tuple[Value, ...]
Opened = tuple[int, int, int]
"""A row's number, which run of the gateway holds it, and when, in nanoseconds since 1970."""

_NOBODY = Caller(name="", key_id="")
_LONGEST = 256
_LARGEST = 2**63 - 1


def held_row(
    call: Call,
    route: Route,
    estimate: Usage,
    price: Price | None,
    cost: int | None,
    opened: Opened,
) -> Row:
    """Return what `HOLD` writes; `cost` is what the estimate costs, None when that is unknown."""
    seq, boot, now = opened
    caller, request = call.caller or _NOBODY, call.request
    tags = request.tags
    return (
        seq,
        call.id,
        call.attempts,
        boot,
        now,
        caller.key_id,
        caller.name,
        caller.project,
        tags.feature[:_LONGEST],
        tags.user[:_LONGEST],
        tags.session[:_LONGEST],
        msgspec.json.encode(tags.tags).decode() if tags.tags else "",
        endpoint_name(request.method, request.path),
        route.upstream,
        route.credential,
        call.asked[:_LONGEST],
        route.model[:_LONGEST],
        int(request.stream),
        cost,
        None if price is None else price.version,
        estimate.input,
        estimate.output,
        estimate.cached,
        estimate.written,
        estimate.written_12h,
        estimate.reasoning,
        estimate.tier,
        "unpriced" if cost is None else "",
    )


def is_refused(call: Call) -> bool:
    """Return whether an attempt without a known price is one that the caller's key forbids."""
    caller = call.caller
    return caller is not None and caller.unpriced == "refuse" and may_cost(call.request)


@lru_cache(maxsize=1024)
def endpoint_name(method: str, path: str) -> str:
    """Return the stable word that reports use for a path."""
    try:
        return endpoint(method, path).name
    except CallError:
        return "other"


def seq_of(row: Row) -> int:
    """Return the number of a row."""
    seq = row[0]
    return seq if isinstance(seq, int) else 0


def storable(value: Value) -> Value:
    """Return what SQLite can hold in place of a lone surrogate or a number beyond 64 bits."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int):
        return max(-_LARGEST, min(value, _LARGEST))
    return value
