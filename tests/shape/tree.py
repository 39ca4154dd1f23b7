"""The repository as these tests see it: its own files and what stands in them."""

import ast
import functools
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE_FOLDERS = ("src", "tests", "bench", "scripts")


@functools.cache
def files() -> tuple[Path, ...]:
    """Return every file that git keeps or would keep, relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return tuple(sorted(Path(name) for name in listed.split("\0") if (ROOT / name).is_file()))


def code(*folders: str, suffix: str = ".py") -> tuple[Path, ...]:
    """Return the files with this suffix in the folders, all code folders when none is named."""
    wanted = folders or CODE_FOLDERS
    return tuple(path for path in files() if path.suffix == suffix and path.parts[0] in wanted)


def text(path: Path) -> str:
    """Return a file's text, "" for one that is not text."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


@functools.cache
def parsed(path: Path) -> ast.Module:
    """Return a Python file's syntax tree."""
    return ast.parse(text(path), str(path))


def documents() -> tuple[Path, ...]:
    """Return the Markdown files."""
    return tuple(path for path in files() if path.suffix == ".md")


def blocks(path: Path, language: str) -> list[str]:
    """Return a document's fenced code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text(path), re.DOTALL | re.MULTILINE)
