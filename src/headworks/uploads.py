"""Bodies that are too large to be held: they pass piece by piece, or wait on disk for a moment.

The first `HELD` bytes of a body are read before anything is done about it. Most bodies end there,
and are like any other. What goes on is an upload: it is read as fast as the provider takes it, and
can go out once. Where all of it must be here first (its model stands behind its file, or it is to
be compared with another one) it is kept in a file without a name, and can go out again.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from functools import partial
from threading import Lock
from typing import Any, Final, TypeVar

from headworks.core.multipart import BodyDigest, FormReader
from headworks.errors import BodyTooLarge, UploadIncomplete, UploadNotKept

HELD: Final = 256 * 1024
"""Bytes of a body that are held in memory."""
MOST_KEPT: Final = 2 * 1024**3
"""Bytes of all uploads that may wait on disk at once."""
_PIECE: Final = 256 * 1024

More = Callable[[], Awaitable[bytes]]
"""Returns the next bytes of a body, b"" at its end; raises `UploadIncomplete` where it breaks off."""

_T = TypeVar("_T")
_NO_FIELDS: Final[Mapping[str, Any]] = {}


class Room:
    """The disk space that uploads may take at once.

    Attributes:
        taken: Bytes that they take now.
    """

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self.taken = 0

    def take(self, count: int) -> None:
        """Set bytes aside, or raise `UploadNotKept`."""
        if self.taken + count > self._most:
            raise UploadNotKept(retry_after=1.0)
        self.taken += count

    def give_back(self, count: int) -> None:
        """Let others have them."""
        self.taken -= count


async def begin(more: More, most: int) -> tuple[bytes, bool]:
    """Return the beginning of a body, and whether that is all of it.

    Raises:
        BodyTooLarge: It has more than `most` bytes.
        UploadIncomplete: It breaks off.
    """
    parts: list[bytes] = []
    size = 0
    while size <= HELD:
        part = await more()
        if not part:
            return b"".join(parts), True
        parts.append(part)
        size += len(part)
        if size > most:
            raise too_large(most)
    return b"".join(parts), False


class PassingUpload:
    """One body on its way. Fulfils `types.Upload`; whoever makes it closes it.

    Attributes:
        length: Bytes that it has, None where its sender does not say.
        is_spent: Whether it has begun to go out and cannot do so again.
    """

    def __init__(
        self,
        begun: bytes,
        more: More,
        room: Room,
        *,
        most: int,
        length: int | None = None,
        form: FormReader | None = None,
    ) -> None:
        """Take a body that goes on after its beginning; `form` reads it, where it is one.

        Raises:
            InvalidRequest: It is no proper form.
        """
        self.length = length
        self.is_spent = False
        self._begun, self._more, self._room = begun, more, room
        self._most, self._form = most, form
        self._kept: _File | None = None
        self._digest = BodyDigest(form)
        self._size = len(begun)
        if form is not None:
            form.feed(begun)

    @property
    def passed(self) -> int:
        """How many of its bytes have come so far."""
        return self._size

    @property
    def fields(self) -> Mapping[str, Any]:
        """The short fields of a form that have come so far."""
        return _NO_FIELDS if self._form is None else self._form.fields

    @property
    def model_at(self) -> tuple[int, int] | None:
        """Where the name of the model begins and ends in it."""
        return None if self._form is None else self._form.model_at

    @property
    def has_all_fields(self) -> bool:
        """Whether `fields` cannot grow."""
        return self._form is None or self._form.is_over

    @property
    def is_kept(self) -> bool:
        """Whether all of it is on disk."""
        return self._kept is not None

    @property
    def digest(self) -> bytes:
        """What only an equal body has, of one that is kept."""
        return self._digest.result()

    async def keep(self) -> None:
        """Wait for all of it, and keep it on disk until it is closed. See `types.Upload`."""
        if self._kept is not None:
            return
        file = _File(self._room)
        try:
            async with contextlib.aclosing(self._pass()) as pieces:
                async for piece in pieces:
                    self._digest.update(piece)
                    await file.write(piece)
        except BaseException:
            file.close()
            raise
        self._kept, self.length, self.is_spent = file, self._size, False

    def chunks(self) -> AsyncGenerator[bytes]:
        """Yield its bytes. See `types.Upload`."""
        return self._pass() if self._kept is None else self._kept.read()

    def close(self) -> None:
        """Forget it. Idempotent."""
        if self._kept is not None:
            self._kept.close()

    async def _pass(self) -> AsyncGenerator[bytes]:
        """Yield what comes, looked at, and the last of it only when the whole is as it should be."""
        if self.is_spent:
            raise RuntimeError("An upload passes once")
        self.is_spent = True
        piece, self._begun = self._begun, b""
        while following := await self._more():
            self._look_at(following)
            yield piece
            piece = following
        if self._form is not None:
            self._form.end()
        if self.length is not None and self._size < self.length:
            raise UploadIncomplete
        yield piece

    def _look_at(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._most:
            raise too_large(self._most)
        if self.length is not None and self._size > self.length:
            raise UploadIncomplete("The upload is longer than it said.")
        if self._form is not None:
            self._form.feed(piece)


class _File:
    """A file without a name; what is done with it is done in a thread, one thing at a time."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._taken = 0
        self._lock = Lock()
        try:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise UploadNotKept(retry_after=1.0) from error

    async def write(self, piece: bytes) -> None:
        """Put a piece behind the others, or raise `UploadNotKept`."""
        self._room.take(len(piece))
        self._taken += len(piece)
        await self._in_thread(partial(self._write, piece))

    async def read(self) -> AsyncGenerator[bytes]:
        """Yield all of it; several may read at once."""
        place = 0
        while place < self._taken:
            piece = await self._in_thread(partial(self._read, place))
            if not piece:
                raise UploadNotKept(retry_after=1.0)
            yield piece
            place += len(piece)

    def close(self) -> None:
        """Give the space back. Idempotent; what a thread is at with a piece is waited for."""
        self._room.give_back(self._taken)
        self._taken = 0
        with self._lock:
            self._file.close()

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(None, work)
        except OSError as error:
            raise UploadNotKept(retry_after=1.0) from error

    def _write(self, piece: bytes) -> None:
        left = memoryview(piece)
        with self._lock:
            while left and not self._file.closed:
                left = left[self._file.write(left) :]

    def _read(self, place: int) -> bytes:
        with self._lock:
            if self._file.closed:
                return b""
            self._file.seek(place)
            return self._file.read(_PIECE)


def too_large(most: int) -> BodyTooLarge:
    """Return what is told of a body with more than `most` bytes."""
    return BodyTooLarge(f"The body is larger than the {most:,} bytes that are accepted.")
