"""The guide tells all that can be ordered."""

import re
from pathlib import Path
from typing import get_args

import pytest

from headworks.simulator import Simulator, SimulatorConfig
from headworks.simulator.breakage.kinds import KINDS
from headworks.simulator.config import Ending, FaultName
from headworks.simulator.control import Control
from headworks.simulator.faults import parse
from headworks.testing import FakeClock

GUIDE = (Path(__file__).parents[2] / "docs/guides/simulator.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `(\w+)` \| .* \| (.*)\|$", GUIDE, re.MULTILINE))


@pytest.mark.parametrize("name", get_args(FaultName))
def test_every_fault_is_in_the_guide(name):
    """Its row says what happens, and which fields it uses."""
    assert re.findall(r"`(\w+)`", ROWS[name]) == list(KINDS[name].fields)


def test_the_guide_names_no_fault_that_is_not_there():
    """Whoever copies a name from the table gets that fault."""
    assert set(ROWS) == set(get_args(FaultName))
    assert all(f"`{ending}`" in GUIDE for ending in get_args(Ending))


def test_orders_in_the_guide_work():
    """Each header that is shown is understood."""
    orders = re.findall(r"^x-simulator-fault: (.*)$", GUIDE, re.MULTILINE)
    assert len(orders) > 1
    assert all(parse(order) for order in orders)


def test_every_page_is_in_the_guide():
    """Each call under /_simulator/ is told with its methods."""
    app = Simulator(SimulatorConfig(), FakeClock())
    pages = Control(app.books, app.weather, app.reset).pages()
    told = set(re.findall(r"^\| `(\w+) /_simulator/(\w+)`", GUIDE, re.MULTILINE))

    assert told | {("GET", "reset")} == set(pages)
