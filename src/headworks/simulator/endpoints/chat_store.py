"""Chats that were made with `store`: read, listed, changed and deleted by their owner."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from headworks.simulator.asked import Asked
from headworks.simulator.fields import check_metadata, is_list
from headworks.simulator.problems import Refusal

_MOST_CHATS = 4_096


@dataclass(frozen=True, slots=True)
class Chat:
    """A `chat.completion` as it is kept, and the messages that it answers."""

    owner: str
    content: Mapping[str, Any]
    messages: Sequence[Mapping[str, Any]]

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.content["id"])


@final
class Chats:
    """All that one simulator keeps, the oldest forgotten first."""

    def __init__(self) -> None:
        self._chats: OrderedDict[str, Chat] = OrderedDict()

    def keep(self, asked: Asked, content: Mapping[str, Any]) -> None:
        """Keep an answer, with what the request said about it."""
        fields = asked.fields
        told: dict[str, Any] = {
            **content,
            "metadata": fields.get("metadata") or {},
            "input_user": fields.get("user"),
            **{name: fields.get(name) for name in ("tools", "tool_choice", "response_format")},
            **{name: fields.get(name) for name in ("seed", "temperature", "top_p")},
            "presence_penalty": fields.get("presence_penalty") or 0.0,
            "frequency_penalty": fields.get("frequency_penalty") or 0.0,
        }
        self.put(Chat(asked.credential, told, tuple(_numbered(content["id"], fields["messages"]))))
        while len(self._chats) > _MOST_CHATS:
            self._chats.popitem(last=False)

    def put(self, chat: Chat) -> None:
        """Keep a chat in the place of the one with its id."""
        self._chats[chat.id] = chat

    def one(self, owner: str, name: str) -> Chat:
        """Return a chat, or raise the refusal of one that is not there."""
        found = self._chats.get(name)
        if found is None or found.owner != owner:
            message = f"Chat completion with ID {name} not found."
            raise Refusal(404, message, code="not_found")
        return found

    def all(self, owner: str) -> list[Chat]:
        """Return all chats of an owner, oldest first."""
        return [chat for chat in self._chats.values() if chat.owner == owner]

    def forget(self, chat: Chat) -> None:
        """Delete a chat."""
        del self._chats[chat.id]

    def reset(self) -> None:
        """Forget all chats."""
        self._chats.clear()


def _numbered(name: str, messages: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield messages as they are listed: each with an id, its parts apart from its text."""
    for place, message in enumerate(messages):
        content = message.get("content")
        parts = content if is_list(content) else None
        text = None if is_list(content) else content
        yield {"id": f"{name}-{place}", **message, "content": text, "content_parts": parts}


def changed(chat: Chat, fields: Mapping[str, Any]) -> Chat:
    """Return the chat with the metadata of a request."""
    check_metadata(fields)
    content: dict[str, Any] = {**chat.content, "metadata": fields.get("metadata") or {}}
    return replace(chat, content=content)
