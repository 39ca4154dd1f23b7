"""Where a request may go: from the name that an app asks for to routes at upstreams."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from headworks.core.capability import Fitness
from headworks.core.groups import Conditions, Group, ordered
from headworks.core.trail import left_out
from headworks.errors import Failure, ModelNotFound, PathNotAllowed
from headworks.types import Caller, Need, Plan, Request, Response, Route, Timeouts, Tried, Usage

DEFAULT_PATIENCE = 5.0
_ALL_FIT: Mapping[str, Need] = {}


@dataclass(frozen=True, slots=True)
class Target:
    """An upstream as routing sees it: its credentials, best first, and its waits."""

    credentials: tuple[str, ...]
    timeouts: Timeouts


def routes(upstream: str, target: Target, model: str, timeouts: Timeouts) -> tuple[Route, ...]:
    """Return the routes to one model at one upstream: one for each credential."""
    return tuple(Route(upstream, model, name, timeouts) for name in target.credentials)


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan that depends on the call: groups choose an order, models that cannot are left out.

    Attributes:
        plan: What holds for every call; its routes are all there are, as they were written.
        groups: The same routes in their groups; `on` likewise those of the plan's `on`.
        fitness: Tells which models cannot take a request, None where all can do the same.
        has_order: Whether the groups come in the same order for each call; `has_order_on` likewise.
    """

    plan: Plan
    groups: tuple[Group, ...]
    on: Mapping[Failure, tuple[Group, ...]]
    fitness: Fitness | None
    conditions: Conditions

    has_order: bool = field(init=False)
    has_order_on: bool = field(init=False)

    def __post_init__(self) -> None:
        on = (group for groups in self.on.values() for group in groups)
        object.__setattr__(self, "has_order", all(group.is_fixed for group in self.groups))
        object.__setattr__(self, "has_order_on", all(group.is_fixed for group in on))

    def settled(self) -> "Plan | Draft":
        """Return the plan itself where each call gets the same."""
        is_plan = self.fitness is None and self.has_order and self.has_order_on
        return self.plan if is_plan else self

    def plan_for(self, request: Request, estimate: Usage) -> Plan:
        """Return the plan of one call; where no model can take it, none is left out.

        What the provider itself says of such a request tells its caller most.
        """
        fitness = self.fitness
        unfit = fitness.unfit(request, estimate) if fitness is not None else _ALL_FIT
        if unfit and all(one.place in unfit for group in self.groups for one in group.members):
            unfit = _ALL_FIT
        plan = self.plan
        if not unfit and self.has_order and self.has_order_on:
            return plan
        routes, on = plan.routes, plan.on
        if unfit or not self.has_order:
            routes = self._routes(self.groups, unfit, estimate)
        if unfit or not self.has_order_on:
            on = {
                failure: tuple(dict.fromkeys(self._routes(groups, unfit, estimate)))
                for failure, groups in self.on.items()
            }
        first, behind = self._left_out(unfit) if unfit else ((), ())
        return replace(plan, routes=routes, on=on, unfit=first, unfit_behind=behind)

    def _routes(
        self, groups: Iterable[Group], unfit: Mapping[str, Need], estimate: Usage
    ) -> tuple[Route, ...]:
        routes: list[Route] = []
        for group in groups:
            members = [one for one in group.members if one.place not in unfit]
            routes += ordered(group.strategy, members, estimate, self.conditions)
        return tuple(routes)

    def _left_out(self, unfit: Mapping[str, Need]) -> tuple[tuple[Tried, ...], tuple[Tried, ...]]:
        """Return what the trail says of the unfit: those before the first that can, the others."""
        before = dict(_before(self.groups, unfit))
        chains = (self.groups, *self.on.values())
        members = (one for groups in chains for group in groups for one in group.members)
        all_ = {one.place: one.routes[0] for one in members if one.place in unfit}
        first = tuple(left_out(route, unfit[place]) for place, route in before.items())
        rest = ((place, route) for place, route in all_.items() if place not in before)
        return first, tuple(left_out(route, unfit[place]) for place, route in rest)


class NamedRouter:
    """Plans by name: a configured name, "upstream/model", or the model as it is.

    `targets` is in order of preference: a model that no name and no prefix sends elsewhere goes
    to the first one, under the name it was asked for. What administers an account goes to `admin`.
    """

    def __init__(
        self,
        targets: Mapping[str, Target],
        plans: Mapping[str, Plan | Draft],
        admin: Route | None = None,
    ) -> None:
        self._targets = dict(targets)
        self._admin = admin
        self._plans = dict(plans)
        self._first = next(iter(self._targets), None)

    def plan(self, request: Request, estimate: Usage) -> Plan:
        """Return the routes to try, in order.

        Raises:
            ModelNotFound: There is no upstream at all.
            PathNotAllowed: No upstream has an admin credential, and one is needed.
        """
        if request.is_admin:
            return Plan((self._administered(),), DEFAULT_PATIENCE)
        model = request.model
        plan = self._plans.get(model)
        if plan is not None:
            return plan if isinstance(plan, Plan) else plan.plan_for(request, estimate)
        prefix, slash, rest = model.partition("/")
        name = prefix if slash and rest and prefix in self._targets else self._first
        if name is None:
            raise ModelNotFound("No upstream is configured.", param="model")
        target = self._targets[name]
        sent = rest if slash and name == prefix else model
        return Plan(routes(name, target, sent, target.timeouts), DEFAULT_PATIENCE)

    def _administered(self) -> Route:
        if self._admin is None:
            raise not_administered()
        return self._admin


def not_administered() -> PathNotAllowed:
    """Return what is told of paths that administer the provider's account."""
    return PathNotAllowed(
        "Paths that administer the provider's account need a key with the scope admin, and an "
        "upstream with an admin_credential."
    )


def _before(groups: Iterable[Group], unfit: Mapping[str, Need]) -> Iterator[tuple[str, Route]]:
    """Yield the unfit routes that might have been asked first."""
    for group in groups:
        for member in group.members:
            if member.place in unfit:
                yield member.place, member.routes[0]
            elif group.strategy == "order":
                return
        if any(member.place not in unfit for member in group.members):
            return


class ModelListing:
    """Answers /v1/models for keys and configurations that name models; others ask the upstream.

    `created` is in seconds since 1970.
    """

    def __init__(self, names: Sequence[str], created: int) -> None:
        self._names = tuple(names)
        self._created = created

    def answer(self, request: Request, caller: Caller) -> Response | None:
        """Return the list, or one model of it, that the key may use."""
        if request.method not in {"GET", "HEAD"} or not request.path.startswith("/v1/models"):
            return None
        names = self._names if caller.models is None else sorted(caller.models)
        if not names:
            return None
        if request.path == "/v1/models":
            listed = {"object": "list", "data": [self._model(name) for name in names]}
            return _json(listed)
        name = request.path.removeprefix("/v1/models/")
        return _json(self._model(name)) if name in names else None

    def _model(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": self._created, "owned_by": "headworks"}


def _json(value: object) -> Response:
    return Response(200, ((b"content-type", b"application/json"),), msgspec.json.encode(value))
