"""The promises of `import headworks`."""

import subprocess
import sys

import pytest

import headworks


def test_the_public_names():
    """What the package offers is what it lists, and every name is there."""
    assert headworks.__all__ == [
        "Aggregator",
        "CallError",
        "ConfigurationError",
        "Headworks",
        "__version__",
        "aggregate",
        "open",
    ]
    assert all(getattr(headworks, name) for name in headworks.__all__)
    assert dir(headworks) == sorted(headworks.__all__)


def test_a_name_that_is_not_there():
    """A misspelt name is an AttributeError, as in any module."""
    with pytest.raises(AttributeError, match="no attribute 'opne'"):
        headworks.opne  # noqa: B018 - the access is the test


def test_importing_loads_nothing_heavy():
    """`import headworks` loads neither the official client nor the engine nor an event loop."""
    program = (
        "import sys, headworks\n"
        "print(sorted({'openai', 'httpx', 'httpx2', 'asyncio', 'msgspec', 'headworks.errors'}"
        " & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )

    assert ended.stdout.strip() == "[]"
