"""For tests: the fakes that our own tests use, and a practice OpenAI as a pytest fixture.

One line in `conftest.py` makes the fixture known, and the mark that sets it up:

    pytest_plugins = ["headworks.testing"]

    @pytest.mark.simulator(seed=7, faults=[FaultRule("status", status=503, times=1)])
    def test_it_survives(simulator):
        client = simulator.openai()
"""

from typing import TYPE_CHECKING, Any

from headworks.testing.fakes import (
    EVENTS,
    WHOLE,
    FakeClock,
    FakeResponse,
    FakeUpstream,
    MemoryKeys,
    MemoryLedger,
    MemoryRow,
    RecordingJournal,
    SeededRandom,
    Sent,
)

if TYPE_CHECKING:
    from headworks.testing.fixtures import simulator

__all__ = [
    "EVENTS",
    "WHOLE",
    "FakeClock",
    "FakeResponse",
    "FakeUpstream",
    "MemoryKeys",
    "MemoryLedger",
    "MemoryRow",
    "RecordingJournal",
    "SeededRandom",
    "Sent",
    "pytest_configure",
    "simulator",
]


def pytest_configure(config: Any) -> None:
    """Make pytest know the mark."""
    config.addinivalue_line(
        "markers",
        "simulator(in_process=False, virtual_time=False, **config): how the `simulator` fixture "
        "behaves; `config` are the fields of headworks.simulator.SimulatorConfig",
    )


def __getattr__(name: str) -> Any:
    """Import pytest only where the fixture is wanted."""
    if name != "simulator":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from headworks.testing.fixtures import simulator

    return simulator


def __dir__() -> list[str]:
    return sorted(__all__)
