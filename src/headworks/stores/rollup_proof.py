"""Proves rollups: they are made anew from the ledger's rows, and compared."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from headworks.stores.rollup_schema import PROJECTIONS, SUMS, connect, is_current, rollups_path
from headworks.stores.rollups import Rollups

_SLICE: Final = 100_000
_AXES: Final = {projection.number: ",".join(projection.axes) for projection in PROJECTIONS}
_ALL: Final = f"""
    SELECT projection, level, start, n.text, coalesce(p.text, ''), {", ".join(SUMS)}
    FROM rollups.sums AS s
    CROSS JOIN (SELECT id, text FROM rollups.names) AS n ON n.id = s.value
    LEFT JOIN (SELECT id, text FROM rollups.names) AS p ON p.id = s.part
    ORDER BY 1, 2, 3, 4, 5
"""  # noqa: S608 - made of constants
_TAKEN: Final = "SELECT seq FROM rollups.taken"
_WIDTH: Final = 5
_NO_ROW: Final = (0, 0, 0, "", "")

_Row = tuple[Any, ...]


def wrong_sums(ledger: Path) -> Iterator[str]:
    """Yield what is wrong with a ledger's rollups, one sentence each; without any, nothing is.

    A gateway may go on writing both meanwhile.

    Raises:
        ConfigurationError: There is no readable ledger.
        sqlite3.Error: The rollups cannot be read.
    """
    path = rollups_path(ledger)
    if not path.exists():
        return
    with TemporaryDirectory(prefix="headworks-verify-") as folder:
        copied = Path(folder) / "copy.db"
        if not _copy(ledger, path, copied):
            return
        with (
            closing(Rollups(ledger, copied)) as kept,
            closing(Rollups(ledger, Path(folder) / "fresh.db")) as fresh,
        ):
            _align(kept, fresh)
            pairs = _paired(kept.rows(_ALL), fresh.rows(_ALL))
            yield from (_told(was, right) for was, right in pairs if was != right)
            for (seq,) in sorted({*kept.rows(_TAKEN)} ^ {*fresh.rows(_TAKEN)}):
                yield f"rollups: of row {seq} they are wrong about whether an attempt followed it"


def _copy(ledger: Path, path: Path, copied: Path) -> bool:
    """Copy rollups as of one moment; return whether reports would use them."""
    with closing(connect(ledger, path)) as db, closing(sqlite3.connect(copied)) as copy:
        if not is_current(db):
            return False
        db.backup(copy, name="rollups")
        return True


def _align(kept: Rollups, fresh: Rollups) -> None:
    """Pass the same rows in both; what is closed meanwhile is added to both."""
    mark = kept.mark()
    while fresh.mark() < mark:
        fresh.advance(_SLICE, upto=mark)
    while True:
        fresh.advance(upto=mark)
        kept.advance(upto=mark)
        if kept.open_rows() == fresh.open_rows():
            return


def _paired(
    kept: Iterator[_Row], fresh: Iterator[_Row]
) -> Iterator[tuple[_Row | None, _Row | None]]:
    """Yield what stands under the same names in both, None where one of them has nothing."""
    was, right = next(kept, None), next(fresh, None)
    while was is not None or right is not None:
        if right is None or (was is not None and was[:_WIDTH] < right[:_WIDTH]):
            yield was, None
            was = next(kept, None)
        elif was is None or right[:_WIDTH] < was[:_WIDTH]:
            yield None, right
            right = next(fresh, None)
        else:
            yield was, right
            was, right = next(kept, None), next(fresh, None)


def _told(was: _Row | None, right: _Row | None) -> str:
    number, level, start, text, part, *_ = was or right or _NO_ROW
    moment = datetime.fromtimestamp(int(start), UTC).isoformat(timespec="minutes")
    place = f"{_AXES.get(int(number)) or 'all'} {text}{part} ({level} s from {moment})"
    if was is None or right is None:
        return f"rollups: {place} is {'missing' if was is None else 'in no row'}"
    wrong = [
        f"{name} {told}, should be {found}"
        for name, told, found in zip(SUMS, was[_WIDTH:], right[_WIDTH:], strict=True)
        if told != found
    ]
    return f"rollups: {place}: {'; '.join(wrong)}"
