"""Where a request may go: from the name that an app asks for to routes at upstreams."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from headworks.errors import ModelNotFound
from headworks.types import Caller, Plan, Request, Response, Route, Timeouts

DEFAULT_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Target:
    """An upstream as routing sees it: its credentials, best first, and its waits."""

    credentials: tuple[str, ...]
    timeouts: Timeouts


def routes(upstream: str, target: Target, model: str, timeouts: Timeouts) -> tuple[Route, ...]:
    """Return the routes to one model at one upstream: one for each credential."""
    return tuple(Route(upstream, model, name, timeouts) for name in target.credentials)


class NamedRouter:
    """Plans by name: a configured name, "upstream/model", or the model as it is.

    `targets` is in order of preference: a model that no name and no prefix sends elsewhere goes
    to the first one, under the name it was asked for.
    """

    def __init__(self, targets: Mapping[str, Target], plans: Mapping[str, Plan]) -> None:
        self._targets = dict(targets)
        self._plans = dict(plans)
        self._first = next(iter(self._targets), None)

    def plan(self, request: Request) -> Plan:
        """Return the routes to try, in order.

        Raises:
            ModelNotFound: There is no upstream at all.
        """
        model = request.model
        plan = self._plans.get(model)
        if plan is not None:
            return plan
        prefix, slash, rest = model.partition("/")
        name = prefix if slash and rest and prefix in self._targets else self._first
        if name is None:
            raise ModelNotFound("No upstream is configured.", param="model")
        target = self._targets[name]
        sent = rest if slash and name == prefix else model
        return Plan(routes(name, target, sent, target.timeouts), DEFAULT_PATIENCE)


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
