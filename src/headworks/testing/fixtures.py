"""The `simulator` fixture."""

from collections.abc import Generator
from typing import Any

import pytest

from headworks.testing.practice import Practice, practise


@pytest.fixture
def simulator(request: pytest.FixtureRequest) -> Generator[Practice]:
    """A practice OpenAI of the test's own; `@pytest.mark.simulator(…)` says how it behaves."""
    mark = request.node.get_closest_marker("simulator")
    options: dict[str, Any] = dict(mark.kwargs) if mark else {}
    in_process = options.pop("in_process", False)
    virtual_time = options.pop("virtual_time", False)
    with practise(in_process=in_process, virtual_time=virtual_time, **options) as practice:
        yield practice
