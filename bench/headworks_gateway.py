"""Start headworks by its public command line, with the settings of a step or any others."""

import contextlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from headworks_settings import EVERYTHING, HEADERS, settings
from process import GATEWAY_CPU, free_port, running
from subjects import Subject

BINARY = str(Path(sys.executable).parent / "headworks")

Edit = Callable[[dict[str, Any]], None]


def _as_it_is(_: dict[str, Any]) -> None:
    """Change nothing."""


@contextlib.contextmanager
def headworks(
    folder: Path,
    mock_port: int,
    step: str = EVERYTHING,
    edit: Edit = _as_it_is,
    *,
    name: str = "headworks",
    patience: float = 20.0,
) -> Iterator[Subject]:
    """Run headworks while the block lasts; `edit` changes its settings before they are written."""
    place = folder / name
    place.mkdir(exist_ok=True)
    port = free_port(21300)
    admin = free_port(port + 1)
    asked = settings(step, place, port, admin, mock_port)
    edit(asked)
    file, log = place / "headworks.yaml", place / "log"
    file.write_text(json.dumps(asked), encoding="utf-8")  # all JSON is YAML
    command = [BINARY, "serve", "--config", str(file)]
    started = time.perf_counter()
    with running(command, GATEWAY_CPU, log) as process:
        while not is_ready(admin):
            if process.poll() is not None or time.perf_counter() > started + patience:
                raise SystemExit(f"{name} did not become ready:\n{log.read_text()[-2000:]}")
            time.sleep(0.002)
        ready = time.perf_counter() - started
        headers = HEADERS if step == EVERYTHING else ()
        yield Subject(name, version(), port, process.pid, ready, headers=headers)


def is_ready(admin: int) -> bool:
    """Say whether `/readyz` answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=2)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/readyz")
        return connection.getresponse().status == HTTPStatus.OK
    return False


def version() -> str:
    """Return what `headworks --version` says."""
    done = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]
