"""Routes whose health is judged, in time that a test turns on."""

import pytest

from headworks.stores.health import MemoryHealth
from headworks.stores.health_track import HealthRules
from headworks.testing import FakeClock, SeededRandom


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def health(clock):
    return MemoryHealth(clock, SeededRandom(), {"up": HealthRules(), "other": HealthRules()})
