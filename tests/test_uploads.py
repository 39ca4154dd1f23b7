"""Bodies that pass piece by piece, and those that wait on disk for a moment."""

from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.multipart import FormReader
from headworks.errors import (
    BodyTooLarge,
    CallError,
    InvalidRequest,
    UploadIncomplete,
    UploadNotKept,
)
from headworks.uploads import HELD, PassingUpload, Room, begin

pytestmark = pytest.mark.anyio


class Source:
    """A body that comes in pieces, and breaks off if it is to."""

    def __init__(self, *pieces: bytes, breaks: bool = False) -> None:
        self.left, self.breaks = list(pieces), breaks

    async def __call__(self) -> bytes:
        if self.left:
            return self.left.pop(0)
        if self.breaks:
            raise UploadIncomplete
        return b""


async def all_of(pieces: AsyncGenerator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


def upload(*pieces: bytes, room: Room | None = None, most: int = 10**9, **more: object):
    begun, *rest = pieces
    breaks = bool(more.pop("breaks", False))
    source = Source(*rest, breaks=breaks)
    return PassingUpload(begun, source, room or Room(), most=most, **more)  # type: ignore[arg-type]  # what PassingUpload takes


async def test_a_short_body_is_held():
    """Most bodies are short, and are like any other."""
    assert await begin(Source(b"ab", b"c"), 10) == (b"abc", True)
    assert await begin(Source(), 10) == (b"", True)


async def test_a_long_body_is_held_in_part():
    """What goes on is not waited for."""
    source = Source(b"x" * HELD, b"y", b"z")
    assert await begin(source, HELD * 9) == (b"x" * HELD + b"y", False)
    assert source.left == [b"z"]


async def test_too_large_a_beginning():
    """A body over its bound is refused as soon as that is known."""
    with pytest.raises(BodyTooLarge):
        await begin(Source(b"abc", b"d"), 3)


async def test_it_passes_once():
    """What has passed is gone, and says so."""
    passing = upload(b"a", b"b", length=2)
    assert not passing.is_spent
    assert await all_of(passing.chunks()) == b"ab"
    assert passing.is_spent
    with pytest.raises(RuntimeError):
        await all_of(passing.chunks())


@given(st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=9))
async def test_what_is_kept_can_go_out_again(pieces: list[bytes]):
    """A body on disk is the same body as often as it is asked for, and has a digest."""
    room = Room()
    kept = upload(*pieces, room=room)
    await kept.keep()
    await kept.keep()
    assert [await all_of(kept.chunks()) for _ in range(2)] == [b"".join(pieces)] * 2
    assert (kept.length, kept.is_kept, kept.is_spent) == (len(b"".join(pieces)), True, False)
    other = upload(b"".join(pieces), room=room)
    await other.keep()
    assert other.digest == kept.digest
    kept.close()
    kept.close()
    other.close()
    assert room.taken == 0


@pytest.mark.parametrize("is_kept", [True, False])
@pytest.mark.parametrize(
    ("passing", "error"),
    [
        (lambda: upload(b"a", b"b", breaks=True), UploadIncomplete),
        (lambda: upload(b"a", b"b", length=3), UploadIncomplete),
        (lambda: upload(b"a", b"b", length=1), UploadIncomplete),
        (lambda: upload(b"a", b"b", most=1), BodyTooLarge),
        (lambda: upload(b"--x\r\n", b"a", form=FormReader(b"x")), InvalidRequest),
        (lambda: upload(b"--x", b"ab", form=FormReader(b"x")), InvalidRequest),
    ],
)
async def test_what_is_wrong_is_known_before_its_last_byte_leaves(passing, error, *, is_kept: bool):
    """A provider never has all of a body that is broken, so that it cannot act on it."""
    it, came = passing(), list[bytes]()

    async def pass_on() -> None:
        async for piece in it.chunks():
            came.append(piece)

    with pytest.raises(error):
        await (it.keep() if is_kept else pass_on())
    assert len(came) < 2
    assert not it.is_kept


async def test_the_disk_has_an_end():
    """Uploads that wait take bounded space together, and give it back."""
    room = Room(3)
    first, second = upload(b"a", b"b", room=room), upload(b"c", b"d", room=room)
    await first.keep()
    with pytest.raises(UploadNotKept) as told:
        await second.keep()
    assert isinstance(told.value, CallError)
    assert (told.value.retry_after, told.value.should_retry) == (1.0, True)
    assert room.taken == 2
    first.close()
    assert room.taken == 0


async def test_a_disk_that_fails_is_told(monkeypatch):
    """Without a place for files nothing is kept, and the caller may come again."""

    def broken(**_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("headworks.uploads.tempfile.TemporaryFile", broken)
    with pytest.raises(UploadNotKept):
        await upload(b"a", b"b").keep()
