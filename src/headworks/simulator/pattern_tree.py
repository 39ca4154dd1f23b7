"""Reads regular expressions into small trees: what ECMAScript 262 and Python share.

Back references, flags and character classes by other names than letters and digits are not known.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias, final

MOST_REPEATS = 1_000
_MOST_NODES, _DEEPEST = 5_000, 50
_LAST = "\U0010ffff"
_DIGITS: Final = (("0", "9"),)
_WORDS: Final = (("a", "z"), ("A", "Z"), ("0", "9"), ("_", "_"))
_SPACES: Final = ((" ", " "), ("\t", "\r"))
_CLASSES = {"d": _DIGITS, "w": _WORDS, "s": _SPACES}
_LETTERS = (
    ("a", "z"),
    ("A", "Z"),
    ("\u00c0", "\u00d6"),
    ("\u00d8", "\u00f6"),
    ("\u00f8", "\u052f"),
)
_PROPERTIES = {
    "L": _LETTERS,
    "Letter": _LETTERS,
    "Lu": (("A", "Z"),),
    "Ll": (("a", "z"),),
    "N": _DIGITS,
}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
_HEX = {"x": 2, "u": 4}


@dataclass(frozen=True, slots=True)
class One:
    """One character out of ranges, or out of all others."""

    ranges: tuple[tuple[str, str], ...]
    is_negated: bool = False

    def takes(self, character: str) -> bool:
        """Return whether the character is one of them."""
        return any(low <= character <= high for low, high in self.ranges) != self.is_negated


@dataclass(frozen=True, slots=True)
class Row:
    """One after the other."""

    parts: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Either:
    """One of several."""

    options: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Repeat:
    """The same so often; no `most` is no end."""

    part: "Node"
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Edge:
    """A place: `^`, `$`, `b` or `B`."""

    kind: str


@dataclass(frozen=True, slots=True)
class Look:
    """What must, or must not, stand after this place, or before it."""

    part: "Node"
    is_wanted: bool
    is_behind: bool


Node: TypeAlias = One | Row | Either | Repeat | Edge | Look
WORD = One(_WORDS)
_ANY_BUT_LINES = One((("\n", "\n"), ("\r", "\r")), is_negated=True)


class NotUnderstood(ValueError):
    """The text is no regular expression, or says what is not known here."""


@lru_cache(maxsize=1024)
def parse(pattern: str) -> Node:
    """Return the tree of a pattern.

    Raises:
        NotUnderstood: It is none, or goes beyond what is known here.
    """
    return _Parser(pattern).whole()


@final
class _Parser:
    """Reads one pattern from left to right."""

    def __init__(self, pattern: str) -> None:
        self._pattern, self._at, self._nodes, self._depth = pattern, 0, 0, 0

    def whole(self) -> Node:
        node = self._either()
        if self._at < len(self._pattern):
            raise NotUnderstood(self._pattern)
        return node

    def _either(self) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise NotUnderstood(self._pattern)
        options = [self._row()]
        while self._skip("|"):
            options.append(self._row())
        self._depth -= 1
        return options[0] if len(options) == 1 else Either(tuple(options))

    def _row(self) -> Node:
        parts: list[Node] = []
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            parts.append(self._repeats(self._atom()))
        return parts[0] if len(parts) == 1 else Row(tuple(parts))

    def _atom(self) -> Node:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise NotUnderstood(self._pattern)
        character = self._take()
        if character == "(":
            return self._group()
        if character == "[":
            return self._class()
        if character == "\\":
            return self._escape()
        if character in "^$":
            return Edge(character)
        if character in "*+?":
            raise NotUnderstood(self._pattern)
        return _ANY_BUT_LINES if character == "." else One(((character, character),))

    def _repeats(self, node: Node) -> Node:
        bounds = self._bounds()
        if bounds is None:
            return node
        self._skip("?")
        least, most = bounds
        if least > MOST_REPEATS or (most is not None and most < least):
            raise NotUnderstood(self._pattern)
        return self._repeats(Repeat(node, least, most))

    def _bounds(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._skip(sign):
                return bounds
        end = self._pattern.find("}", self._at)
        if end < 0 or not self._pattern.startswith("{", self._at):
            return None
        low, comma, high = self._pattern[self._at + 1 : end].partition(",")
        if not low.isdecimal() or (high and not high.isdecimal()):
            return None
        self._at = end + 1
        return int(low), int(high) if high else None if comma else int(low)

    def _group(self) -> Node:
        look: tuple[bool, bool] | None = None
        if self._skip("?"):
            look = self._kind()
        node = self._either()
        if not self._skip(")"):
            raise NotUnderstood(self._pattern)
        return node if look is None else Look(node, *look)

    def _kind(self) -> tuple[bool, bool] | None:
        """Read what follows `(?`: whether a look is wanted and behind, None for a plain group."""
        for sign, look in (("=", (True, False)), ("!", (False, False))):
            if self._skip(sign):
                return look
        for sign, look in (("<=", (True, True)), ("<!", (False, True))):
            if self._skip(sign):
                return look
        if self._skip(":"):
            return None
        if self._skip("<") or self._skip("P<"):
            self._at = self._pattern.find(">", self._at) + 1 or len(self._pattern)
            return None
        raise NotUnderstood(self._pattern)

    def _escape(self) -> Node:
        kind = self._take()
        if kind in "bB":
            return Edge(kind)
        if kind in "AZ":
            return Edge("^" if kind == "A" else "$")
        if kind in "123456789k":
            raise NotUnderstood(self._pattern)
        return One(self._escaped(kind), kind in "DWSP")

    def _escaped(self, kind: str) -> tuple[tuple[str, str], ...]:
        """Return what an escape stands for; of a negated class, the class itself."""
        if kind.lower() in _CLASSES:
            return _CLASSES[kind.lower()]
        if kind in "pP" and self._skip("{"):
            end = self._pattern.find("}", self._at)
            name = self._pattern[self._at : end]
            self._at = end + 1
            if end < 0 or name not in _PROPERTIES:
                raise NotUnderstood(self._pattern)
            return _PROPERTIES[name]
        character = _CONTROLS.get(kind, kind)
        if kind in _HEX:
            character = self._code(_HEX[kind])
        return ((character, character),)

    def _code(self, size: int) -> str:
        number = self._pattern[self._at : self._at + size]
        self._at += size
        try:
            return chr(int(number, 16))
        except ValueError:
            raise NotUnderstood(self._pattern) from None

    def _class(self) -> Node:
        is_negated = self._skip("^")
        ranges: list[tuple[str, str]] = []
        while not self._skip("]"):
            found = self._member()
            is_range = len(found) == 1 and found[0][0] == found[0][1] and self._peek() == "-"
            if is_range and self._pattern[self._at + 1 : self._at + 2] not in {"]", ""}:
                self._take()
                found = [(found[0][0], self._member()[0][1])]
            ranges += found
        return One(tuple(ranges), is_negated)

    def _member(self) -> list[tuple[str, str]]:
        character = self._take()
        if character != "\\":
            return [(character, character)]
        kind = self._take()
        if kind == "b":
            return [("\b", "\b")]
        found = list(self._escaped(kind))
        return _others(found) if kind in "DWSP" else found

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _take(self) -> str:
        if self._at >= len(self._pattern):
            raise NotUnderstood(self._pattern)
        self._at += 1
        return self._pattern[self._at - 1]

    def _skip(self, sign: str) -> bool:
        is_there = self._pattern.startswith(sign, self._at)
        self._at += len(sign) * is_there
        return is_there


def _others(ranges: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the ranges of all other characters."""
    found, start = list[tuple[str, str]](), "\0"
    for low, high in sorted(ranges):
        if start < low:
            found.append((start, chr(ord(low) - 1)))
        start = chr(ord(high) + 1)
    return [*found, (start, _LAST)]
