"""Every test of the client runs on both event loops."""

from typing import Any

import pytest


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run on the standard loop and on uvloop, which differ in when they write and close."""
    return "asyncio", {"use_uvloop": request.param}
