"""Reads configurations, scenarios and fault rules; all that is wrong with them is told at once.

Each finding names file, line and key, and the nearest known name where one is mistyped.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from headworks.config.problems import check
from headworks.config.section import Section
from headworks.config.tree import MOST_BYTES, Node, Problem, Reading, flatten, parse, told
from headworks.errors import ConfigurationError
from headworks.simulator.breakage.kinds import KINDS
from headworks.simulator.config import (
    REALISTIC,
    UNHURRIED,
    FaultRule,
    Phase,
    Scenario,
    SimulatorConfig,
)

_Kind = TypeVar("_Kind", bound=Section)
_Key = tuple[str | int, ...]
_CONDITIONS = frozenset(
    {"fault", "probability", "model", "path", "times", "start", "until", "every", "lasting"}
)


class Ordered(Section, frozen=True):
    """The body of `POST /_simulator/faults`."""

    rules: tuple[FaultRule, ...]


def read_config(path: Path) -> SimulatorConfig:
    """Return the configuration in a file, at a realistic pace unless it says otherwise.

    Raises:
        ConfigurationError: It cannot be read, or says what it may not.
    """
    reading = _tree(_content(path), str(path))
    config = _read(reading, SimulatorConfig)
    usual = {"latency": REALISTIC, "batches": UNHURRIED}
    unsaid = {name: pace for name, pace in usual.items() if name not in reading.values}
    return msgspec.structs.replace(config, **unsaid)


def read_scenario(path: Path) -> Scenario:
    """Return the scenario in a file: `phases` and `loop`.

    Raises:
        ConfigurationError: It cannot be read, or says what it may not.
    """
    return scenario_of(_content(path), str(path))


def scenario_of(content: bytes, source: str) -> Scenario:
    """Return the scenario in YAML or JSON.

    Raises:
        ConfigurationError: It says what it may not.
    """
    return _read(_tree(content, source), Scenario)


def rules_of(content: bytes, source: str) -> tuple[FaultRule, ...]:
    """Return the rules in YAML or JSON: `rules`, a list.

    Raises:
        ConfigurationError: It says what it may not.
    """
    return _read(_tree(content, source), Ordered).rules


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError([f"{path}: {error.strerror}"]) from error


def _tree(content: bytes, source: str) -> Reading:
    problems: list[Problem] = []
    root = parse(content, source, problems)
    if root is not None and root.mapping is None:
        root = Node({} if root.value is None else root.value, root.place)
        if root.mapping is None:
            problems.append(Problem(root.place, (), "must be a mapping of names to values"))
    if problems or root is None:
        raise ConfigurationError(told(problems))
    return flatten(root)


def _read(reading: Reading, kind: type[_Kind]) -> _Kind:
    values, problems = check(reading, kind)
    if not problems:
        try:
            read = msgspec.convert(values, kind)
        except msgspec.ValidationError as error:
            problems = [reading.problem((), str(error))]
        else:
            problems = [reading.problem(key, why) for key, why in _contradictions(read)]
            if not problems:
                return read
    raise ConfigurationError(told(problems))


def _contradictions(read: Section) -> Iterator[tuple[_Key, str]]:
    """Yield what cannot hold together, with its key."""
    match read:
        case SimulatorConfig():
            yield from _of_rules(read.faults, ("faults",))
            if read.scenario is not None:
                yield from _of_phases(read.scenario, ("scenario",))
        case Scenario():
            yield from _of_phases(read, ())
        case Ordered():
            yield from _of_rules(read.rules, ("rules",))
        case _:
            return


def _of_phases(scenario: Scenario, key: _Key) -> Iterator[tuple[_Key, str]]:
    for at, phase in enumerate(scenario.phases):
        here = (*key, "phases", at)
        yield from _of_rules(phase.faults, (*here, "faults"))
        if phase.seconds is not None and phase.calls is not None:
            yield (*here, "calls"), "a phase has seconds or calls, not both"
        is_last = at == len(scenario.phases) - 1
        if _is_endless(phase) and (scenario.loop or not is_last):
            yield (
                here,
                "gives no seconds and no calls: only the last phase of all may last for ever",
            )


def _is_endless(phase: Phase) -> bool:
    return phase.seconds is None and phase.calls is None


def _of_rules(rules: Sequence[FaultRule], key: _Key) -> Iterator[tuple[_Key, str]]:
    for at, rule in enumerate(rules):
        yield from (((*key, at, name), why) for name, why in _of_rule(rule))


def _of_rule(rule: FaultRule) -> Iterator[tuple[str, str]]:
    uses = KINDS[rule.fault].fields
    for field in msgspec.structs.fields(rule):
        name = field.name
        is_given = getattr(rule, name) != field.default and getattr(rule, name) != {}
        if is_given and name not in _CONDITIONS and name not in uses:
            used = f"it uses {', '.join(uses)}" if uses else "it uses none"
            yield name, f"{rule.fault} does not use it; {used}"
    if rule.until is not None and rule.until <= rule.start:
        yield "until", "must be after start"
    if rule.every is None and rule.lasting is not None:
        yield "lasting", "needs every: the length of one up and down"
    if rule.every is not None and rule.lasting is not None and rule.lasting > rule.every:
        yield "lasting", "must not be longer than every"
