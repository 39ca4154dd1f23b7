"""Where words come out, and whether they stand where only somebody else's may."""

import json
import logging
from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import override

from tests.faults.liar import TAG


@dataclass(frozen=True, slots=True)
class Leak:
    """Words of one call where only another one's may be."""

    where: str
    of: str
    found: str


@dataclass
class Findings:
    """What the hunt has read, and what it has found.

    Attributes:
        calls: By tag, the id of the call where it was told.
    """

    leaks: list[Leak] = field(default_factory=list)
    read: Counter[str] = field(default_factory=Counter)
    calls: dict[str, str | None] = field(default_factory=dict)

    def look(self, where: str, text: bytes, own: Iterable[bytes]) -> None:
        """Read a text that may hold its own tags and no others."""
        self.read[where] += 1
        foreign = set(TAG.findall(text)).difference(own)
        if foreign:
            expected = ", ".join(one.decode() for one in own)
            self.leaks += [Leak(where, expected, found.decode()) for found in foreign]

    def look_for_one(self, where: str, text: bytes) -> None:
        """Read a text that may hold the tag of one call, whichever."""
        self.look(where, text, TAG.findall(text)[:1])

    def demand(self, where: str, tag: str, *, holds: bool) -> None:
        """Note a leak unless something holds of a tag."""
        self.read[where] += 1
        if not holds:
            self.leaks.append(Leak(where, tag, "something that is not its own"))

    # Besides the answers.

    def write(self, lines: bytes) -> None:
        """Read lines of the journal, which writes to this as to a file."""
        for line in lines.splitlines():
            self.look_for_one("journal", line)
            told = json.loads(line)
            self._belongs("journal", told, told["key"])

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def search_ledger(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Read rows of the ledger."""
        for row in rows:
            self.look_for_one("ledger", repr(dict(row)).encode())
            self._belongs("ledger", row, row["key_name"])

    def _belongs(self, where: str, told: Mapping[str, Any], key: str) -> None:
        """Demand that user, key, project and call are of one and the same caller."""
        tag = told["user"]
        is_whose = tag[:3] == key == f"t{told['project'][1:]}"
        self.demand(f"{where} knows whose call it is", tag, holds=is_whose)
        known = self.calls.get(tag)
        self.demand(f"{where} names the call", tag, holds=known in {None, told["call"]})


class _Lines(logging.Handler):
    """Keeps what the log is told."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def log_lines() -> Generator[list[str]]:
    """Listen to all that headworks logs, at debug level."""
    logger, lines = logging.getLogger("headworks"), _Lines()
    before = logger.level, logger.propagate
    logger.addHandler(lines)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield lines.lines
    finally:
        logger.removeHandler(lines)
        logger.setLevel(before[0])
        logger.propagate = before[1]
