"""Which request meets which fault: by its header, its model's name, or rules; replayable by the seed."""

import fnmatch
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple, final, get_args

import msgspec

from headworks.simulator.breakage.kinds import KINDS
from headworks.simulator.chance import Chance
from headworks.simulator.config import Ending, FaultName, FaultRule
from headworks.simulator.problems import Refusal

HEADER = b"x-simulator-fault"
MARK = "+"
"""Stands in a model's name before a fault: `gpt-4o+cut_after=5`."""

_NAMES = frozenset(get_args(FaultName))
_ENDINGS = frozenset(get_args(Ending))
_UNSPOKEN = frozenset({"fault", "headers"})
_FIELDS = frozenset(field.name for field in msgspec.structs.fields(FaultRule)) - _UNSPOKEN


class Occasion(NamedTuple):
    """A request as rules see it.

    Attributes:
        key: What is the same for equal requests.
        seen: How often the key came, this one included.
        now: Seconds of the clock that only goes forward.
    """

    path: str
    model: str
    key: str
    seen: int
    now: float


@final
class Rules:
    """A list of rules, the time from which they count, and how often each struck.

    Chance depends on the seed, the rule, the request's key and how often that came before, not on
    the order in which different requests arrive.
    """

    def __init__(
        self, rules: Sequence[FaultRule], seed: tuple[object, ...], began: float = 0.0
    ) -> None:
        self.rules, self._seed, self._began = tuple(rules), seed, began
        self.struck: Counter[int] = Counter()

    def first(self, occasion: Occasion) -> FaultRule | None:
        """Return the first rule that strikes, and count that."""
        for number, rule in enumerate(self.rules):
            if self._strikes(number, rule, occasion):
                self.struck[number] += 1
                return rule
        return None

    def hold(self, fault: FaultName, now: float, path: str = "*") -> bool:
        """Return whether a rule with this fault holds for every request at `path` now."""
        return any(
            rule.fault == fault
            and rule.probability >= 1
            and rule.times is None
            and rule.model == "*"
            and (rule.path == "*" or fnmatch.fnmatchcase(path, rule.path))
            and is_time(rule, now - self._began)
            for rule in self.rules
        )

    def told(self) -> list[dict[str, object]]:
        """Return the rules as they were given, and how often each struck."""
        return [
            {**_given(rule), "struck": self.struck[number]}
            for number, rule in enumerate(self.rules)
        ]

    def _strikes(self, number: int, rule: FaultRule, occasion: Occasion) -> bool:
        if rule.times is not None and self.struck[number] >= rule.times:
            return False
        if not _is_for(rule, occasion) or not is_time(rule, occasion.now - self._began):
            return False
        if rule.probability >= 1:
            return True
        chance = Chance(*self._seed, number, occasion.key, occasion.seen)
        return chance.unit() < rule.probability


def _is_for(rule: FaultRule, occasion: Occasion) -> bool:
    return fnmatch.fnmatchcase(occasion.model, rule.model) and fnmatch.fnmatchcase(
        occasion.path, rule.path
    )


def is_time(rule: FaultRule, seconds: float) -> bool:
    """Return whether a rule holds so long after its start."""
    if seconds < rule.start or (rule.until is not None and seconds >= rule.until):
        return False
    if rule.every is None:
        return True
    lasting = rule.every / 2 if rule.lasting is None else rule.lasting
    return (seconds - rule.start) % rule.every < lasting


def parse(text: str, where: str = "x-simulator-fault") -> FaultRule:
    """Return the fault that a header or the name of a model orders.

    `name`, `name=argument` or `name=argument,word,field=value`: `status=503,html`,
    `slow_first_token=2`, `cut_after=5,rst`, `status=429,retry_after=date 30`.

    Raises:
        Refusal: There is no such fault, or it cannot be ordered like this.
    """
    start, *others = text.strip().split(",")
    name, _, first = start.partition("=")
    fields: dict[str, object] = {"fault": name}
    uses = KINDS[name].fields if name in KINDS else ()
    if first:
        fields.update(_word(first, uses[0] if uses else ""))
    for word in others:
        fields.update(_word(word.strip(), ""))
    unused = [field for field in fields if field not in {"fault", *uses}]
    if name in _NAMES and unused:
        raise _wrong(where, f"{name} does not use `{unused[0]}`")
    try:
        return msgspec.convert(fields, FaultRule, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong(where, str(error)) from None


def by_model(name: str) -> tuple[str, FaultRule | None]:
    """Return a model's name without the fault that stands in it, and that fault.

    Raises:
        Refusal: A fault stands there, but cannot be ordered like this.
    """
    model, mark, ordered = name.partition(MARK)
    if not mark or re.split("[=,]", ordered, maxsplit=1)[0] not in _NAMES:
        return name, None
    return model, parse(ordered, "model")


def label(rule: FaultRule | None) -> str:
    """Return how the log calls a fault: `name`, or `name=argument`."""
    if rule is None:
        return ""
    if rule.after_bytes is not None:
        return f"{rule.fault}={rule.after_bytes} bytes"
    uses = KINDS[rule.fault].fields
    value = getattr(rule, uses[0]) if uses else None
    if value is None:
        return rule.fault
    return f"{rule.fault}={value:g}" if isinstance(value, int | float) else f"{rule.fault}={value}"


def _wrong(where: str, why: str) -> Refusal:
    message = f"Invalid '{where}': {why}. Known faults: {', '.join(get_args(FaultName))}."
    return Refusal(400, message, param=where, code="invalid_value")


def _word(word: str, argument: str) -> dict[str, object]:
    name, equals, value = word.partition("=")
    if equals and name in _FIELDS:
        return {name: value}
    if argument and word not in _ENDINGS:
        return {argument: word}
    return {"html": True} if word == "html" else {"ending": word}


def _given(rule: FaultRule) -> dict[str, Any]:
    fields = msgspec.structs.fields(rule)
    values = ((field.name, getattr(rule, field.name), field.default) for field in fields)
    return {name: value for name, value, default in values if value not in (default, {})}
