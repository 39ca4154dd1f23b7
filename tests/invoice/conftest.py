"""What a judgement comes to, shown at the end of a run."""

from collections.abc import Callable

import pytest

Figures = list[str]
_FIGURES = pytest.StashKey[Figures]()


def pytest_configure(config: pytest.Config) -> None:
    """Make room for figures."""
    config.stash[_FIGURES] = []


@pytest.fixture
def figure(pytestconfig) -> Callable[[str], None]:
    """Note what a judgement came to: it is printed when the run ends."""
    figures: Figures = pytestconfig.stash[_FIGURES]
    return figures.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures."""
    figures = terminalreporter.config.stash.get(_FIGURES, [])
    if figures:
        terminalreporter.section("ledger and invoice")
        for text in figures:
            terminalreporter.write_line(text)
