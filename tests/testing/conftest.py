"""The fixture that is tested here, as a user's own conftest would get it."""

import pytest

from headworks.testing import simulator  # noqa: F401 - a fixture is used by its name


def pytest_configure(config: pytest.Config) -> None:
    """Make pytest know the mark, as `pytest_plugins` would."""
    config.addinivalue_line("markers", "simulator: how the simulator behaves")
