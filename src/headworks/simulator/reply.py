"""What every kind of answer can do, so that faults and accounts need not know the endpoint."""

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

from headworks.simulator.problems import Refusal
from headworks.types import Usage


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


class Reply(Protocol):
    """An answer, ready to be sent whole or in steps."""

    usage: Usage

    def whole(self, *, usage: bool) -> bytes:
        """Return the JSON body, with or without its usage."""
        ...

    def steps(self, *, usage: bool) -> Iterator[Step]:
        """Yield the stream, with or without its usage."""
        ...

    def error(self, refusal: Refusal, sent: int) -> bytes:
        """Return the event that says that the stream broke, after `sent` events."""
        ...


MALFORMED = b'data: {"id":"chatcmpl-broken","choices":[{"index":0,"delta":{"content":"\n\n'
"""An event that is no JSON, whichever endpoint sends it."""
