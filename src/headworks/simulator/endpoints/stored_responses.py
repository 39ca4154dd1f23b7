"""/v1/responses/{id}: what is kept of a response, told again, cancelled or deleted."""

from collections.abc import Iterator, Mapping
from typing import Any, final

from typing_extensions import override

from headworks.simulator.asked import Asked
from headworks.simulator.endpoints.responses_life import Response, frame, whole
from headworks.simulator.endpoints.responses_problems import synchronous, too_old
from headworks.simulator.fields import whole_number
from headworks.simulator.paging import page
from headworks.simulator.problems import Refusal, wrong_field
from headworks.simulator.provider import Provider
from headworks.simulator.reply import JSON, Body, Listing, Raw, Reply, Step

_STREAMED_FOR = 300
"""Seconds after which a response is no longer told event by event."""

_MOST_LISTED, _USUALLY_LISTED = 100, 20


def one_response(provider: Provider, asked: Asked) -> Body:
    """Return a response as it stands, or its events after `starting_after`."""
    response = _response(provider, asked)
    if asked.query.get("stream") != "true":
        return Raw(whole(response.at(provider.clock.now())), JSON)
    if asked.created - response.created > _STREAMED_FOR:
        raise too_old()
    return Retold(response, _number(asked.query, "starting_after"), provider.clock.now())


def cancel_response(provider: Provider, asked: Asked) -> Body:
    """Stop a background response; one that is complete stays as it is."""
    response = _response(provider, asked)
    if not response.is_background:
        raise synchronous()
    now = provider.clock.now()
    response.cancel(now)
    return Raw(whole(response.at(now)), JSON)


def delete_response(provider: Provider, asked: Asked) -> Body:
    """Forget a response."""
    response = _response(provider, asked)
    provider.shelf.forget(response)
    return Listing({"id": response.id, "object": "response", "deleted": True})


def list_input_items(provider: Provider, asked: Asked) -> Body:
    """Return a page of the items that a response answers, those of its past among them."""
    response = _response(provider, asked)
    items = (*response.context, *response.items)
    return page(items, asked.query, _MOST_LISTED, _USUALLY_LISTED)


@final
class Retold(Reply):
    """The events of a response that is kept, once more and free of charge.

    Those of the past come at once, the others as they are made: their tokens take time, and cost
    nothing because the usage is nothing.
    """

    def __init__(self, response: Response, after: int, now: float) -> None:
        self._response, self._after, self._now = response, after, now

    @override
    def is_streamed(self, fields: Mapping[str, Any]) -> bool:
        """Return that it is."""
        return True

    @override
    def whole(self, *, usage: bool) -> bytes:
        """Return the response as it stands."""
        return whole(self._response.at(self._now, usage=usage))

    @override
    def steps(self, *, usage: bool) -> Iterator[Step]:
        """Yield the events after the one that the caller has."""
        made = self._response.made(self._now)
        for number, step in enumerate(self._response.steps(usage=usage)):
            tokens = step.tokens if step.tokens > made else 0
            made -= step.tokens
            if number > self._after:
                yield step._replace(tokens=tokens)

    @override
    def error(self, refusal: Refusal, sent: int) -> bytes:
        """Return an `error` event."""
        told = {key: refusal.error[key] for key in ("code", "message", "param")}
        return frame("error", {**told, "sequence_number": self._after + 1 + sent})


def _response(provider: Provider, asked: Asked) -> Response:
    return provider.shelf.response(asked.credential, asked.names["response"])


def _number(query: Mapping[str, str], name: str) -> int:
    """Return a number of the query, -1 when it is not there."""
    given = query.get(name)
    if given is None:
        return -1
    if not given.isascii() or not given.isdigit():
        raise wrong_field(name, "an integer", given)
    return whole_number({name: int(given[:18])}, name, least=0) or 0
