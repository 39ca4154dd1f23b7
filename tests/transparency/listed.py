"""What docs/guides/transparency.md lists: every change that is made to what passes."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.shape.tree import text
from tests.transparency.differences import Difference

GUIDE = Path("docs/guides/transparency.md")
_CHANGE, _KEPT = ("part", "what", "becomes", "why"), ("of a", "pass as they are")
"""The heads of the two kinds of tables."""


_LIKE = {"stream header": ("answer header",), "error header": ("answer header",)}


class Listed(NamedTuple):
    """One thing that the guide names, and what becomes of it."""

    where: str
    what: str
    becomes: str


def changes() -> list[Listed]:
    """Return every change that is listed; names may end by a star."""
    return [
        Listed(where, what, becomes)
        for where, cell, ways, _ in _rows(_CHANGE)
        for what in _names(cell)
        for becomes in ways.split(", ")
    ]


def kept() -> list[Listed]:
    """Return the header fields that are said to pass as they are."""
    return [Listed(where, what, "kept") for where, cell in _rows(_KEPT) for what in _names(cell)]


def match(difference: Difference, rows: Iterable[Listed]) -> Listed | None:
    """Return the row that speaks of a difference: the one that names it most exactly.

    What is said of the fields of answers holds for streams and errors too, unless they have a row.
    """
    same = [
        row
        for row in rows
        if row.becomes == difference.becomes and _names_it(row.what, difference.what)
    ]
    wheres = [difference.where, *_LIKE.get(difference.where, ())]
    found = [[row for row in same if row.where == where] for where in wheres]
    return max(next(filter(None, found), []), key=_exactness, default=None)


def _names_it(name: str, what: str) -> bool:
    return what.startswith(name[:-1]) if name.endswith("*") else what == name


def _exactness(row: Listed) -> tuple[bool, int]:
    return not row.what.endswith("*"), len(row.what)


def _rows(head: tuple[str, ...]) -> Iterator[list[str]]:
    """Yield the rows of all tables with such a head."""
    is_inside = False
    for line in text(GUIDE).splitlines():
        cells = line.removeprefix("| ").removesuffix(" |").split(" | ")
        if tuple(cells) == head:
            is_inside = True
        elif not line.startswith("|"):
            is_inside = False
        elif is_inside and set(line) != set("| -"):
            assert len(cells) == len(head), line
            yield cells


def _names(cell: str) -> list[str]:
    """Return the names in a cell; a cell whose names are joined by words is a name itself."""
    names: list[str] = re.findall(r"`([^`]+)`", cell)
    is_list = not re.sub(r"`[^`]+`|, ", "", cell)
    return names if is_list else [cell]
