"""Small valid image files: two colours in a pattern that a text decides, in every size."""

import hashlib
import struct
import zlib
from functools import lru_cache
from typing import Literal

Format = Literal["png", "jpeg", "webp"]

_CELLS = 16
"""Squares of the pattern on each side."""


@lru_cache(maxsize=256)
def picture(seed: str, width: int, height: int, form: Format, *, is_clear: bool = False) -> bytes:
    """Return an image of this size; a clear one has one colour that is transparent (PNG alone).

    A JPEG and a WebP have one colour all over: smallest files that every reader takes.
    """
    digest = hashlib.shake_128(seed.encode(errors="replace")).digest(_CELLS * _CELLS // 8 + 6)
    if form == "png":
        return _png(digest, width, height, is_clear=is_clear)
    return _jpeg(digest[0], width, height) if form == "jpeg" else _webp(digest, width, height)


def size_of(content: bytes) -> tuple[int, int] | None:
    """Return width and height of a PNG, None for anything else."""
    if content[:8] != b"\x89PNG\r\n\x1a\n" or content[12:16] != b"IHDR" or len(content) < 24:  # noqa: PLR2004 - signature and first chunk
        return None
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def _png(digest: bytes, width: int, height: int, *, is_clear: bool) -> bytes:
    """Return a PNG of one bit a pixel with a palette (W3C PNG, sections 5 and 11)."""
    head = struct.pack(">IIBBBBB", width, height, 1, 3, 0, 0, 0)
    bits = int.from_bytes(digest[6:])
    rows = list[bytes]()
    for cell in range(_CELLS):
        shown = [bits >> (cell * _CELLS + place) & 1 for place in range(_CELLS)]
        line = "".join(str(shown[x * _CELLS // width]) for x in range(width))
        packed = int(line.ljust(-(-width // 8) * 8, "0"), 2).to_bytes(-(-width // 8))
        rows.append(b"\0" + packed)
    lines = b"".join(rows[y * _CELLS // height] for y in range(height))
    clear = _chunk(b"tRNS", b"\0\xff") if is_clear else b""
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", head),
            _chunk(b"PLTE", digest[:6]),
            clear,
            _chunk(b"IDAT", zlib.compress(lines)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def _jpeg(shade: int, width: int, height: int) -> bytes:
    """Return a grey JPEG (ITU T.81): the first block says the shade, all others "as before".

    Of its two code tables one knows the differences of size 0 (bit 0) and 7 (bits 10), the other
    the end of a block (bit 0), so that a block like the one before is two bits.
    """
    difference = (
        64 + shade // 4
    )  # seven bits, positive: times the quantiser and / 8 it is the shade
    blocks = -(-width // 8) * -(-height // 8)
    bits = "10" + f"{difference:07b}" + "0" + "00" * (blocks - 1)
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8).replace(b"\xff", b"\xff\0")
    return b"".join(
        (
            b"\xff\xd8",
            _segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"),
            _segment(0xDB, b"\0" + b"\x08" * 64),
            _segment(0xC0, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0"),
            _segment(0xC4, b"\0" + bytes([1, 1, *[0] * 14]) + b"\0\7"),
            _segment(0xC4, b"\x10" + bytes([1, *[0] * 15]) + b"\0"),
            _segment(0xDA, b"\1\1\0\0\x3f\0"),
            scan,
            b"\xff\xd9",
        )
    )


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _webp(colour: bytes, width: int, height: int) -> bytes:
    """Return a WebP of one colour, lossless: five codes of one symbol each (RFC 9649, 3.7.2)."""
    bits = [(width - 1, 14), (height - 1, 14), (0, 1), (0, 3), (0, 1), (0, 1), (0, 1)]
    for symbol in (colour[1], colour[0], colour[2], 255):
        bits += [(1, 1), (0, 1), (1, 1), (symbol, 8)]
    bits += [(1, 1), (0, 1), (0, 1), (0, 1)]
    value = place = 0
    for number, size in bits:
        value |= number << place
        place += size
    stream = b"\x2f" + value.to_bytes(-(-place // 8), "little")
    padded = b"VP8L" + struct.pack("<I", len(stream)) + stream + b"\0" * (len(stream) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(padded)) + b"WEBP" + padded
