"""How long the answers of a model to one key are: learned, so that less is set aside than may come.

Lengths are counted in classes an eighth of an octave wide, so that what is told is at most 9 % too
long; older ones fade by half whenever as many as `_MEMORY` were counted.
"""

import math
from array import array
from collections import OrderedDict
from typing import Final

_PER_OCTAVE: Final = 8
_CLASSES: Final = 20 * _PER_OCTAVE
"""Up to a million tokens; what is longer counts in the last class."""
_TOKENS: Final = tuple(int(2 ** (length / _PER_OCTAVE)) for length in range(_CLASSES))
_SHARE: Final = 0.05
_ENOUGH: Final = 20
"""Of fewer answers, the longest twentieth says nothing."""
_MEMORY: Final = 400
_PAIRS: Final = 10_000


class Lengths:
    """The lengths of many answers.

    Attributes:
        p95: Tokens that 95 of 100 of them stay within, None before there are enough to tell.
    """

    __slots__ = ("_above", "_classes", "_level", "_total", "p95")

    def __init__(self) -> None:
        self._classes = array("H", bytes(2 * _CLASSES))
        self._total = 0
        self._level = self._above = 0  # the class of `p95`, and how many are in those above it
        self.p95: int | None = None

    def observe(self, tokens: int) -> None:
        """Take in the length of an answer, 1 or more."""
        length = math.ceil(_PER_OCTAVE * math.log2(tokens))
        if length >= _CLASSES:
            length = _CLASSES - 1
        self._classes[length] += 1
        self._total += 1
        if length > self._level:
            self._above += 1
        if self._total >= _MEMORY:
            self._fade()
        most = int(self._total * _SHARE)
        if self.p95 is None or not self._above <= most < self._above + self._classes[self._level]:
            self._find(most)

    def _fade(self) -> None:
        self._classes = array("H", [count // 2 for count in self._classes])
        self._total = sum(self._classes)
        self._above = sum(self._classes[self._level + 1 :])

    def _find(self, most: int) -> None:
        """Let the level be the lowest above which there are no more than the longest twentieth.

        It is near the one that it was.
        """
        classes, level, above = self._classes, self._level, self._above
        while above > most:
            level += 1
            above -= classes[level]
        while level and above + classes[level] <= most:
            above += classes[level]
            level -= 1
        self._level, self._above = level, above
        if self._total >= _ENOUGH:
            self.p95 = _TOKENS[level]


class Outputs:
    """The lengths of answers by key and model; pairs long unused are forgotten."""

    def __init__(self) -> None:
        self._lengths: OrderedDict[tuple[str, str], Lengths] = OrderedDict()

    def observe(self, key_id: str, model: str, tokens: int) -> None:
        """Take in what an answer came to; one of nothing says nothing."""
        if tokens <= 0:
            return
        pair = (key_id, model)
        lengths = self._lengths.get(pair)
        if lengths is None:
            lengths = self._lengths[pair] = Lengths()
            if len(self._lengths) > _PAIRS:
                self._lengths.popitem(last=False)
        else:
            self._lengths.move_to_end(pair)
        lengths.observe(tokens)

    def likely(self, key_id: str, model: str) -> int | None:
        """Return tokens that 95 of 100 answers stay within, None before that is known."""
        lengths = self._lengths.get((key_id, model))
        return None if lengths is None else lengths.p95
