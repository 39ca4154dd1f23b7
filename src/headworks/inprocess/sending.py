"""The bodies of requests that are not JSON: their beginning at once, the rest while the call goes on."""

import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import NamedTuple

from headworks.core.intake import new_form
from headworks.uploads import HELD, More, PassingUpload, Room

_ROOM = Room()


class Begun(NamedTuple):
    """A body that goes on after its beginning."""

    content: bytes
    more: More


def upload(path: str, told: Mapping[bytes, bytes], body: Begun) -> PassingUpload:
    """Return what carries a body on; `path` is as sent, `told` are the request's header fields.

    Raises:
        CallerError: The path is none of ours, or the body a form that cannot be read.
    """
    length = told.get(b"content-length", b"")
    return PassingUpload(
        body.content,
        body.more,
        _ROOM,
        most=sys.maxsize,
        length=int(length) if length.isdigit() else None,
        form=new_form(path, told),
    )


def begun(pieces: list[bytes], more: More) -> bytes | Begun:
    """Return a body of which these pieces came first: whole, if their last one is b""."""
    content = b"".join(pieces)
    return Begun(content, more) if pieces[-1] else content


def first(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield pieces as long as they may be held, and b"" if these were all.

    A first one of any size is in memory anyway: so are bodies that are given as bytes.
    """
    size = 0
    for number, piece in enumerate(pieces):
        yield piece
        size += len(piece) if number else 0
        if size > HELD:
            return
    yield b""


async def afirst(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Do as `first` does."""
    size, is_first = 0, True
    async for piece in pieces:
        yield piece
        size += 0 if is_first else len(piece)
        is_first = False
        if size > HELD:
            return
    yield b""


async def nothing() -> AsyncIterator[bytes]:
    """Yield nothing: all of the body is there."""
    for piece in tuple[bytes, ...]():
        yield piece
