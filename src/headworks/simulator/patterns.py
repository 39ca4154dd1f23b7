"""Makes up texts that match a regular expression, and tells whether a text does.

Expressions come from strangers' schemas, so nothing here may take long: making a text walks the
tree of the expression once; matching carries a set of places through it instead of going back
(Thompson's way). Both give up what goes beyond their bounds.
"""

from string import ascii_letters, digits
from typing import TypeAlias, final

from headworks.simulator.chance import Chance
from headworks.simulator.pattern_tree import (
    MOST_REPEATS,
    WORD,
    Edge,
    Either,
    Look,
    Node,
    NotUnderstood,
    One,
    Repeat,
    Row,
    parse,
)

_TRIES = 60
_LONGEST = 4_000
_MOST_WORK = 100_000
_USUAL = ascii_letters + digits + " -_.,:;!?/+*@#%&()[]{}<>=~^$|'\"\\`"


def matches(pattern: str, text: str) -> bool:
    """Return whether the pattern is found anywhere in the text, False if that cannot be told."""
    try:
        return _Search(text).finds(parse(pattern))
    except NotUnderstood:
        return False


def matching(pattern: str, chance: Chance, least: int = 0, most: int | None = None) -> str | None:
    """Return a text of these many characters that matches, None when none is found."""
    try:
        node = parse(pattern)
    except NotUnderstood:
        return None
    more, is_random = 2, True
    for _ in range(_TRIES):
        writer = _Writer(chance, more, is_random=is_random)
        text = writer.write(node)
        if writer.is_exhausted and not more:
            break
        missing, surplus = least - len(text), len(text) - (_LONGEST if most is None else most)
        if writer.is_exhausted:
            more //= 4
        elif surplus > 0:
            more = max(0, more - (surplus + 1) // 2)
        elif missing > 0:
            more = min(more + missing, MOST_REPEATS)
            text += "".join(chance.pick(ascii_letters) for _ in range(missing))
        if surplus <= 0 and matches(pattern, text):
            return text
        is_random = missing <= 0 and surplus <= 0
    return None


@final
class _Writer:
    """Writes one text for a tree; what repeats without end does so `more` times, or at most so often."""

    def __init__(self, chance: Chance, more: int, *, is_random: bool) -> None:
        self._chance, self._more, self._is_random = chance, more, is_random
        self._left = _LONGEST

    @property
    def is_exhausted(self) -> bool:
        """Whether the text had to be cut short."""
        return self._left < 0

    def write(self, node: Node) -> str:  # noqa: PLR0911 - one per kind of node
        """Return the text, cut short if it would be endless."""
        self._left -= 1
        if self._left < 0:
            return ""
        match node:
            case One():
                return _character(node, self._chance)
            case Row(parts):
                return "".join(map(self.write, parts))
            case Either(options):
                return self.write(self._chance.pick(options))
            case Repeat():
                return self._repeated(node)
            case Edge() | Look():
                return ""

    def _repeated(self, node: Repeat) -> str:
        room = self._more if node.most is None else min(node.most - node.least, self._more)
        texts: list[str] = []
        for _ in range(node.least + (self._chance.below(room + 1) if self._is_random else room)):
            if self._left < 0:
                break
            texts.append(self.write(node.part))
        return "".join(texts)


def _character(one: One, chance: Chance) -> str:
    usual = [character for character in _USUAL if one.takes(character)]
    if usual:
        return chance.pick(usual)
    if one.is_negated:
        return next((c for c in map(chr, range(128, 1024)) if one.takes(c)), "")
    low, high = chance.pick(one.ranges) if one.ranges else ("", "")
    return chr(ord(low) + chance.below(ord(high) - ord(low) + 1)) if low else ""


_Places: TypeAlias = frozenset[int]
_NOWHERE: _Places = frozenset()


@final
class _Search:
    """Looks for patterns in one text, and gives up what takes too long."""

    def __init__(self, text: str) -> None:
        self._text, self._left = text, _MOST_WORK

    def finds(self, node: Node) -> bool:
        """Return whether the pattern begins anywhere."""
        return bool(self._ends(node, frozenset(range(len(self._text) + 1))))

    def _ends(self, node: Node, starts: _Places) -> _Places:  # noqa: C901, PLR0911 - one per kind
        """Return all places where a match that begins at one of `starts` may end."""
        self._left -= len(starts) + 1
        if self._left < 0:
            raise NotUnderstood
        text = self._text
        match node:
            case One():
                return frozenset(s + 1 for s in starts if s < len(text) and node.takes(text[s]))
            case Row(parts):
                for part in parts:
                    starts = self._ends(part, starts)
                return starts
            case Either(options):
                return _NOWHERE.union(*(self._ends(option, starts) for option in options))
            case Repeat():
                return self._repeated(node, starts)
            case Edge(kind):
                return frozenset(s for s in starts if _is_edge(kind, text, s))
            case Look():
                found = self._seen(node, starts)
                return starts & found if node.is_wanted else starts - found

    def _repeated(self, node: Repeat, starts: _Places) -> _Places:
        found = starts if node.least == 0 else _NOWHERE
        reached, times = starts, 0
        while reached and (node.most is None or times < node.most):
            times += 1
            before, reached = reached, self._ends(node.part, reached)
            if times < node.least and reached != before:
                continue
            if reached <= found:
                break
            found |= reached
        return found

    def _seen(self, look: Look, starts: _Places) -> _Places:
        if look.is_behind:
            return self._ends(look.part, frozenset(range(len(self._text) + 1))) & starts
        return frozenset(s for s in starts if self._ends(look.part, frozenset({s})))


def _is_edge(kind: str, text: str, place: int) -> bool:
    if kind == "^":
        return place == 0
    if kind == "$":
        return place == len(text)
    before = place > 0 and WORD.takes(text[place - 1])
    after = place < len(text) and WORD.takes(text[place])
    return (before != after) is (kind == "b")
