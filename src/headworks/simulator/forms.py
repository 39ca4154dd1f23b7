"""Reads a form as browsers and the official clients send it (RFC 7578), in one pass over its bytes."""

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from headworks.simulator import problems
from headworks.simulator.asked import Upload
from headworks.simulator.fields import is_list, is_map
from headworks.simulator.problems import Refusal

MOST_PARTS = 1_000
MOST_HEAD = 16 * 1024
"""Bytes of the header lines of one part."""

_MOST_DEPTH = 5
_KIND = "multipart/form-data"
_BOUNDARY = re.compile(r"[\w'()+,./:=? -]{0,69}[\w'()+,./:=?-]", re.ASCII)  # RFC 2046, 5.1.1
_PARAMETER = re.compile(r'[ \t]*;[ \t]*([^\s;="]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))')
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_ESCAPED = re.compile(r'\\(["\\])')
_BY_PERCENT = {"%22": '"', "%0D": "\r", "%0A": "\n"}  # HTML's way to write them in a name
_NUMBER = {
    int: re.compile(r"-?\d{1,9}", re.ASCII),
    float: re.compile(r"-?\d{1,9}(?:\.\d{1,9})?", re.ASCII),
}
_PLAIN = frozenset({"", "7bit", "8bit", "binary"})


class Form(NamedTuple):
    """What a form says.

    Attributes:
        fields: All values are texts. `name[key]` is a field of an object, `name[]` one of a list;
            of a repeated plain field the last one counts.
        uploads: The files by name, in their order; `name[]` stands under `name`.
    """

    fields: dict[str, Any]
    uploads: dict[str, list[Upload]]


def read(content: bytes, content_type: str) -> Form:
    """Return the form in a request body.

    Raises:
        Refusal: It claims to be something else, or breaks the rules of multipart bodies.
    """
    kind, _, rest = content_type.partition(";")
    if kind.strip().lower() != _KIND:
        raise problems.wrong_type(content_type, _KIND)
    form = Form({}, {})
    for head, body in _parts(content, _boundary(";" + rest)):
        name, upload = _part(head, body)
        if upload is None:
            _set(form.fields, name, _text(body, name))
        else:
            form.uploads.setdefault(name.removesuffix("[]"), []).append(upload)
    return form


def typed(fields: Mapping[str, Any], types: Mapping[str, type]) -> dict[str, Any]:
    """Return the fields with those texts that are numbers or truth values as what they are.

    A text that cannot be what it should be stays as it is.
    """
    return {name: _typed(value, types.get(name)) for name, value in fields.items()}


def _typed(value: Any, kind: type | None) -> Any:
    if not isinstance(value, str) or kind is None:
        return value
    if kind is bool:
        return {"true": True, "false": False}.get(value.lower(), value)
    return kind(value) if _NUMBER[kind].fullmatch(value) else value


def _boundary(parameters: str) -> bytes:
    found = _parameters(parameters).get("boundary", [])
    if len(found) != 1:
        raise _broken("expected one boundary in the header 'Content-Type'")
    if not _BOUNDARY.fullmatch(found[0]):
        raise _broken("the boundary may not be written like this")
    return found[0].encode()


def _parts(content: bytes, boundary: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the header lines and the body of each part; what stands around the parts is ignored."""
    line = b"\r\n--" + boundary
    start = -2 if content.startswith(line[2:]) else content.find(line)
    if start == -1:
        raise _broken("the boundary does not occur in the body")
    place = start + len(line)
    for _ in range(MOST_PARTS + 1):
        if content.startswith(b"--", place):
            return
        end = content.find(line, place)
        if end < 0:
            raise _broken("the last boundary is missing")
        yield _split(content, place, end)
        place = end + len(line)
    raise _broken(f"there are more than {MOST_PARTS} parts")


def _split(content: bytes, start: int, end: int) -> tuple[bytes, bytes]:
    first = content.find(b"\r\n", start, min(end, start + MOST_HEAD))
    if first < 0 or content[start:first].strip(b" \t"):
        raise _broken("a boundary is not alone on its line")
    blank = content.find(b"\r\n\r\n", first, min(end, first + MOST_HEAD))
    if blank < 0:
        raise _broken(f"a part has no end of its header lines within {MOST_HEAD} bytes")
    return content[first + 2 : blank], content[blank + 4 : end]


def _part(head: bytes, body: bytes) -> tuple[str, Upload | None]:
    """Return the name of a part and its file, None for a field."""
    lines: dict[str, str] = {}
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        key = name.strip().lower()
        if not colon or not key or key in lines:
            raise _broken("a header line of a part is broken or repeated")
        lines[key] = value.strip()
    kind, semicolon, rest = lines.get("content-disposition", "").partition(";")
    if kind.strip().lower() != "form-data":
        raise _broken("a part has no 'Content-Disposition: form-data'")
    if lines.get("content-transfer-encoding", "").lower() not in _PLAIN:
        raise _broken("parts may not be encoded")
    given = _parameters(semicolon + rest)
    if any(len(values) > 1 for values in given.values()) or not given.get("name", [""])[0]:
        raise _broken("a part needs one name")
    name, filename = _unescaped(given["name"][0]), _filename(given)
    if filename is None:
        return name, None
    return name, Upload(filename, body, lines.get("content-type") or "application/octet-stream")


def _parameters(text: str) -> dict[str, list[str]]:
    """Return what stands behind the semicolons of a header, by name in lower case."""
    found: dict[str, list[str]] = {}
    place = 0
    while match := _PARAMETER.match(text, place):
        name, quoted, plain = match.groups()
        value = plain if quoted is None else _ESCAPED.sub(r"\1", quoted)
        found.setdefault(name.lower(), []).append(value)
        place = match.end()
    if text[place:].strip(" \t;"):
        raise _broken("a parameter of a header cannot be read")
    return found


def _filename(given: dict[str, list[str]]) -> str | None:
    """Return the file's name: the international form (RFC 5987) before the plain one."""
    if "filename*" not in given:
        return _unescaped(given["filename"][0]) if "filename" in given else None
    charset, quote, rest = given["filename*"][0].partition("'")
    _language, second, value = rest.partition("'")
    if not quote or not second or charset.lower() not in {"utf-8", "iso-8859-1"}:
        raise _broken("a 'filename*' cannot be read")
    return unquote_to_bytes(value).decode(charset, "replace")


def _unescaped(text: str) -> str:
    for written, character in _BY_PERCENT.items():
        text = text.replace(written, character)
    return text


def _text(body: bytes, name: str) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise _broken(f"the field '{name[:80]}' is not UTF-8") from None


def _set(fields: dict[str, Any], name: str, value: str) -> None:
    """Put a value where its name says: `a`, `a[key]`, `a[]`."""
    match = _NAME.fullmatch(name)
    keys = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])] if match else [name]
    if len(keys) > _MOST_DEPTH or "" in keys[:-1]:
        raise _broken(f"the name '{name[:80]}' cannot be read")
    place: Any = fields
    for key, following in pairwise(keys):
        place = place.setdefault(key, {} if following else [])
        if not (is_map(place) if following else is_list(place)):
            raise _broken(f"the field '{name[:80]}' contradicts another")
    if is_list(place):
        place.append(value)
    elif isinstance(place.setdefault(keys[-1], value), str):
        place[keys[-1]] = value
    else:
        raise _broken(f"the field '{name[:80]}' contradicts another")


def _broken(why: str) -> Refusal:
    return Refusal(400, f"Could not parse multipart form: {why}.")
