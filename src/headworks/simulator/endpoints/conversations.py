"""/v1/conversations: items that are kept together and grow with every response."""

from collections.abc import Mapping
from typing import Any

from headworks.simulator.asked import Asked
from headworks.simulator.endpoints.responses_input import checked, kept
from headworks.simulator.endpoints.stored import Conversation
from headworks.simulator.fields import check_known, check_metadata, needed, objects
from headworks.simulator.paging import page
from headworks.simulator.provider import Provider
from headworks.simulator.reply import Body, Listing

_MOST_ADDED = 20
_MOST_LISTED, _USUALLY_LISTED = 100, 20


def create_conversation(provider: Provider, asked: Asked) -> Body:
    """Begin a conversation."""
    check_known(asked.fields, frozenset({"items", "metadata"}))
    conversation = Conversation(
        f"conv_{asked.serial}", asked.credential, asked.created, _metadata(asked.fields)
    )
    if asked.fields.get("items"):
        conversation.items += _items(asked)
    provider.shelf.add(conversation)
    return Listing(conversation.told())


def one_conversation(provider: Provider, asked: Asked) -> Body:
    """Return a conversation, without its items."""
    return Listing(_conversation(provider, asked).told())


def update_conversation(provider: Provider, asked: Asked) -> Body:
    """Give a conversation other metadata."""
    conversation = _conversation(provider, asked)
    check_known(asked.fields, frozenset({"metadata"}))
    needed(asked.fields, "metadata")
    conversation.metadata = _metadata(asked.fields)
    return Listing(conversation.told())


def delete_conversation(provider: Provider, asked: Asked) -> Body:
    """End a conversation."""
    conversation = _conversation(provider, asked)
    provider.shelf.end(conversation)
    return Listing({"id": conversation.id, "object": "conversation.deleted", "deleted": True})


def list_items(provider: Provider, asked: Asked) -> Body:
    """Return a page of a conversation's items."""
    items = _conversation(provider, asked).items
    return page(items, asked.query, _MOST_LISTED, _USUALLY_LISTED)


def add_items(provider: Provider, asked: Asked) -> Body:
    """Add items, and return them."""
    conversation = _conversation(provider, asked)
    check_known(asked.fields, frozenset({"items"}))
    needed(asked.fields, "items")
    added = _items(asked)
    conversation.items += added
    return page(added, {"order": "asc"}, _MOST_ADDED, _MOST_ADDED)


def one_item(provider: Provider, asked: Asked) -> Body:
    """Return one item."""
    return Listing(_conversation(provider, asked).item(asked.names["item"]))


def delete_item(provider: Provider, asked: Asked) -> Body:
    """Remove one item, and return the conversation."""
    conversation = _conversation(provider, asked)
    conversation.items.remove(conversation.item(asked.names["item"]))
    return Listing(conversation.told())


def _conversation(provider: Provider, asked: Asked) -> Conversation:
    return provider.shelf.conversation(asked.credential, asked.names["conversation"])


def _items(asked: Asked) -> list[dict[str, Any]]:
    given = objects(asked.fields["items"], "items", _MOST_ADDED)
    return kept(checked(given, "items"), asked.serial)


def _metadata(fields: Mapping[str, Any]) -> Mapping[str, str]:
    check_metadata(fields)
    found: Mapping[str, str] = fields.get("metadata") or {}
    return found
