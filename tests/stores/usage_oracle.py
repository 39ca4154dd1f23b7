"""Usage by arithmetic over rows, one after the other: slow, plain, and without SQL."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from headworks.core.pricing import cost
from headworks.stores.usage import Line, Query
from headworks.types import Usage
from tests.stores.books import MODEL, PRICE, rows

Row = Mapping[str, Any]

COLUMNS = {
    "model": "model_sent",
    "asked": "model_asked",
    "key": "key_name",
    "key_id": "key_id",
    "project": "project",
    "feature": "feature",
    "endpoint": "endpoint",
    "upstream": "upstream",
    "credential": "credential",
    "tier": "tier",
    "user": "user",
    "session": "session",
}


def expected(path: Path, query: Query) -> dict[tuple[str, ...], Line]:
    """Return the lines that a report must have, without users."""
    found: dict[tuple[str, ...], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    every = rows(path)
    for row in every:
        later = [it for it in every if it["call"] == row["call"] and it["seq"] > row["seq"]]
        for group in _groups(row, query):
            for name, value in _figures(row, is_last=not later).items():
                found[group][name] += value
    return {group: Line(group, **figures) for group, figures in found.items()}


def _groups(row: Row, query: Query) -> Iterator[tuple[str, ...]]:
    held = row["held_at"]
    if query.since is not None and held < int(query.since * 10**9):
        return
    if query.until is not None and held >= int(query.until * 10**9):
        return
    has_tags = "tag" in (*query.by, *query.where)
    seen = set(json.loads(row["tags"] or "[]")) or {""} if has_tags else {""}
    for tag in seen:
        if all(_value(row, axis, tag, query) in chosen for axis, chosen in query.where.items()):
            yield tuple(_value(row, axis, tag, query) for axis in query.by)


def _value(row: Row, axis: str, tag: str, query: Query) -> str:
    local = datetime.fromtimestamp(row["held_at"] // 10**9, query.zone)
    special = {
        "route": f"{row['upstream']}/{row['model_sent']}",
        "outcome": row["outcome"] or "open",
        "certainty": row["certainty"] or row["state"],
        "tag": tag,
        "day": str(local.date()),
        "hour": local.replace(minute=0, second=0, microsecond=0).isoformat(timespec="minutes"),
    }
    if axis == "hour" and str(query.zone) == "UTC":
        special["hour"] = special["hour"].replace("+00:00", "Z")
    return special[axis] if axis in special else str(row[COLUMNS[axis]])


def _figures(row: Row, *, is_last: bool) -> dict[str, int]:
    is_settled, is_open = row["state"] == "settled", row["state"] == "held"
    spent = row["cost_nano"] or 0
    counts = {
        name: row[name] * is_settled
        for name in ("input", "output", "cached", "written", "reasoning")
    }
    is_priced = is_settled and row["model_sent"] == MODEL and spent > 0
    full = cost(PRICE, Usage(row["input"], row["output"])) if is_priced else 0
    return {
        **counts,
        "calls": int(is_last),
        "attempts": 1,
        "cost_nano": spent,
        "estimated_nano": spent * (row["certainty"] != "exact"),
        "waste_nano": spent * (not is_last),
        "saved_nano": full - spent if is_priced and (row["cached"] or row["written"]) else 0,
        "answered_nano": cost(PRICE, Usage(0, row["output"])) if is_priced else 0,
        "unpriced": int(is_settled and row["cost_nano"] is None),
        "open": int(is_open),
        "open_nano": (row["estimate_nano"] or 0) * is_open,
    }
