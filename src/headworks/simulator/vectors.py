"""Texts as unit vectors, near each other where the texts share words, parts of words or phrases.

Each feature of a text (a word, three neighbouring letters, two neighbouring words) adds and takes
away a little in a few dimensions that its hash chooses (feature hashing, Weinberger et al. 2009), so
the cosine of two vectors is about the share of features that the texts have in common. Long words
weigh more than short ones, repeated ones less each time. A direction that all texts share and a
little noise of each text's own make the vectors as dense as real ones.
"""

import hashlib
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from math import hypot, log, sqrt

_WORD = re.compile(r"\w+")
_HITS = {"word": 12, "part": 6, "pair": 6}
_WEIGHT = {"word": 1.0, "part": 1.2, "pair": 0.4}
_COMMON = frozenset(
    _WORD.findall(
        "a an and are as at be by can could did do does for from had has have he her him his how i if "
        "in into is it its me my not of on or our she should so that the their them then there they "
        "this to was we were what when where which who why will with would you your"
    )
)
_COMMON_WEIGHT = 0.15
_LETTERS, _LONGEST = 3, 40
_SHARED, _OWN = 0.3, 0.1
_DEVIATION = 65_536 / sqrt(12)  # of a random 16-bit number

_Hit = tuple[int, float]


def vector(text: str | Iterable[int], model: str, size: int) -> "array[float]":
    """Return the unit vector of a text or of token numbers, in `size` dimensions of `model`."""
    words = text if isinstance(text, str) else "\0".join(map(str, text))
    return _vector(words, model, size)


def shortened(numbers: "array[float]", size: int) -> "array[float]":
    """Return the first dimensions of a vector, stretched to length one again."""
    if size >= len(numbers):
        return numbers
    return _unit(numbers[:size])


@lru_cache(maxsize=1024)
def _vector(text: str, model: str, size: int) -> "array[float]":
    sums = [0.0] * size
    words = _WORD.findall(text.lower())
    for word, times in Counter(words).items():
        _add(sums, _of_word(word, model, size), 1 + log(times))
    for pair, times in Counter(pairwise(words)).items():
        _add(sums, _of_pair(" ".join(pair), model, size), 1 + log(times))
    scale = 1 / (hypot(*sums) or 1.0)
    noise, loudness = _noise(text, model, size), _OWN / (_DEVIATION * sqrt(size))
    parts = zip(sums, _shared(model, size), noise, strict=True)
    return _unit([mark * scale + common + own * loudness for mark, common, own in parts])


def _unit(numbers: Sequence[float]) -> "array[float]":
    scale = 1 / (hypot(*numbers) or 1.0)
    return array("f", [number * scale for number in numbers])


def _add(sums: list[float], hits: Iterable[_Hit], times: float) -> None:
    for place, weight in hits:
        sums[place] += weight * times


@lru_cache(maxsize=20_000)
def _of_word(word: str, model: str, size: int) -> tuple[_Hit, ...]:
    """Return what a word adds: half for itself, half for its parts, as related words share them."""
    value = _COMMON_WEIGHT if word in _COMMON else 0.5 + 0.1 * min(len(word), 8)
    edged = f"^{word[:_LONGEST]}$"
    parts = [edged[start : start + _LETTERS] for start in range(len(edged) - _LETTERS + 1)]
    hits = list(_hits("word", word, model, size, value))
    for part in parts:
        hits += _hits("part", part, model, size, value / sqrt(len(parts)))
    return tuple(hits)


@lru_cache(maxsize=20_000)
def _of_pair(pair: str, model: str, size: int) -> tuple[_Hit, ...]:
    return tuple(_hits("pair", pair, model, size, 1.0))


def _hits(kind: str, feature: str, model: str, size: int, value: float) -> Iterator[_Hit]:
    count = _HITS[kind]
    weight = value * _WEIGHT[kind] / sqrt(count)
    digest = hashlib.shake_128(f"{model}\0{kind}\0{feature}".encode(errors="replace"))
    for place in array("H", digest.digest(2 * count)):
        yield (place >> 1) % size, weight if place & 1 else -weight


@lru_cache(maxsize=16)
def _shared(model: str, size: int) -> list[float]:
    scale = _SHARED / (_DEVIATION * sqrt(size))
    return [number * scale for number in _noise("", model, size)]


def _noise(seed: str, model: str, size: int) -> "array[int]":
    digest = hashlib.shake_128(f"{model}\0{seed}".encode(errors="replace"))
    return array("h", digest.digest(2 * size))
