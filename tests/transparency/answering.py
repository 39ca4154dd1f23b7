"""Answers to an operation: everything that it may say, in one piece or as an error."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle

from tests.transparency.asking import JSON
from tests.transparency.description import Operation, schema
from tests.transparency.messages import Fields, Message, write
from tests.transparency.spelling import Speller
from tests.transparency.values import Values

EVENTS = "text/event-stream"
ERRORS = (400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 503)
_BYTES = bytes(range(256)) * 3 + b"\r\n\r\ndata: [DONE]\n\n"
_LIMITS = [
    (f"X-RateLimit-{kind}-{of}", value)
    for kind, value in (("Limit", "90000000"), ("Remaining", "89999999"), ("Reset", "1ms"))
    for of in ("Requests", "Tokens")
]
HEAD: Fields = (
    ("X-Request-Id", "req_0123456789abcdef0123456789abcdef"),
    ("OpenAI-Processing-Ms", "12"),
    ("openai-version", "2020-10-01"),
    ("openai-poll-after-ms", "500"),
    ("openai-something-new", "yes"),
    ("openai-organization", "org-theirs"),
    ("openai-project", "proj_theirs"),
    *_LIMITS,
    ("Set-Cookie", "__cf_bm=a; path=/"),
    ("Set-Cookie", "_cfuvid=b; path=/"),
    ("Server", "cloudflare"),
    ("CF-RAY", "9-FRA"),
    ("alt-svc", 'h3=":443"; ma=86400'),
    ("strict-transport-security", "max-age=1"),
    ("Via", "1.1 somebody"),
    ("Date", "Mon, 01 Jan 2024 00:00:00 GMT"),
    ("Keep-Alive", "timeout=5"),
    ("Connection", "keep-alive"),
    ("x-should-retry", "perhaps"),
    ("access-control-allow-origin", "*"),
    ("x-content-type-options", "nosniff"),
)
"""What stands in the head of an answer, besides what tells of its content."""


@dataclass(frozen=True)
class Answered:
    """An answer of the provider; `media` is "" where it has no body."""

    status: int
    media: str
    body: bytes
    fields: Fields = ()

    @property
    def message(self) -> Message:
        """What a caller would get from the provider itself, without the framing."""
        told = (("content-type", self.media),) if self.media else ()
        fields = tuple((name.lower(), value) for name, value in (*told, *self.fields))
        return Message(f"HTTP/1.1 {self.status} Told", fields, self.body)

    def written(self, chunks: int = 0) -> bytes:
        """Return its bytes on the wire."""
        told = (("Content-Type", self.media),) if self.media else ()
        return write(
            f"HTTP/1.1 {self.status} Told", (*told, *self.fields), self.body, chunks=chunks
        )


def wholes(operation: Operation) -> Iterator[Answered]:
    """Yield everything that an operation answers in one piece."""
    status, bodies = operation.success
    speller = Speller(plain=True)
    if not bodies:
        yield Answered(status, "", b"")
    for media, told in bodies.items():
        if media == JSON:
            for number, value in enumerate(Values(told).all()):
                content = speller.spell(value, spaced=number % 3 == 1)
                yield Answered(status, media, content)
        elif media != EVENTS:
            yield Answered(status, media, _BYTES)


def failures(operation: Operation) -> Iterator[Answered]:
    """Yield an error of each status, with every field that errors have and one that they have not."""
    errors = cycle(list(Values(schema("ErrorResponse")).all()))
    speller = Speller()
    for number, status in enumerate(ERRORS):
        content = speller.spell(next(errors), spaced=number % 2 == 1)
        yield Answered(status, JSON, content)
