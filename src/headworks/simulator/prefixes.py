"""The provider's prompt cache: knows again how prompts begin, as long as they are in use.

A prompt is a row of segments, each cut into blocks; a block is known by the hash of all that stands
up to its end. So a prompt costs as many entries as it has blocks, whatever prompts it has in common.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, final

from headworks.ports import Clock

_BLOCK = 32  # bytes, about 8 tokens
_MOST_BLOCKS = 400_000


class Known(NamedTuple):
    """What a prompt has in common with earlier ones: whole segments, and bytes of the next."""

    segments: int
    more: int


@final
class Prefixes:
    """Beginnings of prompts, by owner. Without a clock they are kept until there are too many."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def recall(self, owner: str, segments: Sequence[bytes], seconds: float) -> Known:
        """Return how much of a prompt was seen before, and keep it for so long after this use."""
        now = self._clock.now() if self._clock else 0.0
        until, is_known = now + seconds, True
        link = owner.encode(errors="replace")
        whole, more = 0, 0
        for segment in segments:
            for start in range(0, max(1, len(segment)), _BLOCK):
                block = segment[start : start + _BLOCK]
                link = hashlib.blake2b(link + block, digest_size=12).digest()
                kept = self._seen.get(link, -1.0)
                is_known = is_known and kept >= now
                more += len(block) if is_known else 0
                self._seen[link] = max(kept, until)
                self._seen.move_to_end(link)
            if is_known:
                whole, more = whole + 1, 0
        while len(self._seen) > _MOST_BLOCKS:
            self._seen.popitem(last=False)
        return Known(whole, more)

    def forget(self) -> None:
        """Empty the cache."""
        self._seen.clear()
