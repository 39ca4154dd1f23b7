"""One call on its way through the queue."""

import asyncio
from collections.abc import Hashable
from typing import Final

from headworks.errors import CallError, LimitError
from headworks.types import Call, Caller, Usage

NOBODY: Final = Caller("", "")
_MARK: Final = 512
"""Bytes at either end of a body by which a caller is known again."""


class Wish:
    """A call on its way in. `denial` is what the limits have said to it last.

    Attributes:
        asked: When it came, or was last told something.
        deadline: When its time is up: its caller's, or that of any call.
        told: When its turn is and when it was to come, if it was here before.
        scopes: Where it stands among others: its key, and whatever has limits that it has to pass.
        tokens: What it counts for: how many it may use, as far as is known.
        turn: Done when it may try, or with what ends its wait.
    """

    __slots__ = (
        "asked",
        "call",
        "caller",
        "deadline",
        "denial",
        "estimate",
        "lane",
        "rank",
        "scopes",
        "tokens",
        "told",
        "turn",
        "who",
    )  # fmt: skip

    turn: "asyncio.Future[CallError | None]"

    def __init__(
        self, call: Call, estimate: Usage, rank: int, lane: Hashable, *, now: float, total: float
    ) -> None:
        """Take a call that may last so many seconds in `total`, if its caller stays that long."""
        self.call, self.estimate, self.rank, self.lane, self.asked = call, estimate, rank, lane, now
        self.caller = call.caller or NOBODY
        timeout = call.request.timeout
        self.deadline = call.started + (total if timeout is None else min(total, timeout))
        self.who = who_of(call)
        self.scopes: tuple[Hashable, ...] = (self.key,)
        self.tokens = estimate.input + estimate.output
        self.denial: LimitError | None = None
        self.told: tuple[float, float] | None = None

    @property
    def key(self) -> str:
        """The id of the key."""
        return self.caller.key_id

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return len(self.call.request.content)

    def wake(self, error: CallError | None) -> bool:
        """Let the call try, or tell it why not; return whether it is still there."""
        if self.turn.done():
            return False  # its caller has left a moment ago
        self.turn.set_result(error)
        return True


def key_of(call: Call) -> str:
    """Return the id of the key that the call was made with."""
    return "" if call.caller is None else call.caller.key_id


def token_of(call: Call) -> str:
    """Return the id of the client token that the call was made with, "" for none."""
    token = None if call.caller is None else call.caller.token
    return "" if token is None else token.id


def who_of(call: Call) -> tuple[str, int]:
    """Return what the call is known by when it comes again: its caller, and what it asks for."""
    path, content = call.request.path, call.request.content
    return token_of(call) or key_of(call), hash(
        (path, call.request.size, content[:_MARK], content[-_MARK:])
    )
