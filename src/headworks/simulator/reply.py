"""What every kind of answer can do, so that faults and accounts need not know the endpoint."""

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol, final

import msgspec

from headworks.simulator.problems import Refusal
from headworks.types import NO_USAGE, Usage


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


class Body(Protocol):
    """An answer, ready to be sent whole."""

    usage: Usage

    def whole(self, *, usage: bool) -> bytes:
        """Return the JSON body, with or without its usage."""
        ...


class Reply(Body, Protocol):
    """An answer that can be sent in steps as well."""

    def steps(self, *, usage: bool) -> Iterator[Step]:
        """Yield the stream, with or without its usage."""
        ...

    def error(self, refusal: Refusal, sent: int) -> bytes:
        """Return the event that says that the stream broke, after `sent` events."""
        ...


@final
class Listing:
    """An answer that uses no tokens."""

    def __init__(self, body: object) -> None:
        self._body, self.usage = body, NO_USAGE

    def whole(self, *, usage: bool) -> bytes:  # noqa: ARG002 - it has none either way
        """Return the JSON body."""
        return msgspec.json.encode(self._body)


MALFORMED = b'data: {"id":"chatcmpl-broken","choices":[{"index":0,"delta":{"content":"\n\n'
"""An event that is no JSON, whichever endpoint sends it."""
