"""From the models of a configuration to the routes that a call may take."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby

from headworks.catalog import load as load_catalogue
from headworks.config.settings import (
    ADMIN,
    Config,
    GroupConfig,
    ModelConfig,
    RouteConfig,
    StepConfig,
    flat,
)
from headworks.core.capability import NEEDS, Fitness, fitness
from headworks.core.context_window import Window, listed
from headworks.core.groups import Conditions, Group, Member
from headworks.core.routing import Draft, NamedRouter, Target, routes
from headworks.errors import Failure
from headworks.types import Need, Plan, Route

_FINE_TUNED = "ft:"


def listed_window(model: str) -> Window:
    """Return how long requests to a model may be, as far as the catalogue knows."""
    known = load_catalogue().model(model)
    return Window() if known is None else listed(known.input, known.output)


def said_windows(config: Config) -> dict[str, int]:
    """Return the windows that the operator says, by "upstream/model" or by model."""
    said = config.capabilities.items()
    return {name: one.context for name, one in said if one.context is not None}


def said_window(config: Config, way: RouteConfig) -> Window:
    """Return how long requests to a route may be: by the operator's word, else the catalogue's."""
    said = said_windows(config)
    tokens = said.get(str(way)) or said.get(way.model)
    return listed(tokens, None) if tokens else listed_window(way.model)


def lacks(config: Config, way: RouteConfig) -> frozenset[Need]:
    """Return what a route's model cannot do: the catalogue's word, with the operator's over it."""
    found: frozenset[Need] = _listed_lacks(way.model)
    for name in (way.model, str(way)):
        said = config.capabilities.get(name)
        if said is not None:
            found = frozenset(need for need in NEEDS if not said.takes.get(need, need not in found))
    return found


def ways(config: Config, name: str) -> tuple[RouteConfig, ...]:
    """Return where a name of the configuration leads: a model's, or a route's own."""
    if name in config.models:
        return tuple(flat(config.models[name].routes))
    upstream, _, model = name.partition("/")
    return (RouteConfig(upstream, model),)


def router(config: Config, conditions: Conditions, window: Callable[[str], Window]) -> NamedRouter:
    """Return what finds the routes of a request; `window` is what fits at a place by now."""
    targets = {
        name: Target(tuple(one.name for one in upstream.credentials), upstream.timeouts)
        for name, upstream in config.upstreams.items()
    }
    plans = {
        name: _draft(model, targets, _fitness(config, model, window), conditions).settled()
        for name, model in config.models.items()
    }
    administered = (
        Route(name, "", ADMIN, upstream.timeouts)
        for name, upstream in config.upstreams.items()
        if upstream.admin is not None
    )
    return NamedRouter(targets, plans, next(administered, None))


def _draft(
    model: ModelConfig,
    targets: Mapping[str, Target],
    fitness: Fitness | None,
    conditions: Conditions,
) -> Draft:
    groups = tuple(_groups(model.routes, targets))
    on: dict[Failure, tuple[Group, ...]] = {
        failure: tuple(_groups(steps, targets)) for failure, steps in model.on.items()
    }
    fixed_on: dict[Failure, tuple[Route, ...]] = {
        failure: _all(found) for failure, found in on.items()
    }
    plan = Plan(
        _all(groups), model.patience, model.commit, fixed_on, model.fixed_answer, model.hedge
    )
    return Draft(plan, groups, on, fitness, conditions)


def _groups(steps: Iterable[StepConfig], targets: Mapping[str, Target]) -> Iterator[Group]:
    """Yield the groups of some steps: those of the configuration, the others as they come."""
    for is_group, found in groupby(steps, lambda step: isinstance(step, GroupConfig)):
        if is_group:
            yield from (_group(one, targets) for one in found if isinstance(one, GroupConfig))
        else:
            yield Group("order", tuple(_member(way, targets) for way in flat(found)))


def _group(group: GroupConfig, targets: Mapping[str, Target]) -> Group:
    weights = group.weights or (1.0,) * len(group.routes)
    pairs = zip(group.routes, weights, strict=True)
    return Group(group.strategy, tuple(_member(way, targets, weight) for way, weight in pairs))


def _member(way: RouteConfig, targets: Mapping[str, Target], weight: float = 1.0) -> Member:
    found = routes(way.upstream, targets[way.upstream], way.model, way.timeouts)
    return Member(str(way), found, weight)


def _all(groups: Iterable[Group]) -> tuple[Route, ...]:
    found = (route for group in groups for one in group.members for route in one.routes)
    return tuple(dict.fromkeys(found))


def _fitness(config: Config, model: ModelConfig, window: Callable[[str], Window]) -> Fitness | None:
    """Return what tells which routes cannot take a request, None where that is all or none.

    Windows are learnt where requests are fitted to them.
    """
    ways = {str(way): way for way in model.all_routes()}
    found = {place: lacks(config, way) for place, way in ways.items()}
    windows = {place: said_window(config, way) for place, way in ways.items()}
    learns = any(one.context is not None for one in config.models.values())
    return fitness(found, windows, window, learns=learns)


def _listed_lacks(model: str) -> frozenset[Need]:
    """Return what the catalogue denies a model; a fine-tuned one can what its base can."""
    catalogue = load_catalogue()
    known = catalogue.model(model)
    if known is None:
        return frozenset()
    parts = model.split(":")
    base = catalogue.model(parts[1]) if model.startswith(_FINE_TUNED) and len(parts) > 1 else None
    return known.lacks if base is None else known.lacks - base.takes
