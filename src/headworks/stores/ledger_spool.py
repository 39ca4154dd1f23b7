"""What the ledger owes while its file cannot be written: lines beside it, appended and checked.

A line is the CRC-32 of its JSON, in hex, a space and the JSON: the kind of the row, and its values.
Nobody reads it while its writer lives. The next start books what it finds; rows that are booked
already stay as they are, so that a spool may be read any number of times.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal, NamedTuple
from zlib import crc32

import msgspec

from headworks.stores.ledger_rows import Row, storable
from headworks.stores.pepper import sync_folder

Kind = Literal["price", "held", "closed"]

_DIGITS: Final = 8
_Line = tuple[Kind, list[str | int | None]]
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Line).decode


class Record(NamedTuple):
    """A row that is owed: a price, what `HOLD` writes, or a held row's identity and its outcome."""

    kind: Kind
    row: Row


class Spool:
    """The file for writing; it is made by the first record.

    `is_synced` makes each record wait for the disk, so that it survives a power cut.
    """

    def __init__(self, ledger: Path, *, is_synced: bool = False) -> None:
        self._path, self._is_synced = spool_path(ledger), is_synced
        self._file: int | None = None
        self._is_torn = False

    def append(self, records: Iterable[Record]) -> None:
        """Write records down.

        Raises:
            OSError: They could not be, or not all of them: append them once more.
        """
        lines = b"".join(map(_line, records))
        if self._file is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o600)
        written = os.write(self._file, b"\n" * self._is_torn + lines)
        self._is_torn = written < len(lines) + self._is_torn
        if self._is_torn:
            raise OSError(f"{self._path}: the disk is full")
        if self._is_synced:
            os.fsync(self._file)
            sync_folder(self._path.parent)

    def clear(self) -> None:
        """Remove the file: what it says is booked. Idempotent."""
        if self._file is not None:
            os.close(self._file)
            self._file, self._is_torn = None, False
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file; the next start reads it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def spool_path(ledger: Path) -> Path:
    """Return the spool's place beside its ledger."""
    return ledger.with_name(f"{ledger.name}.spool")


def read_spool(path: Path) -> tuple[list[Record], int]:
    """Return what a spool says, and how many of its lines are damaged."""
    records: list[Record] = []
    damaged = 0
    for line in path.read_bytes().split(b"\n"):
        record = _record(line) if line else None
        if record is not None:
            records.append(record)
        elif line:
            damaged += 1
    return records, damaged


def _record(line: bytes) -> Record | None:
    content = line[_DIGITS + 1 :]
    if line[:_DIGITS] != b"%08x" % crc32(content):
        return None
    try:
        kind, row = _decode(content)
    except msgspec.DecodeError:
        return None
    return Record(kind, tuple(row))


def _line(record: Record) -> bytes:
    content = _encode((record.kind, tuple(map(storable, record.row))))
    return b"%08x %s\n" % (crc32(content), content)
