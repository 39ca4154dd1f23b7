"""Requests for an operation: all of its parameters set, every value that one may have at least once."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Any
from urllib.parse import quote

import msgspec

from tests.transparency.description import Operation, Schema, properties
from tests.transparency.faces import ALIAS, MODEL
from tests.transparency.spelling import Speller
from tests.transparency.values import Values

JSON, FORM, PAIRS = "application/json", "multipart/form-data", "application/x-www-form-urlencoded"
_BOUNDARY = "--x-headworks'()+_,-./:=?"
_ID = "id-0Az_.~:@!$&'()*+,="
_BYTES = bytes(range(256)) + b"\r\n--x\r\n"


@dataclass(frozen=True)
class Asked:
    """A request before its header fields; `media` is "" where it has no body."""

    operation: Operation
    target: str
    media: str
    body: bytes | None

    @property
    def line(self) -> str:
        return f"{self.operation.method} {self.target} HTTP/1.1"

    @property
    def content_type(self) -> str:
        return f'{FORM}; boundary="{_BOUNDARY}"' if self.media == FORM else self.media


def requests(operation: Operation, *, streamed: bool = False) -> Iterator[Asked]:
    """Yield requests with each kind of body that the operation takes."""
    for media in operation.bodies or ("",):
        if streamed and media not in _streamed_by(operation):
            continue
        bodies = list(_bodies(operation, media, streamed=streamed)) if media else [None]
        queries = list(_queries(operation, streamed=streamed and not media))
        for number in range(max(len(bodies), len(queries))):
            target = _path(operation) + queries[number % len(queries)]
            yield Asked(operation, target, media, bodies[number % len(bodies)])


def _streamed_by(operation: Operation) -> list[str]:
    """Return the bodies that can ask for events: all of them, where no field asks."""
    bodies = list(operation.bodies) or [""]
    return [media for media in bodies if operation.streams_by(media)] or bodies


def _path(operation: Operation) -> str:
    path = operation.path
    for one in operation.parameters:
        if one["in"] == "path":
            path = path.replace("{" + one["name"] + "}", _ID)
    assert "{" not in path, path
    return "/v1" + path


def _queries(operation: Operation, *, streamed: bool) -> Iterator[str]:
    """Yield query strings that spell the same letters in several ways."""
    told = {one["name"]: one["schema"] for one in operation.parameters if one["in"] == "query"}
    if not told:
        yield "?stream=true" if streamed else ""
        return
    spellings = cycle((_plus, _upper, _lower))
    for value in Values({"type": "object", "properties": told}).all():
        spelled = next(spellings)
        pairs = [f"{name}={spelled(text)}" for name, text in _pairs(value)]
        yield "?" + "&".join(
            [*pairs, *(["stream=true"] if streamed else ()), "x_unknown=%20+", "&="]
        )


def _plus(text: str) -> str:
    return _upper(text).replace("%20", "+")


def _upper(text: str) -> str:
    return quote(text, safe="")


def _lower(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def _pairs(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, one in value.items():
        if isinstance(one, list):
            yield from ((name + "[]", str(item)) for item in one)
        elif isinstance(one, dict):
            yield from ((f"{name}[{key}]", str(item)) for key, item in one.items())
        else:
            yield name, str(one)


def _bodies(operation: Operation, media: str, *, streamed: bool) -> Iterator[bytes]:
    schema = operation.bodies[media]
    known = properties(schema)
    models = cycle((MODEL, ALIAS) if media == JSON else (MODEL,))
    speller = Speller()
    for number, value in enumerate(Values(schema).all()):
        if isinstance(value, dict):
            value.update({"model": next(models)} if "model" in known else {})
            value.update({"stream": streamed} if "stream" in known else {})
        if media == JSON:
            yield speller.spell(value, spaced=number % 4 > 1)
        elif media == FORM:
            yield form(_parts(value, known))
        elif media == PAIRS:
            yield "&".join(f"{name}={_plus(text)}" for name, text in _pairs(value)).encode()
        else:
            yield str(value).encode()


def _parts(value: Mapping[str, Any], known: Mapping[str, Schema]) -> Iterator[tuple[str, bytes]]:
    for name, one in value.items():
        several = one if isinstance(one, list) else [one]
        for item in several:
            field = name + "[]" if isinstance(one, list) else name
            if _is_file(known.get(name, {})):
                yield f'name="{field}"; filename="\u00e9 .bin"\r\ncontent-type: image/png', _BYTES
            else:
                text = item.encode() if isinstance(item, str) else msgspec.json.encode(item)
                yield f'name="{field}"', text
    yield 'name="x_unknown"', b"1.0"


def _is_file(schema: Schema) -> bool:
    return '"binary"' in msgspec.json.encode(schema).decode()


def form(parts: Iterable[tuple[str, bytes]]) -> bytes:
    body = b""
    for head, content in parts:
        disposition = f"--{_BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n"
        body += disposition.encode() + content + b"\r\n"
    return body + f"--{_BOUNDARY}--\r\n".encode()
