"""Who decides on rates and parallel calls: all limits of a call at once, or none.

In this process it is `memory_authority.MemoryAuthority`. Whatever takes its place, to share limits
among processes, keeps the same promises: `tests/stores/contracts/limits.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from headworks.core.admission import Bound, Denial, Grant, Subject

Ahead = Callable[[Subject], tuple[int, int]]
"""How many calls stand before one at a subject's limits, and with how many tokens."""


@dataclass(frozen=True, slots=True)
class AuthorityStatistics:
    """What is counted now: subjects remembered, and calls in flight."""

    subjects: int
    in_flight: int


class Gate(Protocol):
    """The limits that calls of one kind have to pass: to be kept, and asked for many of them.

    A call asks for so many `tokens` of each subject. Where that differs, `more` says for each how
    many more they are, or fewer.
    """

    def decide_nowait(self, tokens: int, more: Sequence[int] = ()) -> Grant | Denial | None:
        """Decide as `decide` does, or return None where that takes a wait: nothing is counted."""
        ...

    async def decide(self, tokens: int, more: Sequence[int] = ()) -> Grant | Denial:
        """Count a call at each subject, or say which limit is in the way of it longest.

        A denial counts nothing anywhere. It says itself when to come back: who waits that long is
        let in if nobody else comes meanwhile.
        """
        ...

    def forecast(self, tokens: int, more: Sequence[int], ahead: Ahead) -> float | None:
        """Return the seconds until the rates let a call in that comes after others. Never waits.

        It counts nothing. It is the longest that any of the limits by itself takes to let all of
        them in, if each comes as soon as it can and takes a small part of the limit. None where
        nobody can tell without asking elsewhere: then the last denial says when to come back, and
        what stands ahead is added to that (`core.queue_rules.wait_after`).
        """
        ...


class Authority(Protocol):
    """Decides on several limits at once."""

    def gate(self, bounds: Sequence[Bound]) -> Gate:
        """Return what decides where these limits hold, each subject once.

        All gates count together, and what they have counted stays when limits change.
        """
        ...

    def statistics(self) -> AuthorityStatistics:
        """Return what is counted now."""
        ...
