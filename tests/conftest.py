"""Fixtures that every test may use; and no property is timed, since a busy machine is no defect."""

import pytest
from hypothesis import settings

settings.register_profile("untimed", settings(), deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def anyio_backend() -> str:
    """Run asynchronous tests on asyncio, the engine's own loop."""
    return "asyncio"
