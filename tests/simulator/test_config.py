"""The configuration file of the simulator."""

import subprocess
import sys
from decimal import Decimal

import pytest

from headworks.errors import ConfigurationError
from headworks.simulator import REALISTIC, FaultRule, Latency, SimulatedPrice, load

WHOLE = """
credentials: {main: sk-main, spare: sk-spare}
models:
  house-model:
  slow-model: {latency: {first_token: 3, tokens_per_second: 10}}
prices:
  gpt-4o: {input: 2500, output: 10000, cached: 12.5}
latency: {first_token: 0.1}
speed: 2
faults:
  - {fault: status, status: 429, retry_after: 1, probability: 0.05, times: 3}
  - {fault: cut_after, after: 5, ending: rst, model: gpt-4*}
seed: 7
"""


def write(path, text):
    file = path / "simulator.yaml"
    file.write_text(text)
    return file


def test_everything_can_be_set(tmp_path):
    """A file says what the simulator is like."""
    config = load(write(tmp_path, WHOLE))

    assert config.credentials == {"main": "sk-main", "spare": "sk-spare"}
    assert config.prices == {"gpt-4o": SimulatedPrice(2500, 10000, Decimal("12.5"))}
    assert config.faults[1] == FaultRule("cut_after", after=5, ending="rst", model="gpt-4*")
    assert config.pace("house-model") == Latency(0.05, 0)
    assert config.pace("slow-model") == Latency(1.5, 20)
    assert config.pace("slow-model").per_token() == 0.05


def test_the_pace_is_realistic_unless_the_file_says_otherwise(tmp_path):
    """People who start a simulator see an answer being written; a factor makes it faster."""
    assert load().latency == load(write(tmp_path, "seed: 3")).latency == REALISTIC
    assert load(speed=10).pace("any") == Latency(0.02, 1000)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sed: 3", "sed"),
        ("faults: [{fault: earthquake}]", "earthquake"),
        ("- a list", "Expected `object`, got `array`"),
        ("a: [", "simulator.yaml: "),
    ],
)
def test_a_mistake_is_named(tmp_path, text, problem):
    """A file with an error says which, and where it is."""
    with pytest.raises(ConfigurationError, match=problem):
        load(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path):
    """A file that is not there is not taken for an empty one."""
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml: No such file"):
        load(tmp_path / "nowhere.yaml")


def test_headworks_does_not_import_its_simulator():
    """Nobody but its users pays for the simulator."""
    code = "import sys, headworks; sys.exit('headworks.simulator' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
