"""What a request adds to what was said before it, and how many tokens the model reads of both."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from headworks.simulator.asked import Asked
from headworks.simulator.endpoints.responses_checks import check_json_mode
from headworks.simulator.endpoints.responses_input import (
    Items,
    check_pairs,
    checked,
    heard,
    is_answered,
    kept,
)
from headworks.simulator.endpoints.responses_object import conversation_of
from headworks.simulator.endpoints.stored import history
from headworks.simulator.problems import Refusal, unknown_response
from headworks.simulator.provider import Provider
from headworks.types import Usage


class Turn(NamedTuple):
    """A request with its past.

    Attributes:
        context: What was said before, as it is kept.
        items: What the request says, likewise.
        prompt: Both as the model reads them; without the oldest, if they did not fit.
        usage: The tokens of the prompt.
        is_answered: Whether the model reads what its calls returned as the last thing.
    """

    context: Items
    items: list[dict[str, Any]]
    prompt: Items
    usage: Usage
    is_answered: bool


def take_turn(provider: Provider, asked: Asked, reader: str) -> Turn:
    """Return the turn of a request whose fields are checked; `reader` has a prompt cache of its own.

    Raises:
        Refusal: Its past is not kept here, its items do not fit together, or all is too long.
    """
    fields = asked.fields
    context = _context(provider, asked)
    stores = fields.get("store") is not False
    given = [
        provider.shelf.item(asked.credential, item["id"], stores=stores)
        if item.get("type") == "item_reference"
        else item
        for item in checked(fields.get("input") or [])
    ]
    everything = [*context, *given]
    check_pairs(everything)
    said = heard(everything)
    check_json_mode(fields, said)
    prompt, usage = _measured(provider, asked.fields, said, reader)
    return Turn(context, kept(given, asked.serial), prompt, usage, is_answered(given or context))


def _context(provider: Provider, asked: Asked) -> Items:
    name = conversation_of(asked.fields)
    if name:
        return tuple(provider.shelf.conversation(asked.credential, name).items)
    previous = asked.fields.get("previous_response_id")
    if previous is None:
        return ()
    try:
        return history(provider.shelf.response(asked.credential, previous))
    except Refusal:
        raise unknown_response(previous) from None


def _measured(
    provider: Provider, fields: Mapping[str, Any], said: Items, reader: str
) -> tuple[Items, Usage]:
    """Return what was said and its tokens; if it may be shortened, its longest end that fits."""

    def measured(start: int) -> tuple[Items, Usage]:
        shorter: Mapping[str, Any] = {**fields, "input": said[start:]}
        return said[start:], provider.meter.measure("responses", shorter, reader)

    try:
        return measured(0)
    except Refusal:
        if fields.get("truncation") != "auto" or len(said) < 2:  # noqa: PLR2004 - the last stays
            raise
    few, enough = 0, len(said) - 1
    found = measured(enough)
    while enough - few > 1:
        middle = (few + enough) // 2
        try:
            found, enough = measured(middle), middle
        except Refusal:
            few = middle
    return found
