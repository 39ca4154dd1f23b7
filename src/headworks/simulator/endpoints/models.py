"""GET /v1/models and /v1/models/{model}."""

from headworks.simulator import problems
from headworks.simulator.asked import Asked
from headworks.simulator.provider import Provider
from headworks.simulator.reply import Listing

_BIRTH = 1_700_000_000  # when every model was made


def list_models(provider: Provider, _asked: Asked) -> Listing:
    """Return every model that is served."""
    return Listing({"object": "list", "data": [_about(name) for name in provider.models.names()]})


def one_model(provider: Provider, asked: Asked) -> Listing:
    """Return one model."""
    wanted = asked.names["model"]
    if not provider.models.is_served(wanted):
        raise problems.unknown_model(wanted, "models")
    return Listing(_about(wanted))


def _about(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": _BIRTH, "owned_by": "openai"}
