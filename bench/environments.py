"""Install the peers, each exactly as its lock says and in a folder of its own.

    python bench/environments.py [aiohttp] [envoy] [tensorzero] [ferro] [portkey] [litellm] [plots]

One that cannot be had here is told and left out; so is what needs it in the benchmark.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PORTKEY = HERE / "peers/portkey"
PYTHONS = ("aiohttp", "envoy", "tensorzero", "ferro", "litellm", "plots")
NAMES = (*PYTHONS, "portkey")


def binaries(name: str) -> Path:
    """Return the folder of an environment's programs."""
    return ROOT / f".venv-bench-{name}/bin"


def lock(name: str) -> Path:
    """Return the file that says what an environment holds."""
    if name == "portkey":
        return PORTKEY / "package-lock.json"
    return ROOT / f"requirements/bench-{name}.lock"


def stamp(name: str) -> Path:
    """Return the file that stands once an environment holds what its lock says."""
    folder = PORTKEY / "node_modules" if name == "portkey" else binaries(name).parent
    return folder / ".installed"


def content(name: str) -> str:
    """Return what an environment is made of: its lock and, of a Python one, the very Python."""
    python = f"# {sys.base_prefix} {sys.version}\n" if name in PYTHONS else ""
    return python + lock(name).read_text(encoding="utf-8")


def is_installed(name: str) -> bool:
    """Say whether an environment is there, as the lock has it now and with the Python of ours."""
    return stamp(name).is_file() and stamp(name).read_text(encoding="utf-8") == content(name)


def install(name: str) -> None:
    """Install one; raises `CalledProcessError` or `OSError` where it cannot be had."""
    if name == "portkey":
        npm = shutil.which("npm")
        if npm is None:
            raise FileNotFoundError("npm is missing: apt-get install nodejs npm")
        _run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], PORTKEY)
    else:
        folder, python = binaries(name).parent, binaries(name) / "python"
        _run([sys.executable, "-m", "venv", "--clear", str(folder)], ROOT)
        pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        _run([*pip, "--only-binary", ":all:", "--require-hashes", "-r", str(lock(name))], ROOT)
    stamp(name).write_text(content(name), encoding="utf-8")


def _run(command: Sequence[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)


def main() -> None:
    """Install those that the command line names, or all; never fail for want of one."""
    asked = sys.argv[1:] or NAMES
    if unknown := set(asked) - set(NAMES):
        raise SystemExit(f"no such environment: {', '.join(sorted(unknown))}")
    for name in asked:
        try:
            if not is_installed(name):
                install(name)
            print(f"{name}: installed")
        except subprocess.CalledProcessError as error:
            print(f"{name}: left out, it cannot be had here: {error.stderr.strip()[-400:]}")
        except OSError as error:
            print(f"{name}: left out: {error}")


if __name__ == "__main__":
    main()
