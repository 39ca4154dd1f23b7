"""What stands in a capability's place while it is switched off: it does nothing, rightly."""

from headworks.types import Caller, Request, Response


class NoPrompts:
    """Prompts are spelled out, or the provider's own."""

    async def resolve(self, request: Request, caller: Caller) -> Request:  # noqa: ARG002 - the port's signature
        """Return the request as it is."""
        return request


class NoContext:
    """Requests go out at the length they came."""

    async def fit(self, request: Request) -> Request:
        """Return the request as it is."""
        return request


class NoCache:
    """No answer is kept."""

    async def get(self, request: Request, caller: Caller) -> Response | None:  # noqa: ARG002 - the port's signature
        """Return None: nothing was kept."""
        return None

    def put(self, request: Request, caller: Caller, answer: Response) -> None:
        """Forget the answer."""


class NoFilter:
    """Answers pass as they are."""

    def filter(self, chunk: bytes) -> bytes:
        """Return the chunk as it is."""
        return chunk
