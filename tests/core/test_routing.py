"""From a name to the places that can answer for it."""

import json
from dataclasses import dataclass

import pytest

from headworks.core.routing import ModelListing, NamedRouter, Target, routes
from headworks.errors import ModelNotFound
from headworks.types import NO_USAGE, Caller, Plan, Request, Timeouts

FAST = Timeouts(total=5)
TARGETS = {
    "openai": Target(("main", "spare"), Timeouts()),
    "local": Target(("only",), FAST),
}
PLAN = Plan(routes("local", TARGETS["local"], "small", FAST), patience=1.0)
ROUTER = NamedRouter(TARGETS, {"assistant": PLAN, "openai/special": PLAN})


def ask(model: str | None, path: str = "/v1/chat/completions", method: str = "POST") -> Request:
    return Request(method, path, fields={} if model is None else {"model": model})


@dataclass(frozen=True)
class Case:
    id: str
    model: str | None
    routes: list[tuple[str, str]]


CASES = [
    Case("a configured name", "assistant", [("local/small", "only")]),
    Case("a configured name with a slash", "openai/special", [("local/small", "only")]),
    Case("an upstream's prefix", "local/big", [("local/big", "only")]),
    Case("a name that nobody configured", "gpt-6-sol", [("openai/gpt-6-sol", "main"), ("openai/gpt-6-sol", "spare")]),
    Case("a slash that is no upstream's", "meta/llama", [("openai/meta/llama", "main"), ("openai/meta/llama", "spare")]),
    Case("a bare prefix", "local/", [("openai/local/", "main"), ("openai/local/", "spare")]),
    Case("no model at all", None, [("openai/", "main"), ("openai/", "spare")]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_plans(case):
    """Each name leads where the configuration, its prefix or the first upstream says."""
    plan = ROUTER.plan(ask(case.model), NO_USAGE)

    assert [(str(route), route.credential) for route in plan.routes] == case.routes


def test_without_upstreams_nothing_is_found():
    """A gateway without upstreams says so."""
    with pytest.raises(ModelNotFound):
        NamedRouter({}, {}).plan(ask("m"), NO_USAGE)


EVERYBODY = Caller("all", "k1")
LIMITED = Caller("limited", "k2", models=frozenset({"b", "a"}))


@pytest.mark.parametrize(
    ("caller", "names", "path", "expected"),
    [
        (EVERYBODY, ["x", "y"], "/v1/models", ["x", "y"]),
        (LIMITED, ["x", "y"], "/v1/models", ["a", "b"]),
        (EVERYBODY, [], "/v1/models", None),
        (LIMITED, [], "/v1/models", ["a", "b"]),
        (EVERYBODY, ["x"], "/v1/models/gpt-6-sol", None),
        (EVERYBODY, ["x"], "/v1/models-of-old", None),
    ],
)
def test_listings(caller, names, path, expected):
    """A key sees what it may use; where nothing is named, the provider is asked."""
    answer = ModelListing(names, 1).answer(ask(None, path, "GET"), caller)

    content = b"" if answer is None else answer.content
    assert isinstance(content, bytes)
    listed = [m["id"] for m in json.loads(content)["data"]] if content else None
    assert listed == expected


def test_looking_at_the_list_is_answered_here_as_well():
    """HEAD asks the same question as GET: a restricted key's list is never the provider's."""
    caller = Caller("k", "k", models=frozenset({"mine"}))

    answer = ModelListing((), 1).answer(ask(None, "/v1/models", "HEAD"), caller)

    assert answer is not None
    assert answer.status == 200
