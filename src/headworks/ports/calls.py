"""What the engine asks before a call goes out, and tells when it is over."""

from typing import Protocol

from headworks.errors import CallError
from headworks.types import Call, Caller, Request, Response, Secret, Usage


class Keys(Protocol):
    """Finds the caller behind a key."""

    def authenticate(self, key: Secret | None) -> Caller:
        """Return the key's caller, or raise `Unauthenticated`. Never waits."""
        ...


class Listing(Protocol):
    """Answers questions about the gateway itself: which models there are."""

    def answer(self, request: Request, caller: Caller) -> Response | None:
        """Return the answer, None when the question is one for an upstream."""
        ...


class Prompts(Protocol):
    """Fills in prompts that are named instead of spelled out."""

    async def resolve(self, request: Request, caller: Caller) -> Request:
        """Return the request with its prompt in place."""
        ...


class Guard(Protocol):
    """Looks at a request before it costs anything."""

    async def inspect(self, request: Request, caller: Caller) -> None:
        """Return, or raise `CallerError`."""
        ...


class Context(Protocol):
    """Makes a request fit the model's window."""

    async def fit(self, request: Request, call: Call) -> Request:
        """Return a request that fits, or raise `ContextTooLong`; `call.fitted` says what was done."""
        ...

    async def refit(self, call: Call, error: CallError) -> Request | None:
        """Return a smaller request after a provider refused the call's as too long, if there is one."""
        ...


class Cache(Protocol):
    """Answers seen before."""

    async def get(self, request: Request, caller: Caller) -> Response | None:
        """Return the answer to an equal request, if it is still fresh."""
        ...

    def put(self, request: Request, caller: Caller, answer: Response) -> None:
        """Keep a whole answer. Never waits: writes happen in the background."""
        ...


class Idempotency(Protocol):
    """Lets a call that carries an idempotency key be made once."""

    async def claim(self, call: Call) -> Response | None:
        """Return the answer to an equal request with that key; None lets the call go on.

        The key is taken out of `call.request`: it is not the provider's.
        Waits while such a call is under way. Raises `IdempotencyKeyReused` when the key was that of
        another request, `IdempotencyKeyInUse`, `IdempotentAnswerNotKept`, `IdempotencyUnavailable`.
        """
        ...

    async def record(self, call: Call, response: Response) -> Response:
        """Return the response as its caller is to read it; it is kept before its last byte."""
        ...

    def release(self, call: Call) -> None:
        """Let those go on who wait for the call, however it ended. Never waits; idempotent."""
        ...


class Reservation(Protocol):
    """What was set aside for one call."""

    def settle(self, usage: Usage) -> None:
        """Replace the estimate by what was used, once. Never waits."""
        ...


class Limits(Protocol):
    """Rates and parallel calls, of everybody that a call is made for."""

    async def reserve(self, call: Call, estimate: Usage) -> Reservation:
        """Set aside what the call's request may use, all or nothing, or raise `LimitError`.

        `call.rates` tells how the limits stand, either way.
        """
        ...


class OutputFilter(Protocol):
    """Looks at an answer before the caller sees it."""

    def filter(self, chunk: bytes) -> bytes:
        """Return what may pass of a body or of one event, or raise `CallerError`."""
        ...


class Journal(Protocol):
    """Remembers every call: log, metrics and traces hang off it."""

    def record(self, call: Call) -> None:
        """Note a finished call. Never waits, never raises."""
        ...
