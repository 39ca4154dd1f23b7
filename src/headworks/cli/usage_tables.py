"""Usage reports for people: aligned tables, in dollars."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, tzinfo

from headworks.core.drivers import FACTORS, Drivers
from headworks.stores.usage import Line, Usages
from headworks.stores.usage_drivers import Comparison
from headworks.stores.usage_forms import COUNTS, per_unit, printable

_CAUSES = {
    "volume": "more or fewer calls",
    "mix": "other models or service tiers",
    "tokens": "tokens per call, retries included",
    "price": "other prices",
    "cache": "input from the provider's cache",
}
_MOST_CHANGES = 10
_MANY_ROWS = 250_000
"""About as many as are read within half a second."""


def usage_table(found: Usages, per: Sequence[str]) -> Iterator[str]:
    """Yield a report's lines: its groups, the others, the total, and what is in no sum."""
    left = len(found.by)
    heads = [*found.by, *COUNTS, "usd", "estimated", "waste", "saved"]
    heads += [name for unit in per for name in _UNITS[unit]]
    rows = [[*(value or "-" for value in line.group), *_cells(line, per)] for line in found.lines]
    if found.others is not None:
        rows.append([*_titled("others", left), *_cells(found.others, per)])
    rows.append([*_titled("total", left), *_cells(found.total, per)])
    yield from aligned([heads, *rows], left)
    if found.total.unpriced:
        yield f"unpriced: {found.total.unpriced} (attempts at models without a known price)"
    if found.total.open:
        yield f"open: {found.total.open} (under way, {usd(found.total.open_nano)} USD at most)"
    if found.rows_read >= _MANY_ROWS:
        yield f"read: {found.rows_read} rows one by one, of which no sums are kept by these groups"


def comparison_table(found: Comparison, zone: tzinfo) -> Iterator[str]:
    """Yield what two periods cost, what drove the change, and which models did."""
    earlier, begin, end = (
        datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d %H:%M") for at in found.bounds
    )
    name = "UTC" if zone is UTC else str(zone)
    yield from aligned(
        [
            ["", "from", "to", "calls", "usd", "usd/call"],
            ["before", earlier, begin, *_period(found.before)],
            ["after", begin, end, *_period(found.after)],
        ],
        3,
    )
    yield f"times: {name}"
    yield ""
    rows = [[name, _CAUSES[name], signed(getattr(found.drivers, name))] for name in FACTORS]
    yield from aligned(
        [["driver", "", "usd"], *rows, ["change", "", signed(found.drivers.total)]], 2
    )
    changes = [change for change in found.changes if change.drivers != Drivers()]
    if changes:
        yield ""
        heads = ["model", "tier", "before", "after", "change", *FACTORS]
        yield from aligned(
            [
                heads,
                *(
                    [
                        change.model,
                        change.tier,
                        usd(change.before.cost_nano),
                        usd(change.after.cost_nano),
                        signed(change.drivers.total),
                        *(signed(getattr(change.drivers, name)) for name in FACTORS),
                    ]
                    for change in changes[:_MOST_CHANGES]
                ),
            ],
            2,
        )
    if len(changes) > _MOST_CHANGES:
        yield f"{len(changes) - _MOST_CHANGES} smaller changes are in --json"
    if unpriced := found.before.unpriced + found.after.unpriced:
        yield f"unpriced: {unpriced} (attempts at models without a known price, in no figure here)"


def usd(nano: int) -> str:
    """Return dollars with six decimals, rounded up: what is shown is never less than what is owed."""
    micro = -(-nano // 1000)
    sign = "-" if micro < 0 else ""
    return f"{sign}{abs(micro) // 10**6}.{abs(micro) % 10**6:06d}"


def signed(nano: int) -> str:
    """Return a change in dollars likewise, with its sign."""
    return f"+{usd(nano)}" if nano > 0 else usd(nano)


def aligned(rows: Sequence[Sequence[str]], left: int) -> Iterable[str]:
    """Return rows as lines: the first `left` columns flush left, numbers flush right."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = zip(row, widths, strict=True)
        yield "  ".join(
            cell.ljust(width) if n < left else cell.rjust(width)
            for n, (cell, width) in enumerate(cells)
        ).rstrip()


_UNITS = {"call": ("usd/call",), "user": ("users", "usd/user")}


def _titled(title: str, left: int) -> list[str]:
    return [title, *[""] * left][:left]


def _cells(line: Line, per: Sequence[str]) -> list[str]:
    unpriced = f" + {line.unpriced} unpriced" if line.unpriced else ""
    cells = [
        *(str(getattr(line, name)) for name in COUNTS),
        usd(line.cost_nano) + unpriced,
        usd(line.estimated_nano),
        usd(line.waste_nano),
        usd(line.saved_nano),
    ]
    for unit in per:
        if unit == "call":
            cells.append(_each(line.cost_nano, line.calls))
        else:
            cells += [str(line.users or 0), _each(line.cost_nano, line.users or 0)]
    return cells


def _period(line: Line) -> list[str]:
    return [str(line.calls), usd(line.cost_nano), _each(line.cost_nano, line.calls)]


def _each(cost: int, count: int) -> str:
    nano = per_unit(cost, count)
    return "-" if nano is None else usd(nano)
