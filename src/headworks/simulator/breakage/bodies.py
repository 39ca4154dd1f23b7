"""Whole answers that are not what they should be: other bodies, and bodies that break or lie.

A whole body is generated before any of it is sent, so a fault that counts tokens strikes in its
middle; one that counts bytes strikes at its byte.
"""

import zlib
from collections.abc import Callable, Iterator

import msgspec

from headworks.simulator.breakage.events import bomb, padded, spoiled
from headworks.simulator.breakage.strike import Broken, Strike
from headworks.simulator.problems import HTML
from headworks.simulator.reply import JSON, Body, Raw

_GZIP = 31  # zlib's number for gzip framing
_HUGE = 1_000_000
_BAD_GATEWAY = 502

Parts = Iterator[bytes]


def as_it_is(content: bytes, _strike: Strike) -> Parts:
    """Yield the body."""
    yield content


def cut(content: bytes, strike: Strike) -> Parts:
    """Yield a part of the body, then break."""
    after = strike.rule.after_bytes
    yield content[: len(content) // 2 if after is None else after]
    raise Broken(strike.ending)


def half(content: bytes, _strike: Strike) -> Parts:
    """Yield half of the body as if it were all."""
    yield content[: len(content) // 2]


def in_slices(content: bytes, strike: Strike) -> Parts:
    """Yield the body in pieces of so many bytes."""
    size = max(1, strike.rule.count)
    for at in range(0, len(content), size):
        yield content[at : at + size]


def with_mark(content: bytes, _strike: Strike) -> Parts:
    """Yield the body after a byte order mark."""
    yield b"\xef\xbb\xbf" + content


def with_huge(content: bytes, strike: Strike) -> Parts:
    """Yield the body with a huge field."""
    yield padded(content, _HUGE if strike.rule.size is None else strike.rule.size)


def with_invalid_text(content: bytes, _strike: Strike) -> Parts:
    """Yield a body that is no UTF-8."""
    yield spoiled(content)


def compressed(content: bytes, _strike: Strike) -> Parts:
    """Yield the body compressed."""
    yield zlib.compress(content, wbits=_GZIP)


def bombed(_content: bytes, strike: Strike) -> Parts:
    """Yield what is small on the wire and huge when it is unpacked."""
    yield bomb(_HUGE if strike.rule.size is None else strike.rule.size)


Swap = Callable[[Body, Strike], Body]


def same(body: Body, _strike: Strike) -> Body:
    """Return the body."""
    return body


def unstreamed(body: Body, _strike: Strike) -> Body:
    """Return what can be sent whole alone."""
    return Raw(body.whole(usage=True), body.content_type, body.usage)


def error(_body: Body, strike: Strike) -> Body:
    """Return an error object; it costs nothing."""
    return Raw(msgspec.json.encode({"error": strike.refusal().error}), JSON)


def page(_body: Body, _strike: Strike) -> Body:
    """Return a proxy's page; it costs nothing."""
    return Raw(HTML.format(_BAD_GATEWAY).encode(), "text/html")


def empty(body: Body, _strike: Strike) -> Body:
    """Return no bytes, for an answer that was made."""
    return Raw(b"", body.content_type, body.usage)


def failed(_content: bytes, strike: Strike) -> Parts:
    """Yield an error object in the place of the answer."""
    yield msgspec.json.encode({"error": strike.refusal().error})
