"""Finds damage to the ledger's file when it is opened, in bounded time, and keeps what is damaged.

Three things are looked at: the structure of the file, for as long as there is time; the rows that
were closed last, against the chain; and the write-ahead log. SQLite reads its log as far as the
checksums are right and forgets the rest without a word, so that the commits which the log's frames
tell of are counted before it is opened, and compared (https://sqlite.org/fileformat.html, 4.1).
"""

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from struct import Struct
from typing import Final, Literal

DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_OPCODES: Final = 10_000
_BYTES_A_SECOND: Final = 256_000_000
"""What SQLite looks through at least; a part of its look cannot be interrupted."""
_HEADER: Final = 32
_FRAME: Final = Struct(">II8s8x")
"""A frame's page, the file's size after it if it ends a commit, and the log's salt."""
_LITTLE: Final = 0x377F0682
_WORD: Final = 0xFFFFFFFF


@dataclass(slots=True)
class Damage:
    """What was found to be damaged at the start.

    Attributes:
        file: 1 if the file was moved aside and a new one begun.
        log: 1 if commits at the end of the log were lost.
        chain: Rows that do not fit the chain, among those that were closed last.
        spool: Lines of the spool that could not be read.
    """

    file: int = 0
    log: int = 0
    chain: int = 0
    spool: int = 0


class FileDamaged(sqlite3.DatabaseError):
    """The file is not whole."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether the error says that the file is damaged, and not that the disk failed."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED


def check_structure(db: sqlite3.Connection, now: Callable[[], float], seconds: float) -> bool:
    """Look through the file for at most so long; return whether all of it was seen.

    Raises:
        FileDamaged: It is damaged.
    """
    pages, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
    )
    if pages * size > seconds * _BYTES_A_SECOND:
        return False
    until = now() + seconds
    db.set_progress_handler(lambda: now() > until, _OPCODES)
    try:
        found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return False
    finally:
        db.set_progress_handler(None, 0)
    if found != "ok":
        raise FileDamaged(found)
    return True


def last_commit(log: Path) -> int:
    """Return the number of the log's frame with the last commit, whether or not SQLite reads it."""
    if not log.exists():
        return 0
    with log.open("rb") as file:
        header = file.read(_HEADER)
        if len(header) < _HEADER:
            return 0
        page_size = int.from_bytes(header[8:12])
        salt, last, number = header[16:24] if _is_right(header) else b"", 0, 0
        if not 512 <= page_size <= 65536:  # noqa: PLR2004 - SQLite's bounds
            page_size = 1024
        while len(frame := file.read(_FRAME.size)) == _FRAME.size:
            number += 1
            _, size, own = _FRAME.unpack(frame)
            salt = salt or own
            last = number if size and own == salt else last
            file.seek(page_size, 1)
    return last


def _is_right(header: bytes) -> bool:
    """Return whether the checksum of a log's header is right: else its salt may not be."""
    order: Literal["little", "big"] = "little" if int.from_bytes(header[:4]) == _LITTLE else "big"
    words = [int.from_bytes(header[at : at + 4], order) for at in range(0, 24, 4)]
    one = two = 0
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & _WORD
        two = (two + second + one) & _WORD
    return header[24:32] == one.to_bytes(4) + two.to_bytes(4)


def move_aside(path: Path, seconds: float) -> Path:
    """Rename the file and what belongs to it; return its new name."""
    aside = _unused(path, seconds)
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def copy_aside(path: Path, seconds: float) -> Path:
    """Copy a file that is going to be written over; return the copy's name."""
    aside = _unused(path, seconds)
    shutil.copy(path, aside)
    return aside


def _unused(path: Path, seconds: float) -> Path:
    now = datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = path.with_name(f"{path.name}.corrupt-{now}")
    names = (aside.with_name(f"{aside.name}{'.' * bool(n)}{n or ''}") for n in range(1000))
    return next(name for name in names if not name.exists())
