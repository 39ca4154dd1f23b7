"""What fits each model: as the catalogue lists it, corrected by what its provider said."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import final

from headworks.core.context_window import Told, Window, corrected, listed


@final
class Windows:
    """The windows of all models that requests are fitted to; what was learnt is in memory.

    Places are spelled "upstream/model": the same model may be another elsewhere.
    """

    def __init__(self, listed: Callable[[str], Window]) -> None:
        self._listed = listed
        self._known: dict[str, Window] = {}
        self._said: dict[str, int] = {}

    def adopt(self, said: Mapping[str, int]) -> None:
        """Take the operator's word for some windows, by place or by model.

        Where it changes, what was learnt until then is forgotten.
        """
        if said != self._said:
            self._known.clear()
        self._said = dict(said)

    def window(self, place: str) -> Window:
        """Return what fits at a place that the configuration names."""
        known = self._known.get(place)
        if known is None:
            model = place.partition("/")[2]
            said = self._said.get(place) or self._said.get(model)
            known = self._known[place] = listed(said, None) if said else self._listed(model)
        return known

    def learn(self, place: str, said: Told, ours: int, *, is_plain: bool) -> None:
        """Note what a provider said of a request that was too long for it.

        `ours` is what we had counted; of a request that is not plain only its limit is learnt.
        """
        if not is_plain:
            said = replace(said, counted=None)
        if is_plain or said != Told():
            self._known[place] = corrected(self.window(place), said, ours)
