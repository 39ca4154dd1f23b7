"""What every error is."""

from collections.abc import Sequence
from enum import Enum, auto
from typing import Literal

Failure = Literal[
    "connection", "timeout", "broken", "rate_limit", "overloaded", "server_error", "conflict",
    "quota", "credential", "model", "too_large", "context_length", "content_filter", "request",
]  # fmt: skip
"""What kind of failure an attempt met; `core.classify` tells what a provider's own error is."""


class Retry(Enum):
    """What a failed attempt allows next; `ONCE` is the same route, but for one more attempt."""

    NEVER = auto()
    ONCE = auto()
    SAME_ROUTE = auto()
    OTHER_ROUTE = auto()


class CallError(Exception):
    """Base of all errors that end a call; each knows how it looks on the wire.

    Attributes:
        retry_after: Seconds after which trying again may help, None when unknown.
        param: The request field at fault, where there is one.
        headers: Header fields for the caller: about its call, and whether to try again.
        should_retry: Whether the caller itself may repeat the request, unchanged.
    """

    status: int = 500
    type: str = "server_error"
    code: str = ""
    retry: Retry = Retry.NEVER
    should_retry: bool = False

    def __init__(
        self, message: str = "", *, retry_after: float | None = None, param: str | None = None
    ) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())
        self.retry_after = retry_after
        self.param = param
        self.headers: tuple[tuple[bytes, bytes], ...] = ()

    def body(self) -> dict[str, dict[str, str | None]]:
        """Return the error object that OpenAI's clients know."""
        told = {"message": str(self), "type": self.type, "param": self.param}
        return {"error": {**told, "code": self.code or None}}


class ConfigurationError(Exception):
    """The operator must change something: `problems`, each as `file:line: key: what is wrong`."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
