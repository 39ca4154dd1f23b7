"""Files that exist only in a test, and the shortest ways to load them."""

from collections.abc import Callable, Mapping
from pathlib import Path

from headworks.config import Config, load
from headworks.errors import ConfigurationError

BASE = Path("/etc/headworks/headworks.yaml")

MINIMAL = """\
upstreams:
  openai:
    base_url: https://api.openai.com/v1
    credentials: [{name: main, api_key: "${env:KEY}"}]
"""
KEY = "sk-live-7f3a9c1e5b8d2046"


def reader(files: Mapping[str, str | bytes]) -> Callable[[Path], bytes]:
    """Return a way to read these files; relative names stand beside the configuration."""

    def read(path: Path) -> bytes:
        found = {str(BASE.parent / name): content for name, content in files.items()}
        if str(path) not in found:
            raise FileNotFoundError(2, "No such file or directory")
        content = found[str(path)]
        return content.encode() if isinstance(content, str) else content

    return read


def loaded(
    text: str | bytes,
    environ: Mapping[str, str] | None = None,
    files: Mapping[str, str | bytes] | None = None,
) -> Config:
    """Load a configuration of this text; KEY is set."""
    everything = {"headworks.yaml": text, **(files or {})}
    return load(BASE, {"KEY": KEY, **(environ or {})}, reader(everything))


def refused(
    text: str | bytes,
    environ: Mapping[str, str] | None = None,
    files: Mapping[str, str | bytes] | None = None,
) -> list[str]:
    """Return what is wrong with a configuration, without the directory's name."""
    try:
        loaded(text, environ, files)
    except ConfigurationError as error:
        return [problem.replace(f"{BASE.parent}/", "") for problem in error.problems]
    return []
