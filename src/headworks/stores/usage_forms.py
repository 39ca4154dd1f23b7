"""Usage reports for programs: JSON's objects, and CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from headworks.core.drivers import FACTORS, Drivers
from headworks.stores.usage import Line, Usages
from headworks.stores.usage_drivers import Change, Comparison

_NANO: Final = 10**9
COUNTS: Final = ("calls", "attempts", "input", "output", "cached", "reasoning")
_MONEY: Final = ("cost_nano", "estimated_nano", "waste_nano", "saved_nano")
_NUMBERS: Final = (*COUNTS, "written", *_MONEY, "unpriced", "open", "open_nano")


def as_object(found: Usages) -> dict[str, Any]:
    """Return a report with stable names, exact integers, and dollars as text."""
    return {
        "by": found.by,
        "lines": [
            {"group": dict(zip(found.by, line.group, strict=True)), **_object(line)}
            for line in found.lines
        ],
        "others": None if found.others is None else _object(found.others),
        "total": _object(found.total),
        "rows_read": found.rows_read,
    }


def as_comparison(found: Comparison) -> dict[str, Any]:
    """Return a comparison likewise."""
    earlier, begin, end = (datetime.fromtimestamp(at, UTC) for at in found.bounds)
    return {
        "before": {
            "since": earlier.isoformat(),
            "until": begin.isoformat(),
            **_object(found.before),
        },
        "after": {"since": begin.isoformat(), "until": end.isoformat(), **_object(found.after)},
        "change_nano": found.drivers.total,
        "drivers": _drivers(found.drivers),
        "changes": [_change(change) for change in found.changes],
        "rows_read": found.rows_read,
    }


def as_csv(found: Usages, per: Sequence[str] = ()) -> str:
    """Return a line for each group; what a caller wrote never becomes a formula."""
    out = io.StringIO()
    writer = csv.writer(out)
    units = [name for unit in per for name in _UNIT_COLUMNS[unit]]
    writer.writerow([*found.by, *_NUMBERS, *units])
    lines = found.lines if found.by else (found.total,)
    for line in lines:
        told = _object(line)
        values = [told[name] for name in (*_NUMBERS, *units)]
        writer.writerow([*(_inert(printable(value)) for value in line.group), *values])
    if found.others is not None:
        told = _object(found.others)
        values = [told[name] for name in (*_NUMBERS, *units)]
        writer.writerow([*["(others)"] * len(found.by), *values])
    return out.getvalue()


def per_unit(cost: int, count: int) -> int | None:
    """Return what one of so many cost, rounded up, in nano-dollars; None where there was none."""
    return -(-cost // count) if count > 0 else None


def usd(nano: int) -> str:
    """Return exact dollars."""
    sign = "-" if nano < 0 else ""
    return f"{sign}{abs(nano) // _NANO}.{abs(nano) % _NANO:09d}"


def printable(text: str) -> str:
    """Return text that cannot steer a terminal: tags come from callers."""
    return "".join(char if char.isprintable() else "?" for char in text)


_UNIT_COLUMNS: Final = {"call": ("usd_per_call",), "user": ("users", "usd_per_user")}


def _object(line: Line) -> dict[str, Any]:
    told: dict[str, Any] = {name: getattr(line, name) for name in _NUMBERS}
    told["cost_usd"] = usd(line.cost_nano)
    told["usd_per_call"] = _unit(line.cost_nano, line.calls)
    if line.users is not None:
        told |= {"users": line.users, "usd_per_user": _unit(line.cost_nano, line.users)}
    return told


def _unit(cost: int, count: int) -> str | None:
    nano = per_unit(cost, count)
    return None if nano is None else usd(nano)


def _change(change: Change) -> dict[str, Any]:
    return {
        "model": change.model,
        "tier": change.tier,
        "before": _object(change.before),
        "after": _object(change.after),
        "change_nano": change.drivers.total,
        "drivers": _drivers(change.drivers),
    }


def _drivers(drivers: Drivers) -> dict[str, int]:
    return {f"{name}_nano": value for name, value in asdict(drivers).items() if name in FACTORS}


def _inert(text: str) -> str:
    """Return text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text
