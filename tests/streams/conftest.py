"""What the tests of streams share: figures that they measure, shown at the end of a run."""

from collections.abc import Callable

import pytest

_FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture
def figure(pytestconfig) -> Callable[[str], None]:
    """Note a measured figure: it is printed when the run ends, and when a test fails."""

    def note(text: str) -> None:
        print(text)  # noqa: T201 - pytest shows it beside a failure
        pytestconfig.stash.setdefault(_FIGURES, []).append(text)

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures."""
    figures = terminalreporter.config.stash.get(_FIGURES, [])
    if figures:
        terminalreporter.section("measured on streams")
        for text in figures:
            terminalreporter.write_line(text)
