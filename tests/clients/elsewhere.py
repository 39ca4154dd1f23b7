"""Clients that do not fit into this environment: older official ones, frameworks, and Node's.

Each environment is installed once, exactly as its lock says, and again when the lock changes.
`python -m tests.clients.elsewhere` installs them all, or those environments that it is given.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.needed import program

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PYTHONS = ("openai1", "openai2", "frameworks", "frameworks2")
"""The environments for Python: each has a lock in requirements/ and a folder of its own."""
NODE_LOCK = HERE / "package-lock.json"
_AS_LOCKED = ["-qq", "--disable-pip-version-check", "--require-hashes", "--no-deps", "--no-compile"]
_SCRIPT_SECONDS = 240
_OURS = ("OPENAI_", "PYTHON", "LANGCHAIN_", "LANGSMITH_", "LOGFIRE_")


def python_lock(name: str) -> Path:
    """Return the file that says what an environment holds."""
    return ROOT / f"requirements/{name}.lock"


def python_with(name: str) -> Path:
    """Return the interpreter of an environment, which holds what its lock says."""
    folder = ROOT / f".venv-{name}"
    python = folder / "bin/python"
    stamp = folder / ".installed"
    wanted = _digest(python_lock(name), sys.version)
    if not (stamp.is_file() and stamp.read_text() == wanted):
        _run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)])
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", *_AS_LOCKED]
        _run([*pip, "-r", str(python_lock(name))])
        stamp.write_text(wanted)
    return python


def node_with_packages() -> str:
    """Return node, once the packages of package-lock.json lie beside the scripts that need them."""
    node, npm = program("node", "nodejs"), program("npm", "npm")
    stamp = HERE / "node_modules/.installed"
    wanted = _digest(NODE_LOCK, "")
    if not (stamp.is_file() and stamp.read_text() == wanted):
        _run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=HERE)
        stamp.write_text(wanted)
    return node


def report(command: list[str], plan: Mapping[str, Any], **environ: str) -> dict[str, Any]:
    """Return what a script saw when it followed the plan, from the root of the repository."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    done = subprocess.run(
        command,
        input=json.dumps(plan),
        cwd=ROOT,
        env=inherited | environ,
        capture_output=True,
        text=True,
        timeout=_SCRIPT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def _digest(lock: Path, more: str) -> str:
    return hashlib.sha256(lock.read_bytes() + more.encode()).hexdigest()


def _run(command: list[str], cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{(done.stdout + done.stderr)[-4000:]}"


def install(named: list[str]) -> None:
    """Install these environments, or all that the matrix needs, beside each other."""
    with ThreadPoolExecutor() as pool:
        installed = [pool.submit(python_with, name) for name in named or PYTHONS]
        if not named:
            node_with_packages()
    for environment in installed:
        environment.result()


if __name__ == "__main__":
    install(sys.argv[1:])
