"""Plans that depend on the call: groups, and models that cannot take it."""

from dataclasses import dataclass
from typing import Any

import pytest

from headworks.core.capability import Fitness
from headworks.core.context_window import Window
from headworks.core.groups import Conditions, Group, Member
from headworks.core.routing import Draft, NamedRouter
from headworks.errors import Failure
from headworks.types import NO_USAGE, Commit, Need, Plan, Request, Route

A, A2 = Route("a", "x", "main"), Route("a", "x", "spare")
B, C, D = Route("b", "y", "main"), Route("c", "z", "main"), Route("d", "w", "main")
PICTURE = {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}
TOOLS = {"messages": [{"role": "user", "content": "Hi"}], "tools": [{}]}
BOTH = {**PICTURE, "tools": [{}]}
CONDITIONS = Conditions(
    lambda: 0.0, {A: 0.3, A2: 0.3, B: 0.2, C: 0.1, D: 0.0}.__getitem__, lambda _: None
)


def member(*routes: Route) -> Member:
    return Member(str(routes[0]), routes)


def draft(
    *groups: Group,
    on: dict[Failure, tuple[Group, ...]] | None = None,
    lacks: dict[str, set[Need]] | None = None,
) -> Draft:
    found: dict[str, frozenset[Need]] = {
        one.place: frozenset((lacks or {}).get(one.place, set()))
        for chain in (groups, *(on or {}).values())
        for group in chain
        for one in group.members
    }
    routes = tuple(route for group in groups for one in group.members for route in one.routes)
    plan = Plan(routes, 2.0, Commit(None), {}, "No.")
    fitness = Fitness(found, lambda _: Window()) if lacks else None
    return Draft(plan, groups, on or {}, fitness, CONDITIONS)


def ask(fields: dict[str, Any]) -> Request:
    return Request("POST", "/v1/chat/completions", fields={"model": "m", **fields})


def order(*routes: Route) -> Group:
    return Group("order", tuple(member(one) for one in routes))


@dataclass(frozen=True)
class Case:
    id: str
    draft: Draft
    fields: dict[str, Any]
    routes: tuple[Route, ...]
    unfit: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()


BLIND_A: dict[str, set[Need]] = {"a/x": {"vision"}}
CASES = [
    Case("all can", draft(order(A, B), lacks=BLIND_A), TOOLS, (A, B)),
    Case("the first cannot", draft(order(A, B), lacks=BLIND_A), PICTURE, (B,), ("a/x cannot vision",)),
    Case("a fallback cannot", draft(order(B, A, C), lacks=BLIND_A), PICTURE, (B, C), behind=("a/x cannot vision",)),
    Case("all its credentials are left out", draft(Group("order", (member(A, A2), member(B))), lacks=BLIND_A), PICTURE, (B,), ("a/x cannot vision",)),
    Case("none can", draft(order(A, B), lacks={"a/x": {"vision"}, "b/y": {"vision", "tools"}}), PICTURE, (A, B)),
    Case("each lacks something else", draft(order(A, B), lacks={"a/x": {"vision"}, "b/y": {"tools"}}), BOTH, (A, B)),
    Case("before and behind", draft(order(A, B, C), lacks={"a/x": {"vision"}, "c/z": {"vision"}}), PICTURE, (B,), ("a/x cannot vision",), ("c/z cannot vision",)),
    Case("groups in turn", draft(Group("least_latency", (member(A), member(B))), order(D)), TOOLS, (B, A, D)),
    Case("the choice is among those that can", draft(Group("least_latency", (member(A), member(B), member(C))), lacks={"c/z": {"vision"}}), PICTURE, (B, A), ("c/z cannot vision",)),
    Case("a whole group cannot", draft(Group("least_latency", (member(A), member(B))), order(C), lacks={"a/x": {"vision"}, "b/y": {"vision"}}), PICTURE, (C,), ("a/x cannot vision", "b/y cannot vision")),
    Case("a later group's members are behind", draft(order(C), Group("least_latency", (member(A), member(B))), lacks=BLIND_A), PICTURE, (C, B), behind=("a/x cannot vision",)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_plans(case):
    """A call meets the routes that can take it, in its groups' order; the trail names the others."""
    plan = NamedRouter({}, {"m": case.draft}).plan(ask(case.fields), NO_USAGE)

    assert plan.routes == case.routes
    assert [f"{one.route} {one.failure}" for one in plan.unfit] == [*case.unfit]
    assert [f"{one.route} {one.failure}" for one in plan.unfit_behind] == [*case.behind]
    assert (plan.patience, plan.commit, plan.fixed_answer) == (2.0, Commit(None), "No.")


def test_targets_of_a_failure_are_judged_and_ordered_too():
    """A route for one kind of failure is left out where it cannot, and a group there chooses."""
    group = Group("least_latency", (member(B), member(C)))
    made = draft(order(A), on={"quota": (order(D), group, order(B))}, lacks={"d/w": {"vision"}})

    plan = made.plan_for(ask(PICTURE), NO_USAGE)
    assert plan.on == {"quota": (C, B)}
    assert [str(one.route) for one in plan.unfit_behind] == ["d/w"]
    assert made.plan_for(ask(TOOLS), NO_USAGE).on == {"quota": (D, C, B)}


def test_what_never_changes_is_made_once():
    """Without a choice and without differences each call gets the very same plan."""
    fixed = draft(order(A, B), Group("weighted", (member(C),)))
    assert fixed.settled() is fixed.plan
    lacking = draft(order(A, B), lacks=BLIND_A)
    assert lacking.settled() is lacking
    assert lacking.plan_for(ask(TOOLS), NO_USAGE) is lacking.plan
    chosen = draft(Group("weighted", (member(A), member(B))))
    assert chosen.settled() is chosen
