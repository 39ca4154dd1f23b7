"""From files and variables to a configuration, or to the list of all that is wrong with it.

The layers, each over the one before: `headworks.yaml`, `headworks.<environment>.yaml` beside it,
variables named `HEADWORKS__…`. Then references are followed, and only then is anything checked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import yaml

from headworks.config import checks, layers, tree
from headworks.config.problems import as_secret, check
from headworks.config.schema import Document
from headworks.config.secrets import References, reason
from headworks.config.settings import Config, known_secrets, settled
from headworks.config.tree import Node, Place
from headworks.errors import ConfigurationError
from headworks.types import Secret

FILE = "headworks.yaml"
"""The file that is read when none is named."""

OPENAI = "https://api.openai.com/v1"
_MASK = "***"
_SHORTEST_MASKED = 8
_FROM_OPENAI = {
    "api_key": "OPENAI_API_KEY",
    "organization": "OPENAI_ORG_ID",
    "project": "OPENAI_PROJECT_ID",
}
_NOTHING = (
    "headworks is not configured: there is no headworks.yaml here and OPENAI_API_KEY is not set",
    "write a configuration with `headworks init`, or set OPENAI_API_KEY to start without one",
    "or try it without any key: `headworks demo`, `headworks serve --simulate`",
)


def read_limited(path: Path) -> bytes:
    """Return a file's content, of a too large one just enough to see that it is."""
    with path.open("rb") as file:
        return file.read(tree.MOST_BYTES + 1)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration in both of its forms."""

    document: Document
    config: Config

    def as_yaml(self) -> str:
        """Return the effective configuration, secrets masked."""
        secrets = [
            text
            for text in (secret.reveal() for secret in known_secrets(self.config))
            if len(text) >= _SHORTEST_MASKED
        ]
        values = msgspec.to_builtins(self.document, enc_hook=lambda _: _MASK)
        return yaml.safe_dump(_masked(values, secrets), sort_keys=False, allow_unicode=True)


def find(environ: Mapping[str, str]) -> Path | None:
    """Return the file that HEADWORKS_CONFIG names, else ./headworks.yaml if there is one."""
    named = environ.get("HEADWORKS_CONFIG")
    if named:
        return Path(named)
    return Path(FILE) if Path(FILE).exists() else None


def load(
    path: Path | None,
    environ: Mapping[str, str],
    read_file: Callable[[Path], bytes] = read_limited,
) -> Config:
    """Return the configuration of the file, or without one that of the variables alone.

    Raises `ConfigurationError` with every problem that there is; nothing else.
    """
    return read(path, environ, read_file).config


def default_config(environ: Mapping[str, str]) -> Config:
    """Return a configuration with one upstream, `openai`, from the official client's variables.

    It has no models and no keys. Raises `ConfigurationError` when OPENAI_API_KEY is not set.
    """
    return load(None, environ)


def read(
    path: Path | None,
    environ: Mapping[str, str],
    read_file: Callable[[Path], bytes] = read_limited,
) -> Loaded:
    """Return what `load` does, and the form in which people write it."""
    problems: list[str] = []
    directory = path.parent if path else Path()
    references = References(environ, read_file, directory)
    root = _layers(path, references, problems) if path else _without_file(environ)
    root = layers.without_nulls(layers.lay_variables(root, environ, problems))
    reading = tree.flatten(references.resolve(root, problems))
    values, found = check(reading)
    problems += found
    problems += [reading.problem(*finding) for finding in checks.findings(reading)]
    problems += _unreadable(reading, references)
    if problems:
        raise ConfigurationError(list(dict.fromkeys(problems)))
    document = msgspec.convert(values, Document, dec_hook=as_secret)
    config = replace(
        settled(document, directory),
        warnings=tuple(reading.problem(*finding) for finding in checks.warnings(reading)),
        files=tuple(references.files),
    )
    return Loaded(document, config)


def _layers(path: Path, references: References, problems: list[str]) -> Node:
    """Return the base file's tree with its environment's file laid over it."""
    base = _file(path, references, problems) or Node({}, Place(str(path), 1))
    environment, place = _environment(base, references)
    if not layers.is_environment(environment):
        problems.append(tree.problem(place, ("environment",), "not an environment's name"))
        return base
    beside = path.with_name(f"{path.stem}.{environment}{path.suffix}")
    over = _file(beside, references, problems, is_optional=True)
    root = layers.merge(base, over) if over and over.mapping is not None else base
    ...
