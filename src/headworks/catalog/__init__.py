"""What the models cost and can do: a dated list that ships with the package, offline.

`models.json` is written by `scripts/update_catalog.py`; NOTICE names its sources.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from functools import cache
from pathlib import Path

import msgspec

from headworks.catalog.rows import CatalogueFile, Model, Source, complete, effective
from headworks.core.pricing import Price
from headworks.errors import ConfigurationError

__all__ = ["Catalogue", "Model", "load", "spellings"]

PATH = Path(__file__).with_name("models.json")
_SNAPSHOT = re.compile(r"(.+)-\d{4}-\d{2}-\d{2}")


class Catalogue:
    """Every model that we know of."""

    def __init__(self, source: Source, models: Mapping[str, Model]) -> None:
        self.source = source
        self._models = models

    def __contains__(self, name: str) -> bool:
        return name in self._models

    def ids(self) -> tuple[str, ...]:
        """Return the name of every model, sorted."""
        return tuple(sorted(self._models))

    def model(self, name: str) -> Model | None:
        """Return the model that a provider runs under this name, None when it is unknown."""
        found = (self._models.get(spelling) for spelling in spellings(name))
        return next((model for model in found if model is not None), None)

    def price(self, name: str, at: date) -> Price | None:
        """Return what the model cost on a day; None is unknown, which is never free of charge."""
        model = self.model(name)
        if model is None:
            return None
        return complete(effective(model.prices, at.isoformat()), is_bound=model.bound)


def spellings(name: str) -> Iterator[str]:
    """Yield the names under which a model may be listed, the most precise one first.

    A dated snapshot may stand under its alias; a fine-tuned model (`ft:base:organisation:…`)
    under `ft:base` alone, since a base model has another price.
    """
    yield name
    if name.startswith("ft:"):
        yield ":".join(name.split(":")[:2])
    elif snapshot := _SNAPSHOT.fullmatch(name):
        yield snapshot.group(1)


@cache
def load(path: Path = PATH) -> Catalogue:
    """Return the catalogue, read once.

    Raises:
        ConfigurationError: The file is missing or damaged.
    """
    try:
        file = msgspec.json.decode(path.read_bytes(), type=CatalogueFile)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigurationError([f"{path}: the model catalogue cannot be read: {error}"]) from None
    return Catalogue(file.source, {model.id: model for model in file.models})
