"""Chance that can be replayed: the same words in, the same draws out, on every machine."""

import hashlib
import struct
from collections.abc import Sequence
from typing import TypeVar, final

_T = TypeVar("_T")
_BLOCK = 64
_unpack = struct.Struct(">Q").unpack_from


@final
class Chance:
    """An endless row of draws that depends on its seeds alone (BLAKE2b in counter mode)."""

    __slots__ = ("_block", "_count", "_key", "_next")

    def __init__(self, *seeds: object) -> None:
        words = "\0".join(map(str, seeds)).encode(errors="replace")
        self._key = hashlib.blake2b(words, digest_size=32).digest()
        self._block, self._count, self._next = b"", 0, _BLOCK

    def below(self, limit: int) -> int:
        """Return a whole number from 0 up to `limit`, without `limit`."""
        return self._number() % max(1, limit)

    def unit(self) -> float:
        """Return a number in [0, 1)."""
        return (self._number() >> 11) / (1 << 53)

    def pick(self, choices: Sequence[_T]) -> _T:
        """Return one of `choices`, which must not be empty."""
        return choices[self._number() % len(choices)]

    def hex(self, digits: int) -> str:
        """Return an id of so many hexadecimal digits, at most 128."""
        size = (digits + 1) // 2
        end = self._next + size
        if end > _BLOCK:
            self._refill()
            end = size
        self._next = end
        return self._block[end - size : end].hex()[:digits]

    def _number(self) -> int:
        end = self._next + 8
        if end > _BLOCK:
            self._refill()
            end = 8
        self._next = end
        number: int = _unpack(self._block, end - 8)[0]
        return number

    def _refill(self) -> None:
        counter = self._count.to_bytes(8)
        self._block = hashlib.blake2b(counter, key=self._key, digest_size=_BLOCK).digest()
        self._count += 1
