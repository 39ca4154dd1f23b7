"""From the models of a configuration to how long their answers, and calls, may be."""

import math
from collections.abc import Callable

from headworks.catalog import load as load_catalogue
from headworks.config.settings import Config, RouteConfig, flat
from headworks.core.endpoints import waits
from headworks.core.tokens import choices
from headworks.types import Request


def longest_answer(config: Config) -> Callable[[Request], int | None]:
    """Return what tells the most tokens that a request's answer may have, by the catalogue.

    Of a model with several routes it is the longest of all; None is unknown.
    """

    def longest(request: Request) -> int | None:
        known = (_listed(way) for way in _ways(config, request.model))
        most = max((tokens for tokens in known if tokens is not None), default=None)
        return None if most is None else most * choices(request.fields)

    return longest


def longest_call(config: Config) -> Callable[[Request], float]:
    """Return what tells how many seconds a call may last in all: by its model's first routes.

    Where no model is named it is the longest of all upstreams; `inf` without any.
    """
    others = [one.timeouts for one in config.upstreams.values()]
    first = {
        name: [way.timeouts for way in flat(model.routes[:1])]
        for name, model in config.models.items()
    }

    def longest(request: Request) -> float:
        known = first.get(request.model) or others
        return max((waits(one, request).total for one in known), default=math.inf)

    return longest


def _ways(config: Config, name: str) -> tuple[RouteConfig, ...]:
    """Return where a name may lead: a model's routes, or itself at some upstream."""
    if name in config.models:
        return tuple(config.models[name].all_routes())
    upstream, slash, model = name.partition("/")
    return (
        RouteConfig(upstream, model)
        if slash and upstream in config.upstreams
        else RouteConfig("", name),
    )


def _listed(way: RouteConfig) -> int | None:
    known = load_catalogue().model(way.model)
    return None if known is None else known.output
