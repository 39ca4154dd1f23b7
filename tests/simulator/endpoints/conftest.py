"""A simulator in virtual time, asked without HTTP."""

import pytest

from headworks.simulator import SimulatorConfig
from tests.simulator.conftest import CONFIG
from tests.simulator.endpoints.practice import Practice


@pytest.fixture
def practice():
    """A simulator of its own."""
    return Practice(CONFIG)


@pytest.fixture(scope="module")
def served():
    """A simulator that serves every model of the catalogue."""
    return Practice(SimulatorConfig())
