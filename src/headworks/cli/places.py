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
    typer.Option("--config", "-c", help="Configuration that names the store.", metavar="FILE"),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store", help="The store itself; no configuration is read then.", metavar="FILE"
    ),
]

_SCHEME = "sqlite:"
_NO_KEY = "sk-simulator"
"""Stands for the provider's key where none is given: `serve --simulate` does not need one."""


def configuration(config: Path | None, store: str | None) -> "Config":
    """Return what a command on the store must know: where it is, and what keys are configured.

    A store that is named stands alone. Else it is the one of the configuration that `serve` would
    take; without a file that is `sqlite:headworks.db`, whether or not there is a provider's key.

    Raises:
        ConfigurationError: The store cannot be one, or the configuration is not valid.
    """
    if store is not None:
        from headworks.config.settings import Config

        return Config(store=_path(store))

    from headworks.config.loading import find, load

    environ = {**os.environ, "OPENAI_API_KEY": os.environ.get("OPENAI_API_KEY") or _NO_KEY}
    file = config or find(os.environ)
    try:
        return load(file, environ if file is None else os.environ)
    except ConfigurationError as error:
        hint = "or name the store itself, and no configuration is read: --store FILE"
        raise ConfigurationError([*error.problems, hint]) from None


def _path(store: str) -> Path:
    path = store.removeprefix(_SCHEME)
    if not path or "://" in path or path.startswith(":"):
        raise ConfigurationError([f"--store: {store!r} is not of the form sqlite:path/to/file"])
    return Path(path)
