"""What one call asks of the limits at a provider, and its place in the line for them."""

import re
from typing import TYPE_CHECKING, Final

from headworks.core.tokens import count_request, guess, output_bound
from headworks.types import Request, Usage

if TYPE_CHECKING:
    from headworks.core.upstream_bucket import Bucket, Place

_COUNTED: Final = frozenset(
    {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/embeddings",
        "/v1/moderations",
    }
)
"""What is charged by its text when it is admitted."""

_ATTACHED: Final = re.compile(rb'"(?:image_url|input_image|input_audio|file_data)"')
_RESPONSE, _RESPONSE_WITH_TOOLS = 20, 220
_MESSAGE = 5


class Demand:
    """One request, and so many tokens as the provider charges when it admits a call.

    A chat is charged by its characters and its bound for the answer, a response by its input and
    something more (limit minus remaining, on idle accounts). What a provider charges otherwise is
    learned by the bucket.

    Attributes:
        kind: The path by which is learned what such requests are charged.
        told: The charge as the provider has told it, None before it has.
        line: Where the call waits, None where it does not.
        place: Its place there.
    """

    __slots__ = ("_estimate", "_request", "_tokens", "kind", "line", "place", "told")

    def __init__(self, request: Request, estimate: Usage) -> None:
        self._request, self._estimate = request, estimate
        self._tokens: float | None = None
        self.kind = request.path
        self.told: float | None = None
        self.line: Bucket | None = None
        self.place: Place | None = None

    @property
    def tokens(self) -> float:
        """The tokens that are charged, before anything is learned; counted when first asked for."""
        if self._tokens is None:
            self._tokens = float(self._count()) if self.kind in _COUNTED else 0.0
        return self._tokens

    def leave(self) -> None:
        """Give up the place in a line, if there is one. Idempotent."""
        if self.line is not None:
            self.line.leave(self)

    def _count(self) -> int:
        request, fields = self._request, self._request.fields
        counted = self._estimate.input
        if _ATTACHED.search(request.content):
            counted = count_request(fields, guess)  # what is attached is not charged as text
        if self.kind == "/v1/responses":
            return counted + (_RESPONSE_WITH_TOOLS if fields.get("tools") else _RESPONSE)
        if self.kind == "/v1/chat/completions":
            return counted + _MESSAGE + (output_bound(fields) or 0)
        return counted
