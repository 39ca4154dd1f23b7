"""What strict budgets reckon with: how long requests and answers can be at most."""

from headworks.catalog import load as load_catalogue
from headworks.config.settings import Config
from headworks.core.cost_bound import Extent
from headworks.types import Route
from headworks.wiring.routes import said_windows


class Extents:
    """Knows the longest request and answer of a route: by the operator's word, else the catalogue's."""

    def __init__(self, config: Config) -> None:
        self._said = said_windows(config)

    def extent(self, route: Route) -> Extent:
        """Return what is known of a route."""
        said = self._said.get(f"{route.upstream}/{route.model}") or self._said.get(route.model)
        model = load_catalogue().model(route.model)
        if model is None:
            return Extent(said, said)
        return Extent(said or model.input, model.output or said)
