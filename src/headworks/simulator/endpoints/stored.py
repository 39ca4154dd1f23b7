"""What is kept of responses and conversations: in memory, each for its owner, the oldest forgotten first."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from headworks.simulator.endpoints.responses_input import Items
from headworks.simulator.endpoints.responses_life import Response
from headworks.simulator.endpoints.responses_problems import no_conversation, no_item, no_response

_MOST_RESPONSES, _MOST_CONVERSATIONS = 4_096, 1_024
_SERIAL = 44
"""Digits of a response's number that its items repeat in their ids."""


@dataclass(slots=True)
class Conversation:
    """Items that belong together, oldest first."""

    id: str
    owner: str
    created: int
    metadata: Mapping[str, str]
    items: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def told(self) -> dict[str, Any]:
        """Return the `conversation` object."""
        return {
            "id": self.id,
            "object": "conversation",
            "created_at": self.created,
            "metadata": dict(self.metadata),
        }

    def item(self, name: str) -> dict[str, Any]:
        """Return one item, or raise the refusal of one that is not in it."""
        for item in self.items:
            if item["id"] == name:
                return item
        raise no_item(name)


@final
class Shelf:
    """All that one simulator keeps. What belongs to another owner is not there."""

    def __init__(self) -> None:
        self._responses: OrderedDict[str, Response] = OrderedDict()
        self._conversations: OrderedDict[str, Conversation] = OrderedDict()

    def keep(self, response: Response) -> None:
        """Keep a response."""
        self._responses[_serial(response.id)] = response
        while len(self._responses) > _MOST_RESPONSES:
            self._responses.popitem(last=False)

    def response(self, owner: str, name: str) -> Response:
        """Return a response, or raise the refusal of one that is not there."""
        found = self._responses.get(_serial(name))
        if found is None or found.owner != owner or found.id != name:
            raise no_response(name)
        self._responses.move_to_end(_serial(name))
        return found

    def forget(self, response: Response) -> None:
        """Delete a response."""
        del self._responses[_serial(response.id)]

    def item(self, owner: str, name: str, *, stores: bool) -> Mapping[str, Any]:
        """Return an item of a kept response, or raise the refusal of one that is not there."""
        found = self._responses.get(_serial(name))
        if found is not None and found.owner == owner:
            for item in (*found.items, *found.output):
                if item["id"] == name:
                    return item
        raise no_item(name, stores=stores)

    def add(self, conversation: Conversation) -> None:
        """Keep a conversation."""
        self._conversations[conversation.id] = conversation
        while len(self._conversations) > _MOST_CONVERSATIONS:
            self._conversations.popitem(last=False)

    def conversation(self, owner: str, name: str) -> Conversation:
        """Return a conversation, or raise the refusal of one that is not there."""
        found = self._conversations.get(name)
        if found is None or found.owner != owner:
            raise no_conversation(name)
        self._conversations.move_to_end(name)
        return found

    def end(self, conversation: Conversation) -> None:
        """Delete a conversation; responses that were part of it stay."""
        del self._conversations[conversation.id]

    def reset(self) -> None:
        """Forget everything."""
        self._responses.clear()
        self._conversations.clear()


def history(response: Response) -> Items:
    """Return all that was said up to the end of a response."""
    return (*response.context, *response.items, *response.output)


def _serial(name: str) -> str:
    return name.partition("_")[2][:_SERIAL]
