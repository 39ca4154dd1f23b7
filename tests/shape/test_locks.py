"""Promises to whoever installs: the same files everywhere, each checked against its hash."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.shape.tree import ROOT, text

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUNTIME = PROJECT["project"]["dependencies"]
CLIENT = PROJECT["project"]["optional-dependencies"]["client"]
GROUPS = PROJECT["dependency-groups"]


def asked(name: str) -> list[str]:
    """Return what requirements/NAME.in asks for."""
    return re.findall(r"^\w.+", text(ROOT / f"requirements/{name}.in"), re.MULTILINE)


BENCH = ("aiohttp", "envoy", "ferro", "litellm", "plots", "tensorzero")
LOCKS = {
    "demo": [*RUNTIME, *CLIENT, *GROUPS["build"]],
    "dev": [*RUNTIME, *CLIENT, *GROUPS["build"], *GROUPS["test"], *GROUPS["check"]],
    "docs": GROUPS["docs"],
    "openai1": asked("openai1"),
    "openai2": [*RUNTIME, *asked("openai2")],
    "frameworks": asked("frameworks"),
    "frameworks2": asked("frameworks2"),
    "llmock": asked("llmock"),
    "realmodel": asked("realmodel"),
    "recordings": asked("recordings"),
    **{f"bench-{name}": asked(f"bench-{name}") for name in BENCH},
}
MOST_DEPENDENCIES = 20


def pins(lock: str) -> dict[str, str]:
    """Return the versions that a lock file pins."""
    content = text(ROOT / f"requirements/{lock}.lock")
    found = re.findall(r"^([\w.-]+)==([^\s;\\]+)", content, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_covers_what_pyproject_asks_for(lock: str):
    """A dependency that is added or raised in pyproject.toml is locked too (`make lock`)."""
    pinned = pins(lock)
    for line in LOCKS[lock]:
        requirement = Requirement(line)
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in {lock}.lock: run `make lock`"
        assert requirement.specifier.contains(version), f"{lock}.lock: {line}, run `make lock`"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_file_has_its_hash_and_no_address(lock: str):
    """Installation takes exactly the locked files, from whatever index the machine is set up for."""
    lines = text(ROOT / f"requirements/{lock}.lock").splitlines()
    for number, line in enumerate(lines[:-1]):
        if re.match(r"\w", line):
            assert "--hash=sha256:" in lines[number + 1], line
    assert not [line for line in lines if "://" in line or line.startswith("-")]


def test_the_locks_agree():
    """`make demo` runs the very versions that `make test` tests."""
    tested = pins("dev")
    assert {name: tested.get(name) for name in pins("demo")} == pins("demo")


def test_the_core_install_stays_small():
    """A gateway holds every key of a company: it has fewer than 20 direct dependencies."""
    assert len(RUNTIME) < MOST_DEPENDENCIES
