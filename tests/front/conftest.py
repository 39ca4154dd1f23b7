"""What the tests of the front share: its figures, shown at the end of a run, and how much is done."""

import os
from collections.abc import Callable

import pytest

Figures = list[str]
_FIGURES = pytest.StashKey[Figures]()


def pytest_configure(config: pytest.Config) -> None:
    """Make room for figures."""
    config.stash[_FIGURES] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures."""
    figures = terminalreporter.config.stash.get(_FIGURES, [])
    if figures:
        terminalreporter.section("measured at the front")
        for text in figures:
            terminalreporter.write_line(text)


@pytest.fixture
def figure(pytestconfig) -> Callable[[str], None]:
    """Note a measured figure or a seed: it is printed when the run ends, and when a test fails."""

    def note(text: str) -> None:
        print(text)  # noqa: T201 - pytest shows it beside a failure
        pytestconfig.stash[_FIGURES].append(text)

    return note


@pytest.fixture
def anyio_backend():
    """Run on uvloop, as the gateway does."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
def is_whole() -> bool:
    """Whether all cases are run, which takes minutes: HEADWORKS_FRONT=whole asks for it."""
    return os.environ.get("HEADWORKS_FRONT") == "whole"
