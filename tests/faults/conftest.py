"""What the fault tests share: figures that they measure, shown at the end of a run."""

from collections.abc import Callable

import pytest

Figures = list[str]
_FIGURES = pytest.StashKey[Figures]()


def pytest_configure(config: pytest.Config) -> None:
    """Make room for figures."""
    config.stash[_FIGURES] = []


@pytest.fixture
def figure(pytestconfig) -> Callable[[str], None]:
    """Note a measured figure or a seed: it is printed when the run ends, and when a test fails."""

    def note(text: str) -> None:
        print(text)  # noqa: T201 - pytest shows it beside a failure
        pytestconfig.stash[_FIGURES].append(text)

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures."""
    figures = terminalreporter.config.stash.get(_FIGURES, [])
    if figures:
        terminalreporter.section("measured under faults")
        for text in figures:
            terminalreporter.write_line(text)
