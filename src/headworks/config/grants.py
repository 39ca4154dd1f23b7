"""What a key may do, said elsewhere than in a file, under the rules of the file.

A key of the store is described in the words of a configured one and passes the same checks; so
whatever the file takes, the store takes, and a mistake is told in the same words.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from headworks.config.checks_budgets import budget_findings
from headworks.config.checks_limits import limit_findings
from headworks.config.layers import merge, without_nulls
from headworks.config.problems import check
from headworks.config.schema import Grant as GrantText
from headworks.config.settling import settled_grant
from headworks.config.tree import Node, Place, as_list, as_mapping, flatten, told
from headworks.core.budget import Budget
from headworks.core.client_tokens import TokenRules
from headworks.core.grants import Grant
from headworks.core.wire import usd
from headworks.errors import ConfigurationError
from headworks.types import RateLimits

_AMOUNTS = ("rpm", "tpm", "rpd", "tpd", "parallel")


@dataclass(frozen=True, slots=True)
class Said:
    """One setting: by which option, of which name, and as what; None takes it away.

    Text is read as a variable's is: "60" is a number where one is expected.
    """

    option: str
    path: tuple[str, ...]
    value: object


def grant_of(said: Iterable[Said], base: Grant | None = None) -> Grant:
    """Return the grant that some settings come to, laid over another one.

    Raises:
        ConfigurationError: Each problem begins with the option that it is about.
    """
    here = Place(f"key {base.name}" if base else "key")
    tree = Node({}, here) if base is None else _tree(_plain(base), here)
    for one in said:
        tree = merge(tree, _branch(one))
    reading = flatten(without_nulls(tree))
    values, problems = check(reading, GrantText)
    read = replace(reading, values=values)
    found = (*limit_findings(read), *budget_findings(read))
    problems += [reading.problem(*finding) for finding in found]
    if problems:
        raise ConfigurationError(told(problems))
    return settled_grant(msgspec.convert(values, GrantText))


def written(grant: Grant) -> dict[str, Any]:
    """Return a grant as it would stand in a file, what is not set as None; times in ISO 8601."""
    limits = grant.limits
    more = {"reserve": limits.reserve, "queue": limits.queue}
    models = {name: _amounts(one) for name, one in limits.models}
    expires = grant.expires
    return {
        "name": grant.name,
        "project": grant.project,
        "models": None if grant.models is None else sorted(grant.models),
        "scopes": sorted(grant.scopes),
        "limits": _amounts(limits) | more | {"models": models},
        "priority": grant.priority,
        "budget": None if grant.budget is None else _budget(grant.budget),
        "stream": {"buffer": grant.buffering.mode, "max_delay": grant.buffering.max_delay},
        "client_tokens": None if grant.client_tokens is None else _tokens(grant.client_tokens),
        "expires": None if expires is None else datetime.fromtimestamp(expires, UTC).isoformat(),
        "on_disconnect": grant.on_disconnect,
        "on_ledger_failure": grant.on_ledger_failure,
        "unpriced": grant.unpriced,
    }


def _plain(grant: Grant) -> dict[str, Any]:
    """Return what was written of a grant: what only limits or hard budgets obey is not unless asked."""
    found = written(grant)
    if found["limits"]["reserve"] == RateLimits().reserve:
        found["limits"]["reserve"] = None
    budget: dict[str, Any] = found["budget"] or {}
    for name, usual in (("reserve", "expected"), ("unpriced", "refuse")):
        if budget.get(name) == usual:
            budget[name] = None
    return found


def _amounts(limits: RateLimits) -> dict[str, Any]:
    return {name: getattr(limits, name) for name in _AMOUNTS}


def _budget(budget: Budget) -> dict[str, Any]:
    return {
        "usd": usd(budget.limit),
        "per": budget.per,
        "time_zone": str(budget.zone),
        "soft": list(budget.soft),
        "hard": budget.is_hard,
        "unpriced": budget.unpriced,
        "reserve": "strict" if budget.is_strict else "expected",
    }


def _tokens(rules: TokenRules) -> dict[str, Any]:
    return {"max_expiry": rules.longest, "limits": _amounts(rules.limits)}


def _tree(value: object, place: Place) -> Node:
    names, items = as_mapping(value), as_list(value)
    if names is not None:
        return Node({name: _tree(child, place) for name, child in names.items()}, place)
    if items is not None:
        return Node([_tree(item, place) for item in items], place)
    return Node(value, place, "reference")


def _branch(said: Said) -> Node:
    place = Place(said.option)
    node = _tree(said.value, place)
    for name in reversed(said.path):
        node = Node({name: node}, place)
    return node
