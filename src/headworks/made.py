"""An answer of our own in the place of a provider's: read like any other, booked by nobody."""

from collections.abc import AsyncIterator

from headworks.answer import Answer
from headworks.ports import Estimator, Ledger
from headworks.types import Call, Certainty, Headers, Usage


class _Made:
    """An answer of our own; satisfies `UpstreamResponse`."""

    status = 200
    headers = ((b"content-type", b"application/json"),)

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self, most: int) -> bytes:
        """Return the body."""
        return self._content[:most]

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body."""
        yield self._content

    def expect(self, *, content: bool) -> None:
        """Do nothing: it is all there."""

    def unread(self) -> bytes:
        """Return nothing: all of it is read at once."""
        return b""

    def nudge(self) -> None:
        """Do nothing: nobody waits."""

    def masked(self, content: bytes) -> bytes:
        """Return it as it is: nobody was shown anything."""
        return content

    def hurry(self, seconds: float) -> None:
        """Do nothing: it is all there."""

    async def drain(self, seconds: float) -> None:
        """Do nothing: it is all there."""

    async def aclose(self) -> None:
        """Do nothing: nothing is open."""


class _NoAdmission:
    """The leave for an answer that is no attempt."""

    def heard(self, headers: Headers) -> None:
        """Do nothing: nobody was asked."""

    def answered(self) -> None:
        """Do nothing: nobody was asked."""

    def settle(self, error: BaseException | None = None) -> None:
        """Do nothing: nothing is to be learned."""


class _NoHold:
    """The row of an answer that is no attempt."""

    is_open = False
    measures: frozenset[str] = frozenset()

    def settle(
        self, usage: Usage, certainty: Certainty, outcome: str, odd: tuple[str, ...] = ()
    ) -> None:
        """Do nothing: it costs nothing."""

    def release(self, outcome: str) -> None:
        """Do nothing: nothing is held."""


def made_answer(content: bytes, call: Call, ledger: Ledger, estimator: Estimator) -> Answer:
    """Return an answer of our own, JSON, in the place of a provider's. It costs nothing."""
    return Answer(_Made(content), call, _NoHold(), ledger, estimator, _NoAdmission(), None)
