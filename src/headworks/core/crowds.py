"""Who waits before the same limit: how many of them are let in before a call that comes now.

A limit on a project, a user or everybody is shared by several keys. These take turns as `core.queue`
has it: until a call is next, each of the other keys is given as many tokens as its own, and each
other priority by its share. So what is told errs upwards, and never by more than what waits.
"""

import math
from collections.abc import Hashable, Iterable
from typing import Final, NamedTuple

SHARES: Final = (8, 1, 1)
"""Of ten tokens, how many each priority is given when all of them are waiting."""
QUANTUM: Final = 1_000
"""Tokens that a turn is worth at most: few, so that turns are short."""


class Crowd(NamedTuple):
    """Calls before one limit, and their tokens: those of one key, and those of the other keys.

    Attributes:
        keys: How many other keys these are.
    """

    calls: int = 0
    tokens: int = 0
    others: int = 0
    others_tokens: int = 0
    keys: int = 0

    @property
    def is_any(self) -> bool:
        """Whether there are any."""
        return self.calls + self.others > 0


NOBODY: Final = Crowd()


class _Line:
    """What waits before one limit at one priority, by keys."""

    __slots__ = ("by_key", "calls", "tokens")

    def __init__(self) -> None:
        self.calls = self.tokens = 0
        self.by_key: dict[Hashable, tuple[int, int]] = {}

    def add(self, key: Hashable, calls: int, tokens: int) -> None:
        """Count calls that have come, or gone if they are less than none."""
        own = self.by_key.get(key, (0, 0))
        self.calls += calls
        self.tokens += tokens
        self.by_key[key] = own = (own[0] + calls, own[1] + tokens)
        if not own[0]:
            del self.by_key[key]

    def of(self, key: Hashable) -> Crowd:
        """Return how it stands for a key."""
        calls, tokens = self.by_key.get(key, (0, 0))
        keys = len(self.by_key) - (calls > 0)
        return Crowd(calls, tokens, self.calls - calls, self.tokens - tokens, keys)


class Crowds:
    """What waits before each limit."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: dict[Hashable, tuple[_Line, ...]] = {}

    def __len__(self) -> int:
        """Return before how many limits anything waits."""
        return len(self._lines)

    def count(
        self, scopes: Iterable[Hashable], rank: int, key: Hashable, calls: int, cost: int
    ) -> None:
        """Count calls of a key, of so many tokens each, before all these limits; -1 has gone."""
        for scope in scopes:
            lines = self._lines.get(scope)
            if lines is None:
                lines = self._lines[scope] = tuple(_Line() for _ in SHARES)
            lines[rank].add(key, calls, calls * cost)
            if not any(line.calls for line in lines):
                del self._lines[scope]

    def own(self, scope: Hashable, rank: int, key: Hashable) -> int:
        """Return how many calls of a key wait there at that priority."""
        lines = self._lines.get(scope)
        return lines[rank].of(key).calls if lines else 0

    def ahead(
        self, scope: Hashable, rank: int, key: Hashable, cost: int, come: Crowd = NOBODY
    ) -> tuple[int, int]:
        """Return how many calls, with how many tokens, a limit lets in before one of a key.

        It costs so many tokens, and stands behind all that wait of its key. Those who are to
        `come` before its turn count as if they were waiting.
        """
        lines = self._lines.get(scope, ())
        here = lines[rank].of(key) if lines else NOBODY
        calls, tokens = here.calls + come.calls, here.tokens + come.tokens
        each = tokens + cost + QUANTUM
        more = _part(
            here.others + come.others,
            here.others_tokens + come.others_tokens,
            each * (here.keys + come.keys),
        )
        calls, tokens = calls + more[0], tokens + more[1]
        beside = [
            _part(line.calls, line.tokens, (tokens + cost) * share // SHARES[rank])
            for at, (line, share) in enumerate(zip(lines, SHARES, strict=False))
            if at != rank
        ]
        return calls + sum(part[0] for part in beside), tokens + sum(part[1] for part in beside)


def _part(calls: int, tokens: int, most: int) -> tuple[int, int]:
    """Return what is served of calls that are given so many tokens at most."""
    if tokens <= most:
        return calls, tokens
    return math.ceil(calls * most / tokens), most
