"""Start pinned processes and read what they cost: CPU time and memory of a whole process tree."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

GATEWAY_CPU, LOAD_CPU = "0", "1"
_PROC = Path("/proc")


def pinned(command: Sequence[str], cpu: str) -> list[str]:
    """Return the command bound to one CPU, where there are two and `taskset` can do it."""
    if (os.cpu_count() or 1) < 2 or shutil.which("taskset") is None:
        return list(command)
    return ["taskset", "-c", cpu, *command]


@contextlib.contextmanager
def running(
    command: Sequence[str], cpu: str, log: Path, environ: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command while the block lasts, with `environ` beside ours; ends its whole session."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            pinned(command, cpu),
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=os.environ | (environ or {}),
        )
    favour(process.pid)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def favour(pid: int) -> None:
    """Give the process's session a larger share, where we may.

    With `kernel.sched_autogroup_enabled`, plain nice has no effect between sessions.
    """
    with contextlib.suppress(OSError):
        (_PROC / str(pid) / "autogroup").write_text("-10")


def tree(pid: int) -> list[int]:
    """Return the process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of the tree's threads; one that ended in between is not seen."""
    nanoseconds = 0
    for member in tree(pid):
        with contextlib.suppress(OSError):
            for task in (_PROC / str(member) / "task").iterdir():
                nanoseconds += int((task / "schedstat").read_text().split()[0])
    return nanoseconds / 1e9


def pss_mb(pid: int) -> float:
    """Return the memory of the tree in megabytes, each shared page counted once."""
    return _sum_kilobytes(pid, "smaps_rollup", "Pss:") * 1024 / 1e6


def settle(pid: int, seconds: float = 20.0) -> None:
    """Wait until the tree is idle: what one subject still does, the next would pay for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        before = cpu_seconds(pid)
        time.sleep(0.05)
        if cpu_seconds(pid) - before < 0.005:
            return


def rss_mb(pid: int) -> float:
    """Return the resident memory of the tree in megabytes (10^6 bytes), shared pages included."""
    return _sum_kilobytes(pid, "status", "VmRSS:") * 1024 / 1e6


def _sum_kilobytes(pid: int, file: str, name: str) -> int:
    kilobytes = 0
    for member in tree(pid):
        with contextlib.suppress(OSError):
            for line in (_PROC / str(member) / file).read_text().splitlines():
                if line.startswith(name):
                    kilobytes += int(line.split()[1])
    return kilobytes


def free_port(first: int) -> int:
    """Return a free port from `first` on, below those that outgoing connections take."""
    for port in range(first, 32768):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise SystemExit(f"no free port between {first} and 32767")


def wait_for_port(port: int, seconds: float = 10) -> None:
    """Wait until something listens on the port."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise SystemExit(f"nothing listens on port {port} after {seconds:g} s")
