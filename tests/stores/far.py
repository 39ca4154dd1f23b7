"""An authority that is somewhere else: every decision takes a wait, and nobody here can foresee one."""

import asyncio
from collections.abc import Sequence

from headworks.core.admission import Bound, Denial, Grant
from headworks.ports import Clock
from headworks.stores.authority import Ahead, AuthorityStatistics
from headworks.stores.memory_authority import MemoryAuthority, MemoryGate


class FarGate:
    """Asks the gate that is far away."""

    def __init__(self, there: MemoryGate) -> None:
        self._there = there

    def decide_nowait(self, tokens: int, more: Sequence[int] = ()) -> None:
        """Return None: it takes a wait."""

    async def decide(self, tokens: int, more: Sequence[int] = ()) -> Grant | Denial:
        """Ask, and wait for the answer."""
        await asyncio.sleep(0)
        found = self._there.decide_nowait(tokens, more)
        await asyncio.sleep(0)
        return found

    def forecast(self, tokens: int, more: Sequence[int], ahead: Ahead) -> None:
        """Return None: nobody can tell from here."""


class FarAuthority:
    """Counts what `MemoryAuthority` would count, far away."""

    def __init__(self, clock: Clock) -> None:
        self._there = MemoryAuthority(clock)

    def gate(self, bounds: Sequence[Bound]) -> FarGate:
        """Return what asks there."""
        return FarGate(self._there.gate(bounds))

    def statistics(self) -> AuthorityStatistics:
        """Return what is counted there."""
        return self._there.statistics()
