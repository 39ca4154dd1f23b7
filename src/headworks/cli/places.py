"""Where a command finds the store: named, configured, or the one that is used without either."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headworks.errors import ConfigurationError

if TYPE_CHECKING:  # commands pay for the loader when they run, `headworks --help` does not
    from headworks.config.settings import Config

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Configuration that names the store. Default: the one that `serve` would take.",
        metavar="FILE",
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store", help="The store itself; no configuration is read then.", metavar="FILE"
    ),
]

_SCHEME = "sqlite:"
_NO_KEY = "sk-simulator"
"""Stands for a provider's key: nothing here calls a provider."""


def configuration(config: Path | None, store: str | None) -> "Config":
    """Return what a command on the store must know: where it is, and what keys are configured.

    A store that is named stands alone. Else it is the one that `serve` would take: that of the
    configuration; without a file `sqlite:headworks.db`, unless a variable names another one.

    Raises:
        ConfigurationError: The store cannot be one, or the configuration is not valid.
    """
    if store is not None:
        from headworks.config.settings import Config

        return Config(store=_path(store))

    from headworks.config.loading import find, load

    file = config or find(os.environ)
    try:
        return load(file, os.environ if file else _without_provider())
    except ConfigurationError as error:
        hint = "or name the store itself, and no configuration is read: --store FILE"
        raise ConfigurationError([*error.problems, hint]) from None


def _without_provider() -> dict[str, str]:
    """Return the environment without what it says of a provider: what is booked needs none."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    return kept | {"OPENAI_API_KEY": _NO_KEY}


def _path(store: str) -> Path:
    path = store.removeprefix(_SCHEME)
    if not path or "://" in path or path.startswith(":"):
        raise ConfigurationError([f"--store: {store!r} is not of the form sqlite:path/to/file"])
    return Path(path)
