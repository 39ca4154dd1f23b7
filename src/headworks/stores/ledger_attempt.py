"""One attempt's row in the ledger, from its being held to its outcome."""

from typing import Literal, Protocol

from headworks.core.pricing import Price, anomalies, cost, covers
from headworks.stores.ledger_rows import Row
from headworks.types import NO_USAGE, Certainty, Usage


class Pages(Protocol):
    """What an attempt needs of the ledger that its row is in."""

    def close_row(self, held: Row, outcome: Row) -> None:
        """Write what became of a held row. Never raises."""
        ...

    def note_duplicate(self) -> None:
        """Count a settlement that came a second time."""
        ...

    def now(self) -> int:
        """Return nanoseconds since 1970."""
        ...


class Attempt:
    """One row, held. Fulfils `ports.Hold`.

    Attributes:
        is_open: Whether neither `settle` nor `release` was called.
        is_booked: Whether the row is in the file, or will be.
    """

    __slots__ = ("_cost", "_ledger", "_price", "_row", "is_booked", "is_open")

    def __init__(self, ledger: Pages, row: Row, price: Price | None) -> None:
        self._ledger = ledger
        self._row = row
        self._price = price
        self.is_open = self.is_booked = True
        self._cost: int | None = None

    @property
    def measures(self) -> frozenset[str]:
        """What its price bills by."""
        return frozenset() if self._price is None else self._price.measures

    def settle(
        self, usage: Usage, certainty: Certainty, outcome: str, odd: tuple[str, ...] = ()
    ) -> int | None:
        """Book what the attempt used, once; return its cost. See `ports.Hold`."""
        if self.is_open:
            if usage == NO_USAGE and certainty == "exact":
                self._cost = 0
            elif self._price is not None and covers(self._price, usage):
                self._cost = cost(self._price, usage)
            self._close("settled", certainty, outcome, usage, odd)
        else:
            self._ledger.note_duplicate()
        return self._cost

    def release(self, outcome: str) -> None:
        """Close the row at no cost, once. See `ports.Hold`."""
        if self.is_open:
            self._cost = 0
            self._close("released", None, outcome, NO_USAGE)
        else:
            self._ledger.note_duplicate()

    def _close(
        self,
        state: Literal["settled", "released"],
        certainty: Certainty | None,
        outcome: str,
        usage: Usage,
        reported: tuple[str, ...] = (),
    ) -> None:
        self.is_open = False
        odd = anomalies(usage, self._price if state == "settled" else None)
        if reported:
            odd = tuple(dict.fromkeys((*reported, *odd)))
        if self._cost is None:
            odd = ("unpriced", *odd)
        if not self.is_booked:
            return
        self._ledger.close_row(
            self._row,
            (
                state,
                certainty,
                outcome,
                self._ledger.now(),
                usage.input,
                usage.output,
                usage.cached,
                usage.written,
                usage.written_12h,
                usage.reasoning,
                usage.tier,
                self._cost,
                " ".join(odd) if odd else "",
            ),
        )
