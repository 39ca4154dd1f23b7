"""headworks as a process whose calls are counted, and whoever calls it."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headworks_settings import EVERYTHING, settings
from steps_lockstep import Caller, HttpCaller, InsideCaller, Provider, carry, check
from steps_scenarios import Scenario

HERE = Path(__file__).resolve().parent
SERVE = ("-m", "headworks", "serve", "--config")
INSIDE = (str(HERE / "steps_inside.py"),)
_READY = re.compile(rb"API http://127\.0\.0\.1:(\d+)/v1")
_LOOKS = 3
"""How often a process is seen at rest before it is believed."""


@dataclass(frozen=True)
class Running:
    """A process of headworks between a caller and a provider."""

    pid: int
    caller: Caller
    provider: Provider

    def carry(self, scenario: Scenario, calls: int) -> None:
        """Make so many calls, one after the other, and see that they are answered well."""
        for _ in range(calls):
            check(scenario, carry(scenario, self.caller, self.provider))
        self.rest()

    def rest(self) -> None:
        """Return when no thread of the process has anything to do."""
        quiet = 0
        while quiet < _LOOKS:
            time.sleep(0.001)
            tasks = Path(f"/proc/{self.pid}/task").iterdir()
            states = {(task / "stat").read_text().rpartition(") ")[2][0] for task in tasks}
            quiet = quiet + 1 if states == {"S"} else 0


@contextlib.contextmanager
def running(
    program: Sequence[str], before: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Run a program on a configuration with everything on while the block lasts; `before` stands before it.

    Raises:
        SystemExit: It does not start.
    """
    with tempfile.TemporaryDirectory(prefix="headworks-steps-") as folder, Provider() as provider:
        file = Path(folder) / "headworks.yaml"
        asked = settings(EVERYTHING, Path(folder), 0, 0, provider.port)
        asked["upstreams"]["mock"]["connections"] = 1  # or it depends on time which one is taken
        file.write_text(json.dumps(asked), encoding="utf-8")
        command = [*before, sys.executable, *program, str(file)]
        log = Path(folder) / "log"
        with _started(command, log, environ or {}) as process:
            caller = _inside(process) if program == INSIDE else _http(process, log)
            yield Running(process.pid, caller, provider)


@contextlib.contextmanager
def _started(
    command: list[str], log: Path, environ: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    wanted = {"PYTHONHASHSEED": "0", "PYTHONPATH": str(HERE.parent / "src")}
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "HEADWORKS", "COV_", "COVERAGE"))
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
            env=inherited | wanted | environ,
        )
    try:
        yield process
    except BaseException:
        sys.stderr.write(log.read_text(errors="replace")[-3000:])
        raise
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _http(process: subprocess.Popen[bytes], log: Path) -> HttpCaller:
    """Return a caller of a gateway that says where it listens."""
    assert process.stdout is not None  # noqa: S101 - asked for
    for line in process.stdout:
        if found := _READY.search(line):
            return HttpCaller(int(found[1]))
    raise SystemExit(f"headworks did not start:\n{log.read_text()[-2000:]}")


def _inside(process: subprocess.Popen[bytes]) -> InsideCaller:
    assert process.stdin is not None  # noqa: S101 - asked for
    assert process.stdout is not None  # noqa: S101 - asked for
    return InsideCaller(process.stdin, process.stdout)
