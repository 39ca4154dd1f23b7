"""What goes wrong, when, and how: chosen by rules or by a request header, replayable by the seed."""

import fnmatch
from collections import Counter
from collections.abc import Sequence
from typing import Literal, final, get_args

import msgspec

from headworks.simulator.chance import Chance
from headworks.simulator.config import Ending, FaultName, FaultRule
from headworks.simulator.problems import Refusal

HEADER = b"x-simulator-fault"

_MIDWAY = frozenset({"cut_after", "stall_after", "malformed_chunk", "error_event"})
_MOST_KNOWN = 100_000
_Argument = Literal["status", "seconds", "after", ""]
_ARGUMENTS: dict[str, _Argument] = {
    "status": "status",
    "slow_first_token": "seconds",
    **dict.fromkeys(_MIDWAY, "after"),
}


@final
class Faults:
    """Decides which request meets which fault."""

    def __init__(self, rules: Sequence[FaultRule], seed: int) -> None:
        self._rules, self._seed = rules, seed
        self._struck: Counter[int] = Counter()
        self._seen: Counter[str] = Counter()

    def choose(self, ordered: bytes | None, path: str, model: str, key: str) -> FaultRule | None:
        """Return the fault for one request: what its header orders, else the first rule that hits.

        Chance depends on the seed, the rule, the request's `key` and how often it came before,
        not on the order in which different requests arrive.
        """
        if ordered is not None:
            return parse(ordered)
        if not self._rules:
            return None
        if len(self._seen) > _MOST_KNOWN:
            self._seen.clear()
        self._seen[key] += 1
        for number, rule in enumerate(self._rules):
            if self._strikes(number, rule, path, model, key):
                self._struck[number] += 1
                return rule
        return None

    def reset(self) -> None:
        """Forget what struck and what came."""
        self._struck.clear()
        self._seen.clear()

    def _strikes(self, number: int, rule: FaultRule, path: str, model: str, key: str) -> bool:
        if rule.times is not None and self._struck[number] >= rule.times:
            return False
        if not fnmatch.fnmatchcase(model, rule.model) or not fnmatch.fnmatchcase(path, rule.path):
            return False
        return Chance(self._seed, number, key, self._seen[key]).unit() < rule.probability


def parse(header: bytes) -> FaultRule:
    """Return the fault that a header value orders.

    `name`, `name=argument` or `name=argument,word`: a status (`status=503,html`), seconds
    (`slow_first_token=2`) or tokens (`cut_after=5,rst`).

    Raises:
        Refusal: There is no such fault.
    """
    name, _, argument = header.decode("latin-1").strip().partition("=")
    number, _, word = argument.partition(",")
    fields: dict[str, object] = {"fault": name}
    if number and name in _ARGUMENTS:
        fields[_ARGUMENTS[name]] = number
    if word:
        fields["html" if word == "html" else "ending"] = True if word == "html" else word
    try:
        return msgspec.convert(fields, FaultRule, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(get_args(FaultName))
        message = f"Invalid 'x-simulator-fault': {error}. Known faults: {known}."
        raise Refusal(400, message, param="x-simulator-fault", code="invalid_value") from None


def label(rule: FaultRule | None) -> str:
    """Return how the log calls a fault."""
    if rule is None:
        return ""
    argument = _ARGUMENTS.get(rule.fault)
    return rule.fault if not argument else f"{rule.fault}={getattr(rule, argument):g}"


def is_due(rule: FaultRule | None, kind: str, sent: int) -> bool:
    """Return whether a fault in mid-stream strikes before the next step.

    `sent` output tokens are out; an answer that ends earlier meets its fault at its end.
    """
    if rule is None or rule.fault not in _MIDWAY:
        return False
    return kind != "open" and (sent >= rule.after or kind == "close")


def ending(rule: FaultRule | None) -> Ending:
    """Return how a stream breaks off once a fault in mid-stream has struck."""
    return rule.ending if rule and rule.fault == "cut_after" else "clean"
