"""What headworks costs before it has done anything: start, import, memory."""

import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from headworks_gateway import headworks
from process import rss_mb
from subjects import hang_up

_IMPORT = "import time; t = time.perf_counter(); import headworks; print(time.perf_counter() - t)"


@dataclass(frozen=True)
class Startup:
    """Seconds and megabytes; medians of several starts.

    Attributes:
        ready: From the start of the process to `/readyz` answering 200.
        importing: `import headworks`, without the interpreter's own start.
        idle: Resident memory when ready, before the first token count.
        vocabulary: Resident memory with the vocabulary of one model family loaded, as it is when a
            broken answer was counted for the first time.
    """

    ready: float
    importing: float
    idle: float
    vocabulary: float


def measure_startup(folder: Path, mock_port: int, rounds: int) -> Startup:
    """Start headworks several times and look."""
    ready: list[float] = []
    idle: list[float] = []
    vocabulary: list[float] = []
    for _ in range(rounds):
        with headworks(folder, mock_port) as subject:
            ready.append(subject.ready)
            idle.append(rss_mb(subject.pid))
            hang_up(subject)
            vocabulary.append(_settled_rss(subject.pid))
    return Startup(
        ready=statistics.median(ready),
        importing=statistics.median(_import_seconds() for _ in range(5)),
        idle=statistics.median(idle),
        vocabulary=statistics.median(vocabulary),
    )


def _import_seconds() -> float:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def _settled_rss(pid: int) -> float:
    """Return the memory once it has not grown for a second: vocabularies load in the background."""
    greatest, quiet = rss_mb(pid), 0
    for _ in range(150):
        time.sleep(0.1)
        now = rss_mb(pid)
        quiet = quiet + 1 if now < greatest + 0.5 else 0
        greatest = max(greatest, now)
        if quiet == 10:
            break
    return greatest
