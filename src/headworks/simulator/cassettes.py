"""Recorded exchanges: one JSON object a line, without secrets, in the order in which they ended.

A cassette holds what was asked and what came back, byte for byte and with its times, so that a
player can serve it again. Keys, cookies and names of organisations are not written down; what the
prompts and answers say is, so treat a cassette as you treat your users' data.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Literal

import msgspec

from headworks.errors import ConfigurationError

_KEPT = re.compile(
    r"content-type|content-encoding|location|retry-after(-ms)?|x-should-retry|x-request-id"
    r"|openai-(model|processing-ms|version)|x-ratelimit-[a-z-]+"
)
_BOUNDARY = re.compile(rb'boundary="?([^";,]+)', re.IGNORECASE)


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """Bytes that came at once.

    Attributes:
        after: Seconds since the request was there in full.
        text: The bytes as UTF-8, or else `base64`.
    """

    after: float
    text: str = ""
    base64: str = ""

    @property
    def content(self) -> bytes:
        """The bytes."""
        return base64.b64decode(self.base64) if self.base64 else self.text.encode()


class Recording(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One exchange.

    Attributes:
        key: What a request must have in common with the recorded one: see `key_of`.
        request: The body, for people to read; "" where it is not text.
        head_after: Seconds until the head came.
        ending: `cut` when the connection broke before the end.
    """

    method: str
    path: str
    query: str = ""
    key: str
    request: str = ""
    status: int
    headers: dict[str, str]
    head_after: float
    parts: Sequence[Part]
    ending: Literal["whole", "cut"] = "whole"


def part(after: float, content: bytes) -> Part:
    """Return bytes as a part: as text where that is possible."""
    after = round(after, 6)
    try:
        return Part(after, text=content.decode())
    except UnicodeDecodeError:
        return Part(after, base64=base64.b64encode(content).decode())


def key_of(method: str, path: str, query: bytes, content_type: bytes, content: bytes) -> str:
    """Return what identifies a request: method, path, query in any order, and body.

    A JSON body counts as the value that it means, a form without its random boundary, any other
    body byte for byte.
    """
    said = b"\0".join([method.encode(), path.encode(), *sorted(query.split(b"&"))])
    digest = hashlib.blake2b(said + b"\n" + _meaning(content_type, content), digest_size=16)
    return digest.hexdigest()


def _meaning(content_type: bytes, content: bytes) -> bytes:
    found = _BOUNDARY.search(content_type)
    if found:
        return content.replace(found[1], b"boundary")
    try:
        return msgspec.json.encode(msgspec.json.decode(content), order="deterministic")
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return content


def kept_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the fields of an answer that are written down: none that names an organisation."""
    decoded = ((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers)
    return {name: value for name, value in decoded if _KEPT.fullmatch(name)}


def without(secrets: Sequence[bytes], pieces: Sequence[bytes]) -> list[bytes]:
    """Return the pieces of a body with every secret in it masked, wherever it was cut.

    A mask is as long as its secret, so that lengths and cuts stay as they were.
    """
    content = b"".join(pieces)
    for secret in secrets:
        content = content.replace(secret, b"*" * len(secret))
    ends = list(accumulate(map(len, pieces)))
    return [content[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def append(file: Path, recording: Recording) -> None:
    """Write one exchange at the end of a cassette."""
    with file.open("ab") as cassette:
        cassette.write(msgspec.json.encode(recording) + b"\n")


def load(file: Path) -> Mapping[str, Sequence[Recording]]:
    """Return the recordings of a cassette by key, each in the order of its recording.

    Raises:
        ConfigurationError: The file cannot be read; every line that is no recording is named.
    """
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise ConfigurationError([f"{file}: {error.strerror}"]) from error
    found: dict[str, list[Recording]] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            recording = msgspec.json.decode(line, type=Recording)
            found.setdefault(recording.key, []).append(recording)
            [piece.content for piece in recording.parts]
        except (msgspec.DecodeError, ValueError) as error:
            problems.append(f"{file}:{number}: not a recorded exchange: {error}")
    if problems:
        raise ConfigurationError(problems)
    return found
