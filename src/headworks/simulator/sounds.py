"""Small valid audio files: a tone where samples are sent as they are, silence where they are coded."""

import hashlib
import math
import struct
from array import array
from functools import cache
from typing import Literal

Format = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]

CONTENT_TYPES: dict[Format, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
RATE = 24_000
_WIDTH = 2  # bytes of a sample
_PERIOD = 60  # samples of one wave: 400 Hz
_LOUD = 6_000


def sound(form: Format, seconds: float) -> bytes:
    """Return about so many seconds of one channel at 24 kHz."""
    samples = max(1, round(seconds * RATE))
    if form == "pcm":
        return _tone(samples)
    if form == "wav":
        return _wav(_tone(samples))
    if form == "mp3":
        return _MP3_FRAME * math.ceil(samples / _MP3_SAMPLES)
    if form == "aac":
        return _AAC_FRAME * math.ceil(samples / _AAC_SAMPLES)
    return _flac(samples) if form == "flac" else _opus(math.ceil(seconds / _OPUS_SECONDS) or 1)


def seconds_of(content: bytes) -> float:
    """Return how long a recording is: a WAV by its head, anything else by its size."""
    head = content[:4096]
    place = head.find(b"fmt ")
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE" and 0 < place <= len(head) - 20:
        rate = int.from_bytes(head[place + 16 : place + 20], "little")
        return max(0, len(content) - 44) / rate if rate else 0.0
    return len(content) / _USUAL_RATE


_USUAL_RATE = 4_000  # bytes a second: 32 kbit/s

_MP3_SAMPLES = 576
_MP3_FRAME = b"\xff\xf3\x44\xc4".ljust(96, b"\0")
"""A silent frame: MPEG-2 layer III, 32 kbit/s at 24 kHz, one channel; nothing but zeros follows."""

_AAC_SAMPLES = 1_024
_AAC_FRAME = b"\xff\xf1\x58\x40\x01\xbf\xfc" + b"\0\xc8\0\x80\x23\x80"
"""A silent frame in an ADTS head (ISO 13818-7, 6.2): low complexity, 24 kHz, one channel, 13 bytes."""

_OPUS_SECONDS = 0.02
_OPUS_PACKET = b"\xf8\xff\xfe"
_OPUS_SAMPLES = 960  # at 48 kHz, in which Opus always counts
_MOST_PACKETS = 255
_FLAC_BLOCK = 4_096


@cache
def _wave() -> bytes:
    turn = 2 * math.pi / _PERIOD
    return struct.pack(
        f"<{_PERIOD}h", *(round(_LOUD * math.sin(turn * place)) for place in range(_PERIOD))
    )


def _tone(samples: int) -> bytes:
    return (_wave() * -(-samples // _PERIOD))[: samples * _WIDTH]


def _wav(samples: bytes) -> bytes:
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, RATE * _WIDTH, _WIDTH, 16)
    whole = b"WAVE" + form + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(whole)) + whole


def _flac(samples: int) -> bytes:
    """Return blocks whose one value is 0 (RFC 9639): 24 kHz, one channel, 16 bits."""
    blocks = -(-samples // _FLAC_BLOCK)
    total = blocks * _FLAC_BLOCK
    form = RATE << 44 | 0 << 41 | 15 << 36 | total
    silence = hashlib.md5(bytes(total * _WIDTH), usedforsecurity=False).digest()
    about = struct.pack(">HH", _FLAC_BLOCK, _FLAC_BLOCK) + bytes(6) + form.to_bytes(8) + silence
    head = b"fLaC\x80" + len(about).to_bytes(3) + about
    return head + b"".join(map(_flac_block, range(blocks)))


def _flac_block(number: int) -> bytes:
    head = b"\xff\xf8\xc7\x08" + _coded(number)
    head += _crc(head, 0x07, 8).to_bytes(1)
    block = head + b"\0\0\0"
    return block + _crc(block, 0x8005, 16).to_bytes(2)


def _coded(number: int) -> bytes:
    """Return a number as FLAC writes it: like a character in UTF-8."""
    return chr(number).encode("utf-8", "surrogatepass")


def _opus(packets: int) -> bytes:
    """Return silent packets of 20 ms in Ogg pages (RFC 7845)."""
    about = b"OpusHead" + struct.pack("<BBHIHB", 1, 1, 0, RATE, 0, 0)
    tags = b"OpusTags" + struct.pack("<I", 9) + b"headworks" + struct.pack("<I", 0)
    pages = [_page(0, 2, 0, [about]), _page(1, 0, 0, [tags])]
    for start in range(0, packets, _MOST_PACKETS):
        end = min(start + _MOST_PACKETS, packets)
        flags = 4 if end == packets else 0
        listed = [_OPUS_PACKET] * (end - start)
        pages.append(_page(len(pages), flags, end * _OPUS_SAMPLES, listed))
    return b"".join(pages)


def _page(number: int, flags: int, place: int, packets: list[bytes]) -> bytes:
    sizes = bytes(map(len, packets))
    head = struct.pack("<4sBBqIII", b"OggS", 0, flags, place, 1, number, 0)
    page = head + bytes([len(sizes)]) + sizes + b"".join(packets)
    check = struct.pack("<I", _crc(page, 0x04C11DB7, 32))
    return page[:22] + check + page[26:]


def _crc(content: bytes, polynomial: int, width: int) -> int:
    """Return a cyclic check: highest bit first, from 0, not inverted."""
    table, mask, value = _table(polynomial, width), (1 << width) - 1, 0
    for byte in content:
        value = (value << 8 & mask) ^ table[(value >> (width - 8)) ^ byte]
    return value


@cache
def _table(polynomial: int, width: int) -> "array[int]":
    top, mask = 1 << (width - 1), (1 << width) - 1
    rows = array("L")
    for byte in range(256):
        value = byte << (width - 8)
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
        rows.append(value)
    return rows
