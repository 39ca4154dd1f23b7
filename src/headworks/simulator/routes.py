"""Which path is answered by which endpoint."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from headworks.simulator import problems
from headworks.simulator.asked import Asked
from headworks.simulator.endpoints.chat import ChatReply
from headworks.simulator.endpoints.embeddings import EmbeddingsReply
from headworks.simulator.endpoints.models import list_models, one_model
from headworks.simulator.endpoints.responses import ResponsesReply
from headworks.simulator.provider import Provider
from headworks.simulator.reply import Body

Takes = Literal["json", "form", "nothing"]


class Route(NamedTuple):
    """One method on one path.

    Attributes:
        path: With `{name}` where anything but a slash may stand.
        answer: Returns the answer, or raises its refusal.
        takes: What the body must be.
    """

    method: str
    path: str
    answer: Callable[[Provider, Asked], Body]
    takes: Takes = "nothing"


ROUTES: Sequence[Route] = (
    Route("POST", "/v1/chat/completions", ChatReply, "json"),
    Route("POST", "/v1/responses", ResponsesReply, "json"),
    Route("POST", "/v1/embeddings", EmbeddingsReply, "json"),
    Route("GET", "/v1/models", list_models),
    Route("GET", "/v1/models/{model}", one_model),
)

_NO_NAMES: Mapping[str, str] = {}
_PLAIN = {(route.method, route.path): route for route in ROUTES if "{" not in route.path}
_PATTERNS = [
    (re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path)), route)
    for route in ROUTES
    if "{" in route.path
]


def find(method: str, path: str) -> tuple[Route, Mapping[str, str]]:
    """Return the route of a request and what stands in its placeholders.

    Raises:
        Refusal: There is no such path, or it does not know the method.
    """
    plain = _PLAIN.get((method, path))
    if plain is not None:
        return plain, _NO_NAMES
    fitting = [(route, match) for form, route in _PATTERNS if (match := form.fullmatch(path))]
    for route, match in fitting:
        if route.method == method:
            return route, match.groupdict()
    if fitting or any(path == known for _, known in _PLAIN):
        raise problems.wrong_method(method, path)
    raise problems.unknown_path(method, path)
