"""What must fit together where there are budgets."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from headworks.config.problems import values_at
from headworks.config.tree import Path, Reading, as_mapping

_KEYS: Final[tuple[Path, ...]] = ((), ("keys", "*"))
"""A key stands in a file among others, or is all that is read."""
_PLACES: Final[tuple[Path, ...]] = (
    *((*key, "budget") for key in _KEYS),
    *((name, "*", "budget") for name in ("projects", "users", "tags")),
)
_NEVER: Final = (
    "does nothing beside the hard budget of {}, which refuses what cannot be written; leave it out, "
    "or let the budget have hard: false"
)
_OF_HARD_ONES: Final = ("reserve", "unpriced")


def budget_findings(reading: Reading) -> Iterator[tuple[Path, str]]:
    """Yield settings that would do nothing."""
    for path, value in (one for place in _PLACES for one in values_at(reading.values, place)):
        given = as_mapping(value) or {}
        for name in _OF_HARD_ONES:
            if given.get(name) is not None and not _is_hard(given):
                yield (*path, name), "does nothing where hard is false; leave one of them out"
    for path, value in (one for place in _KEYS for one in values_at(reading.values, place)):
        key = as_mapping(value) or {}
        if key.get("on_ledger_failure") != "continue":
            continue
        for whose, budget in _budgets(reading.values, key, is_alone=not path).items():
            if _is_hard(as_mapping(budget) or {"hard": False}):
                yield (*path, "on_ledger_failure"), _NEVER.format(whose)


def _budgets(values: Any, key: Mapping[str, Any], *, is_alone: bool) -> dict[str, Any]:
    """Return the budgets that all calls of a key count against."""
    found: dict[str, Any] = {"the key itself": key.get("budget")}
    if is_alone:
        return found
    project = (as_mapping(values.get("projects")) or {}).get(key.get("project", ""))
    found["its project"] = (as_mapping(project) or {}).get("budget")
    found["everybody"] = values.get("budget")
    return found


def _is_hard(budget: Mapping[str, Any]) -> bool:
    return str(budget.get("hard", True)).lower() not in {"false", "0"}
