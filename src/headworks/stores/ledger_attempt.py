"""One attempt's row in the ledger, from its being held to its outcome."""

from typing import Literal, Protocol

import msgspec

from headworks.core.pricing import Price, anomalies, assess
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


class Attempt(msgspec.Struct, eq=False):
    """One row, held. Fulfils `ports.Hold`.

    Attributes:
        is_open: Whether neither `settle` nor `release` was called.
        is_booked: Whether the row is in the file, or will be.
    """

    _ledger: Pages
    _row: Row
    _price: Price | None
    is_open: bool = True
    is_booked: bool = True
    _cost: int | None = None

    @property
    def measures(self) -> frozenset[str]:
        """What its price bills by."""
        return frozenset() if self._price is None else self._price.measures

    def settle(
        self, usage: Usage, certainty: Certainty, outcome: str, odd: tuple[str, ...] = ()
    ) -> int | None:
        """Book what the attempt used, once; return its cost. See `ports.Hold`."""
        if self.is_open:
            price = self._price
            if price is not None:
                self._cost, found = assess(price, usage)
            else:
                self._cost = 0 if usage == NO_USAGE and certainty == "exact" else None
                found = anomalies(usage)
            if odd:
                found = tuple(dict.fromkeys((*odd, *found)))
            self._close("settled", certainty, outcome, usage, found)
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
        odd: tuple[str, ...] = (),
    ) -> None:
        self.is_open = False
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
