"""What every kind of answer can do, so that faults and accounts need not know the endpoint."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, final

import msgspec
from typing_extensions import override

from headworks.simulator.problems import Refusal
from headworks.types import NO_USAGE, Usage

JSON = "application/json"


class Step(NamedTuple):
    """One event of a stream.

    Attributes:
        kind: `open` begins it, `token` carries output, `close` says how the answer ended,
            `usage` the tokens, `done` is the last thing that the endpoint sends.
        tokens: Output tokens that are paid for once it is sent.
    """

    kind: Literal["open", "token", "close", "usage", "done"]
    data: bytes
    tokens: int = 0


class Body(ABC):
    """An answer, ready to be sent whole.

    Attributes:
        usage: What it costs.
        content_type: Of the whole answer.
        model: Which model made it where the request named none.
        in_background: Whether it is made, and paid for, even if nobody waits for it.
    """

    in_background: bool = False
    usage: Usage = NO_USAGE
    content_type: str = JSON
    model: str = ""

    @abstractmethod
    def whole(self, *, usage: bool) -> bytes:
        """Return the body, with or without its usage."""


class Reply(Body):
    """An answer that can be sent in steps as well."""

    def is_streamed(self, fields: Mapping[str, Any]) -> bool:
        """Return whether the request with these fields wants the steps."""
        return fields.get("stream") is True

    @abstractmethod
    def steps(self, *, usage: bool) -> Iterator[Step]:
        """Yield the stream, with or without its usage."""

    @abstractmethod
    def error(self, refusal: Refusal, sent: int) -> bytes:
        """Return the event that says that the stream broke, after `sent` events."""


@final
class Listing(Body):
    """An answer that uses no tokens."""

    def __init__(self, body: object) -> None:
        self._body = body

    @override
    def whole(self, *, usage: bool) -> bytes:
        """Return the JSON body."""
        return msgspec.json.encode(self._body)


@final
class Raw(Body):
    """Bytes of any type, such as a file's."""

    def __init__(self, content: bytes, content_type: str, usage: Usage = NO_USAGE) -> None:
        self._content, self.content_type, self.usage = content, content_type, usage

    @override
    def whole(self, *, usage: bool) -> bytes:
        """Return the bytes."""
        return self._content
