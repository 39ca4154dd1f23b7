"""What one call asks of the limits at a provider, and its place in the line for them."""

import re
from typing import TYPE_CHECKING, Final

import msgspec

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

_ATTACHED: Final = re.compile(rb'_(?:(?<="image_)url|(?<="input_)(?:image|audio)|(?<="file_)data)"')
"""The names by which a request attaches something: a text has few underscores, and many quotes."""
_RESPONSE, _RESPONSE_WITH_TOOLS = 20, 220
_MESSAGE = 5


class Demand(msgspec.Struct, eq=False):
    """One request, and so many tokens as the provider charges when it admits a call.

    A chat is charged by its characters and its bound for the answer, a response by its input and
    something more (limit minus remaining, on idle accounts). What a provider charges otherwise is
    learned by the bucket.

    Attributes:
        request: Its path is that by which is learned what such requests are charged.
        counted: The tokens that are charged, before anything is learned; None before they are asked
            for.
        told: The charge as the provider has told it, None before it has.
        line: Where the call waits, None where it does not.
        place: Its place there.
    """

    request: Request
    _estimate: Usage
    told: float | None = None
    line: "Bucket | None" = None
    place: "Place | None" = None
    counted: float | None = None

    @property
    def tokens(self) -> float:
        """The tokens that are charged, before anything is learned; counted when first asked for."""
        if self.counted is None:
            self.counted = self._count() if self.request.path in _COUNTED else 0.0
        return self.counted

    def leave(self) -> None:
        """Give up the place in a line, if there is one. Idempotent."""
        if self.line is not None:
            self.line.leave(self)

    def _count(self) -> float:
        request, fields = self.request, self.request.fields
        counted = float(self._estimate.input)
        first = request.content.find(b"_")  # many times faster than the pattern's own search
        if first >= 0 and _ATTACHED.search(request.content, first):
            counted = count_request(fields, guess)  # what is attached is not charged as text
        if request.path == "/v1/chat/completions":
            return counted + _MESSAGE + (output_bound(fields) or 0)
        if request.path == "/v1/responses":
            return counted + (_RESPONSE_WITH_TOOLS if fields.get("tools") else _RESPONSE)
        return counted
