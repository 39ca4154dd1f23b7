"""/v1/chat/completions/{id}: chats that were made with `store`, told again, changed or deleted."""

from collections.abc import Mapping

from headworks.simulator.asked import Asked
from headworks.simulator.endpoints.chat_store import Chat, changed
from headworks.simulator.paging import page
from headworks.simulator.provider import Provider
from headworks.simulator.reply import Body, Listing

_MOST_LISTED, _USUALLY_LISTED = 100, 20


def list_chats(provider: Provider, asked: Asked) -> Body:
    """Return a page of all stored chats, of one model or with some metadata if the query says so."""
    listed = [chat.content for chat in provider.chats.all(asked.credential) if _fits(chat, asked)]
    return page(listed, _oldest_first(asked.query), _MOST_LISTED, _USUALLY_LISTED)


def one_chat(provider: Provider, asked: Asked) -> Body:
    """Return a stored chat."""
    return Listing(_chat(provider, asked).content)


def list_messages(provider: Provider, asked: Asked) -> Body:
    """Return a page of the messages that a stored chat answers."""
    messages = _chat(provider, asked).messages
    return page(messages, _oldest_first(asked.query), _MOST_LISTED, _USUALLY_LISTED)


def update_chat(provider: Provider, asked: Asked) -> Body:
    """Give a stored chat other metadata."""
    chat = changed(_chat(provider, asked), asked.fields)
    provider.chats.put(chat)
    return Listing(chat.content)


def delete_chat(provider: Provider, asked: Asked) -> Body:
    """Forget a stored chat."""
    chat = _chat(provider, asked)
    provider.chats.forget(chat)
    return Listing({"object": "chat.completion.deleted", "id": chat.id, "deleted": True})


def _chat(provider: Provider, asked: Asked) -> Chat:
    return provider.chats.one(asked.credential, asked.names["chat"])


def _fits(chat: Chat, asked: Asked) -> bool:
    metadata, query = chat.content["metadata"], asked.query
    wanted = {name[9:-1]: query[name] for name in query if name.startswith("metadata[")}
    is_model = query.get("model") in {None, chat.content["model"]}
    return is_model and all(metadata.get(key) == value for key, value in wanted.items())


def _oldest_first(query: Mapping[str, str]) -> Mapping[str, str]:
    return {"order": "asc", **query}
