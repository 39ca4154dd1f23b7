"""Laying one layer of configuration over another: base file, environment file, variables."""

import re
from collections.abc import Mapping

from headworks.config.tree import Node, Place, Problem, scalar

PREFIX = "HEADWORKS__"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def merge(base: Node, over: Node) -> Node:
    """Return `base` with `over` laid upon it.

    Mappings merge, name by name; lists and scalars replace; null removes what stands beneath it.
    """
    if base.mapping is None or over.mapping is None:
        return over
    entries = dict(base.mapping)
    for name, child in over.mapping.items():
        entries[name] = merge(entries[name], child) if name in entries else child
    return Node(entries, base.place)


def without_nulls(node: Node) -> Node:
    """Return the tree without names whose value is null; inside lists nothing is dropped.

    A list replaces what was beneath it, so that a null in it removes nothing: it is a mistake,
    and `keys: [{models: }]` must not come to mean every model.
    """
    if node.mapping is None:
        return node
    kept = {name: child for name, child in node.mapping.items() if child.value is not None}
    return Node({name: without_nulls(child) for name, child in kept.items()}, node.place)


def is_environment(name: str) -> bool:
    """Whether the text can name an environment, and so be a part of a file's name."""
    return _NAME.fullmatch(name) is not None


def lay_variables(root: Node, environ: Mapping[str, str], problems: list[Problem]) -> Node:
    """Return the tree with each `HEADWORKS__SERVER__LISTEN=…` laid over it.

    Two underscores separate the names of the path, which are read in lower case; a number finds an
    item of a list.
    """
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        place = Place(variable)
        segments = variable.removeprefix(PREFIX).lower().split("__")
        if not all(segments):
            problems.append(Problem(place, (), "names no setting: a part of its path is empty"))
            continue
        root = _assign(root, segments, Node(scalar(environ[variable]), place))
    return root


def _assign(node: Node | None, segments: list[str], leaf: Node) -> Node:
    if not segments:
        return leaf
    head, rest = segments[0], segments[1:]
    place = node.place if node else leaf.place
    if node and node.items and head in {str(at) for at in range(len(node.items))}:
        items = list(node.items)
        items[int(head)] = _assign(items[int(head)], rest, leaf)
        return Node(items, place)
    entries = dict(node.mapping or {}) if node else {}
    if node and node.mapping is None and node.value is not None:
        place = leaf.place  # a path through something that has no names: reported as the wrong type
    entries[head] = _assign(entries.get(head), rest, leaf)
    return Node(entries, place)
