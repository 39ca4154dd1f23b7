"""Exchanges with the real API that others recorded, read from the source archives they ship in.

`make` fetches the archives (requirements/recordings.lock) into `.cache/recordings`; nothing of them
is part of this repository. Two layouts occur: one list of interactions, and parallel lists of
requests and responses whose addresses and headers are blanked out.
"""

import gzip
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

ROOT = Path(__file__).parents[2]
PLACE = ROOT / ".cache/recordings"
_HOST = "api.openai.com"
_BLANK = "**REDACTED**"
_CODEX = "codex"  # recordings of the ChatGPT backend: another product with another shape
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Exchange:
    """A request to the real API, and what it answered.

    Attributes:
        cassette: Names the file; its exchanges happened one after the other.
        headers: Names in lower case, {} where the recording has none to show.
        day: When it was recorded, as YYYY-MM-DD, "" if nothing tells.
    """

    cassette: str
    number: int
    method: str
    path: str
    request: Mapping[str, Any]
    status: int
    headers: Mapping[str, str]
    body: bytes
    day: str

    @property
    def name(self) -> str:
        """Where it is to be found."""
        return f"{self.cassette}#{self.number}"


def archives() -> list[Path]:
    """Return the archives, or say how to get them."""
    found = sorted(PLACE.glob("*.tar.gz"))
    missing = f"no recorded exchanges in {PLACE}: `make .cache/recordings/.done` fetches them"
    assert (PLACE / ".done").is_file(), missing
    assert found, missing
    return found


def exchanges() -> list[Exchange]:
    """Return all exchanges with the real API, in the order of their files."""
    found = [one for archive in archives() for one in _read(archive)]
    return sorted(found, key=lambda one: (one.cassette, one.number))


def _read(archive: Path) -> Iterator[Exchange]:
    with tarfile.open(archive) as files:
        for member in files:
            name = member.name
            if not name.endswith((".yaml", ".yaml.gz")) or _CODEX in name.lower():
                continue
            opened = files.extractfile(member)
            assert opened is not None
            content = opened.read()
            text = gzip.decompress(content) if name.endswith(".gz") else content
            document = yaml.load(text, _LOADER)  # noqa: S506 - it is one of the two safe loaders
            yield from _exchanges(name, document)


def _exchanges(cassette: str, document: Any) -> Iterator[Exchange]:
    if not isinstance(document, dict):
        return
    pairs = [(one["request"], one["response"]) for one in document.get("interactions", ())]
    pairs += zip(document.get("requests", ()), document.get("responses", ()), strict=True)
    for number, (request, response) in enumerate(pairs):
        fields = _fields(request)
        path = _path(request["uri"], fields)
        if not path:
            continue
        headers = _headers(response["headers"])
        body = _content(response)
        yield Exchange(
            cassette,
            number,
            request["method"],
            path,
            fields,
            response["status"]["code"],
            headers,
            body,
            _day(headers, body),
        )


def _path(uri: str, fields: Mapping[str, Any]) -> str:
    """Return the path and query after the host, told by the body where the address is blank."""
    if uri == _BLANK:
        if "messages" in fields:
            return "/v1/chat/completions"
        if "encoding_format" in fields:
            return "/v1/embeddings"
        return "/v1/responses" if "input" in fields and "model" in fields else ""
    parts = urlsplit(uri)
    if parts.netloc != _HOST:
        return ""
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _fields(request: Mapping[str, Any]) -> dict[str, Any]:
    body = request.get("parsed_body") or request.get("body")
    if isinstance(body, dict) and set(body) == {"string"}:
        body = body["string"]
    if isinstance(body, bytes | str):
        text = _plain(body if isinstance(body, bytes) else body.encode())
        body = json.loads(text) if text.startswith(b"{") else {}
    return body if isinstance(body, dict) else {}


def _content(response: Mapping[str, Any]) -> bytes:
    parsed = response.get("parsed_body")
    if parsed is not None:
        return parsed.encode() if isinstance(parsed, str) else json.dumps(parsed).encode()
    body = (response.get("body") or {}).get("string") or b""
    return _plain(body if isinstance(body, bytes) else body.encode())


def _plain(body: bytes) -> bytes:
    return gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body


def _headers(given: Any) -> dict[str, str]:
    if not isinstance(given, dict):
        return {}
    listed = {
        str(name).lower(): str(value[0] if isinstance(value, list) and value else value)
        for name, value in given.items()
    }
    return {name: value for name, value in listed.items() if value != _BLANK}


def _day(headers: Mapping[str, str], body: bytes) -> str:
    if "date" in headers:
        return parsedate_to_datetime(headers["date"]).date().isoformat()
    made = re.search(rb'"created(?:_at)?": ?(\d{10})', body)
    return datetime.fromtimestamp(int(made[1]), UTC).date().isoformat() if made else ""
