"""The prices in force: the catalogue's, with the operator's own laid over them."""

from collections.abc import Mapping
from datetime import UTC, datetime

from headworks.catalog import Catalogue, load, spellings
from headworks.core.memo import Memo
from headworks.core.pricing import Price
from headworks.ports import Clock

__all__ = ["Prices"]

_DAY = 86_400
_MOST = 10_000


class Prices:
    """Finds the price of a model today.

    `overlay` is what the configuration says, by model; it wins over the catalogue.
    """

    def __init__(
        self,
        clock: Clock,
        overlay: Mapping[str, Price] | None = None,
        catalogue: Catalogue | None = None,
    ) -> None:
        self._time = clock.time
        self._overlay = dict(overlay or {})
        self._catalogue = catalogue
        self._began = self._ends = 0.0
        self._known = Memo(self._find, _MOST)

    def price(self, model: str) -> Price | None:
        """Return today's price, None when it is unknown: that is never free of charge."""
        if not self._began <= (now := self._time()) < self._ends:
            self._known.clear()
            self._began = now - now % _DAY
            self._ends = self._began + _DAY
        return self._known[model]

    def _find(self, model: str) -> Price | None:
        catalogue = self._catalogue or load()
        for name in spellings(model):
            if name in self._overlay:
                return self._overlay[name]
            if name in catalogue:
                return catalogue.price(name, datetime.fromtimestamp(self._began, UTC).date())
        return None
