"""What a session needs: somebody at either end who sends and takes messages."""

from typing import NamedTuple, Protocol

from headworks.ports.calls import Reservation
from headworks.types import Call, Usage


class Close(NamedTuple):
    """The end of a connection, as RFC 6455 tells it: 1005 is no code at all, 1006 no farewell."""

    code: int
    reason: str = ""


class Peer(Protocol):
    """One end of a WebSocket connection. It answers pings by itself."""

    async def receive(self) -> str | bytes | Close:
        """Return the next message, text or binary, or how the connection has ended.

        One task receives at a time; while none does, little more is read from the network.
        """
        ...

    async def send(self, message: str | bytes) -> None:
        """Send a message; wait where the other side takes none. What is sent after an end is lost."""
        ...

    async def close(self, how: Close) -> None:
        """Say farewell, wait a moment for the other side's, and close. Idempotent."""
        ...


class InnerLimits(Protocol):
    """Limits on what is asked for inside a call that counts already."""

    async def reserve_within(self, call: Call, estimate: Usage) -> Reservation:
        """Set aside what a part of a call may use, or raise `LimitError`.

        It takes no place among the parallel calls: the call that it is a part of has one.
        """
        ...
