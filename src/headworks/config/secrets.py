"""References: values that stand elsewhere, in a variable or a file.

`${env:NAME}`, `${env:NAME:-default}` and `${file:/path}` may stand anywhere in a text, several
times too; `$${` writes `${` itself. No message ever holds what a reference led to.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headworks.config import tree
from headworks.config.tree import UNRESOLVED, Node, Origin, Problem, escaped

MOST_BYTES = 64_000
"""A secret is short: a larger file is not one."""

_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_LATER = ("aws-sm", "aws-ssm", "gcp-sm", "azure-kv", "vault")
_SPELLING = "write ${env:NAME}, ${env:NAME:-default} or ${file:/path}"


class _Unresolvable(Exception):
    """A reference that leads nowhere; says why."""


@dataclass(slots=True)
class References:
    """Follows references.

    Attributes:
        directory: Where relative paths begin.
        files: The files that were read, or looked for.
    """

    environ: Mapping[str, str]
    read_file: Callable[[Path], bytes]
    directory: Path
    files: dict[Path, None] = field(default_factory=dict[Path, None])

    def resolve(self, node: Node, problems: list[Problem], path: tree.Path = ()) -> Node:
        """Return the tree with every reference followed; failures are added to `problems`."""
        if node.mapping is not None:
            return Node(
                {k: self.resolve(v, problems, (*path, k)) for k, v in node.mapping.items()},
                node.place,
            )
        if node.items is not None:
            return Node(
                [self.resolve(v, problems, (*path, at)) for at, v in enumerate(node.items)],
                node.place,
            )
        if not isinstance(node.value, str) or "${" not in node.value:
            return node
        try:
            text, origin = self._text(node.value)
        except _Unresolvable as error:
            problems.append(Problem(node.place, path, str(error)))
            return Node(UNRESOLVED, node.place)
        return Node(text, node.place, origin)

    def _text(self, text: str) -> tuple[str, Origin]:
        parts: list[str] = []
        end, is_whole, is_touched = 0, True, False
        for found in _REFERENCE.finditer(text):
            is_whole = is_whole and found.start() == end
            parts.append(text[end : found.start()])
            end = found.end()
            if found[0] == "$${":
                parts.append("${")
                is_whole = False
            elif found[1] is None:
                raise _Unresolvable(
                    f"this reference is not closed; {_SPELLING}, $${{ for a plain ${{"
                )
            else:
                value, is_default = self._follow(found[1])
                parts.append(value)
                is_whole, is_touched = is_whole and not is_default, is_touched or not is_default
        parts.append(text[end:])
        if is_whole and end == len(text):
            return "".join(parts), "reference"
        return "".join(parts), "mixed" if is_touched else "literal"

    def _follow(self, reference: str) -> tuple[str, bool]:
        scheme, _, target = reference.partition(":")
        if scheme == "env":
            return self._variable(target)
        if scheme == "file" and target:
            return self._file(target), False
        if scheme in _LATER:
            raise _Unresolvable(
                f"{scheme}: references are not available in this version of headworks; {_SPELLING}"
            )
        raise _Unresolvable(f"unknown kind of reference; {_SPELLING}")

    def _variable(self, target: str) -> tuple[str, bool]:
        name, has_default, default = target.partition(":-")
        if not _VARIABLE.fullmatch(name):
            raise _Unresolvable(f"not a variable's name; {_SPELLING}")
        value = self.environ.get(name)
        if has_default:
            return (value, False) if value else (default, True)
        if value is None:
            raise _Unresolvable(f"the environment variable {escaped(name)} is not set")
        return value, False

    def _file(self, target: str) -> str:
        try:
            path = self.directory / Path(target).expanduser()
            self.files[path] = None
            content = self.read_file(path)
            text = content.decode("utf-8-sig") if len(content) <= MOST_BYTES else None
        except UnicodeDecodeError:
            raise _Unresolvable(f"the file {escaped(target)} is not UTF-8 text") from None
        except (OSError, ValueError, RuntimeError) as error:
            raise _Unresolvable(
                f"cannot read the file {escaped(target)}: {reason(error)}"
            ) from None
        if text is None:
            raise _Unresolvable(f"the file {escaped(target)} is larger than {MOST_BYTES} bytes")
        return re.sub(r"\r?\n\Z", "", text)


def reason(error: Exception) -> str:
    """Return why a file could not be read, in the system's words."""
    return (isinstance(error, OSError) and error.strerror) or "not a valid path"
