"""From files and variables to a configuration, or to the list of all that is wrong with it.

The layers, each over the one before: `headworks.yaml`, `headworks.<environment>.yaml` beside it,
variables named `HEADWORKS__…`. Then references are followed, and only then is anything checked.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import msgspec
import yaml

from headworks.config import checks, layers, tree
from headworks.config.problems import as_secret, check, values_at
from headworks.config.schema import Document
from headworks.config.secrets import References, reason
from headworks.config.settings import Config, known_secrets
from headworks.config.settling import settled
from headworks.config.tree import Node, Place, Problem, told
from headworks.errors import ConfigurationError

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
        values = msgspec.to_builtins(self.document, enc_hook=_mask)
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
    problems: list[Problem] = []
    references = References(environ, read_file, path.parent if path else Path())
    root = _root(path, references, problems)
    reading = tree.flatten(references.resolve(layers.without_nulls(root), problems))
    values, found = check(reading)
    problems += found
    problems += [reading.problem(*finding) for finding in checks.findings(reading)]
    problems += _unreadable(reading, references)
    if problems:
        raise ConfigurationError(told(problems))
    document = msgspec.convert(values, Document, dec_hook=as_secret)
    config = settled(document, references.directory)
    warnings = checks.warnings(reading, config)
    config = replace(
        config,
        warnings=tuple(told(reading.problem(*finding) for finding in warnings)),
        files=tuple(references.files),
        stands=_stands(reading),
    )
    return Loaded(document, config)


def _root(path: Path | None, references: References, problems: list[Problem]) -> Node:
    """Return all layers as one tree, references not yet followed."""
    root = _file(path, references, problems) if path else _without_file(references.environ)
    chosen = _environment(root, references, problems)
    if path and chosen:
        beside = path.with_name(f"{path.stem}.{chosen.value}{path.suffix}")
        over = _file(beside, references, problems, is_optional=True)
        _check_environment(over, chosen, problems)
        root = layers.merge(root, over)
    root = layers.lay_variables(root, references.environ, problems)
    if chosen and root.mapping is not None:
        return Node({**root.mapping, "environment": chosen}, root.place)
    return root


def _file(
    path: Path, references: References, problems: list[Problem], *, is_optional: bool = False
) -> Node:
    """Return a file's tree; one that cannot be parsed ends the reading."""
    references.files[path] = None
    empty = Node({}, Place(str(path), 1))
    try:
        content = references.read_file(path)
    except (OSError, ValueError) as error:
        if is_optional and isinstance(error, FileNotFoundError):
            return empty
        hint = "; `headworks init` writes one" if isinstance(error, FileNotFoundError) else ""
        raise ConfigurationError(
            [f"{tree.escaped(str(path))}: cannot read this file: {reason(error)}{hint}"]
        ) from None
    root = tree.parse(content, str(path), problems)
    if root is None:
        raise ConfigurationError(told(problems))
    if root.mapping is None and root.value is not None:
        problems.append(Problem(root.place, (), "expected a mapping of names to values"))
    return empty if root.mapping is None else root


def _without_file(environ: Mapping[str, str]) -> Node:
    if not environ.get("OPENAI_API_KEY"):
        raise ConfigurationError(_NOTHING)

    def given(variable: str) -> Node:
        return Node(f"${{env:{variable}}}", Place(variable))

    here = Place("OPENAI_API_KEY")
    credential = {"name": Node("main", here)}
    credential |= {
        name: given(variable) for name, variable in _FROM_OPENAI.items() if environ.get(variable)
    }
    url = given("OPENAI_BASE_URL") if environ.get("OPENAI_BASE_URL") else Node(OPENAI, here)
    upstream = {"base_url": url, "credentials": Node([Node(credential, here)], here)}
    return Node({"upstreams": Node({"openai": Node(upstream, here)}, here)}, here)


def _environment(root: Node, references: References, problems: list[Problem]) -> Node | None:
    """Return the chosen environment's name, None when what is written cannot name one."""
    for variable in ("HEADWORKS_ENV", "HEADWORKS__ENVIRONMENT"):
        if references.environ.get(variable):
            node = Node(references.environ[variable], Place(variable))
            break
    else:
        node = (root.mapping or {}).get("environment") or Node(None, root.place)
        node = references.resolve(node, [])
    if node.value is None:
        node = Node(Document().environment, node.place)
    if not isinstance(node.value, str):
        return None
    if not layers.is_environment(node.value):
        problems.append(Problem(node.place, ("environment",), "does not name an environment"))
        return None
    return node


def _check_environment(over: Node, chosen: Node, problems: list[Problem]) -> None:
    said = (over.mapping or {}).get("environment")
    if said and said.value != chosen.value:
        problems.append(
            Problem(
                said.place, ("environment",), "differs from the environment that this file is for"
            )
        )


def _stands(reading: tree.Reading) -> Mapping[str, tuple[str, ...]]:
    """Return where each route is written."""
    stands: dict[str, tuple[str, ...]] = {}
    for path, route in checks.route_texts(reading):
        here = f"{reading.problem(path, '').place}: {tree.dotted(path)}"
        stands[route] = (*stands.get(route, ()), here)
    return stands


def _unreadable(reading: tree.Reading, references: References) -> Iterator[Problem]:
    for path, name in values_at(reading.values, ("upstreams", "*", "ca_file")):
        if not isinstance(name, str):
            continue
        file = references.directory / name
        references.files[file] = None
        try:
            references.read_file(file)
        except (OSError, ValueError) as error:
            yield reading.problem(path, f"cannot read this file: {reason(error)}")


def _mask(_secret: object) -> str:
    return _MASK


def _masked(value: Any, secrets: list[str]) -> Any:
    """Return the value without nulls and with every secret in it masked."""
    names = tree.as_mapping(value)
    if names is not None:
        return {k: _masked(v, secrets) for k, v in names.items() if v is not None}
    if isinstance(value, tuple):
        return [_masked(item, secrets) for item in cast("Any", value)]
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, _MASK)
    return value
