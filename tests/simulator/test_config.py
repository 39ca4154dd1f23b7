"""The configuration file of the simulator."""

import subprocess
import sys
from decimal import Decimal

import pytest

from headworks.errors import ConfigurationError
from headworks.simulator import (
    REALISTIC,
    FaultRule,
    Latency,
    Phase,
    Scenario,
    SimulatedPrice,
    load,
)

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


MISTAKES = [
    ("sed: 3", "1: sed: unknown key, did you mean 'seed'?"),
    ("seed: 1\nfaults:\n- {fault: cut_aftr}", "3: faults[0].fault: must be one of"),
    ("faults: [{fault: cut_aftr}]", ", did you mean 'cut_after'?"),
    (
        "faults: [{fault: crlf, seconds: 2}]",
        "1: faults[0].seconds: crlf does not use it; it uses none",
    ),
    ("faults: [{fault: surplus, after: 2}]", "it uses seconds"),
    ("faults: [{fault: crlf, probability: 2}]", "faults[0].probability: expected a number <= 1"),
    ("faults: [{fault: crlf, until: 2, start: 3}]", "faults[0].until: must be after start"),
    ("faults: [{fault: crlf, lasting: 2}]", "faults[0].lasting: needs every"),
    ("faults: [{fault: crlf, every: 1, lasting: 2}]", "must not be longer than every"),
    ("faults: [{fault: status, headers: {a b: c}}]", "must be the name of a header"),
    ('faults: [{fault: status, retry_after: "a\\nb"}]', "faults[0].retry_after"),
    ("faults: {fault: crlf}", "1: faults: expected a list, not a mapping"),
    ("latency: {first_tokn: 1}", "1: latency.first_tokn: unknown key, did you mean 'first_token'?"),
    ("latency: {first_token: soon}", "1: latency.first_token: expected a number, not text"),
    ("latency: {first_token: -1}", "latency.first_token: expected a number >= 0"),
    ("models: {m: {contxt: 1}}", "models.m.contxt: unknown key, did you mean 'context'?"),
    ("prices: {m: {output: 1}}", "1: prices.m.input: is missing"),
    ("answer_tokens: [1, 2, 3]", "length 2"),
    ("scenario: {phases: []}", "scenario.phases: the list is empty"),
    ("scenario: {phases: [{seconds: 1, calls: 1}]}", "a phase has seconds or calls, not both"),
    ("scenario: {phases: [{}, {calls: 1}]}", "1: scenario.phases[0]: gives no seconds"),
    ("scenario: {loop: true, phases: [{}]}", "only the last phase of all may last for ever"),
    ("- a list", "1: must be a mapping of names to values"),
    ("a: [", "2: not valid YAML"),
    ("seed: !!python/object:os.system 1", "1: seed: only plain YAML values"),
    ("seed: 1\nseed: 2", "2: seed: stands here twice, first in line 1"),
]


@pytest.mark.parametrize(("text", "problem"), MISTAKES)
def test_a_mistake_is_named(tmp_path, text, problem):
    """A file with an error says which, in which line and at which key."""
    with pytest.raises(ConfigurationError) as caught:
        load(write(tmp_path, text))

    [told] = caught.value.problems
    assert told.startswith(f"{tmp_path / 'simulator.yaml'}:")
    assert problem in told


def test_all_mistakes_are_told_at_once(tmp_path):
    """Nobody runs it ten times to find ten mistakes."""
    text = "sed: 3\nspeed: fast\nfaults:\n- {fault: nope}\n- {status: 5}\n"
    with pytest.raises(ConfigurationError) as caught:
        load(write(tmp_path, text))

    lines = [int(told.split(":")[1]) for told in caught.value.problems]
    assert lines == [1, 2, 4, 5, 5]


def test_a_scenario_may_stand_in_a_file_of_its_own(tmp_path):
    """It takes the place of the one in the configuration."""
    (tmp_path / "day.yaml").write_text("loop: true\nphases:\n- {name: calm, seconds: 5}\n")
    config = load(write(tmp_path, "scenario: {phases: [{}]}"), scenario=tmp_path / "day.yaml")

    assert config.scenario == Scenario([Phase("calm", 5.0)], loop=True)


def test_what_a_file_says_nothing_of_is_left_alone(tmp_path):
    """An empty file is the usual behaviour."""
    assert load(write(tmp_path, "")) == load()


def test_a_missing_file_is_named(tmp_path):
    """A file that is not there is not taken for an empty one."""
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml: No such file"):
        load(tmp_path / "nowhere.yaml")


def test_headworks_does_not_import_its_simulator():
    """Nobody but its users pays for the simulator."""
    code = "import sys, headworks; sys.exit('headworks.simulator' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
