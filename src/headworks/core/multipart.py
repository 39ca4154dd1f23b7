"""Reads a form (multipart/form-data, RFC 7578) while it passes: its small fields, and where the model stands.

Theory. The provider reads the same bytes with a parser of its own, and what the two read must be the
same: else a key that is bound to one model could name another one where only the provider looks. So
a form is taken only if it can be read in one way. It begins with its boundary; each boundary stands
behind a CRLF and before a CRLF or "--"; nothing follows the last one; each part has one
Content-Disposition with one plain name; and `model` is one field, not a file, not encoded. No client
in use writes forms otherwise.

Files are looked at for boundaries alone, at the speed of `bytes.find`; what is kept is bounded.
"""

import re
from hashlib import sha256
from typing import Any, Final, Literal
from urllib.parse import unquote

from headworks.core.wire import media_type
from headworks.errors import InvalidRequest

MOST_PARTS: Final = 1_000
MOST_HEAD: Final = 8 * 1024
"""Bytes of the header lines of one part."""
MOST_FIELD: Final = 4 * 1024
"""Bytes of a field that is read; a longer one passes unread."""
_MOST_FIELDS: Final = 64
_LONGEST_MODEL: Final = 256

_FORM: Final = b"multipart/form-data"
_BOUNDARY: Final = re.compile(rb"[\w'()+,./:=? -]{0,69}[\w'()+,./:=?-]")  # RFC 2046, 5.1.1
_PARAMETER: Final = re.compile(
    r'[ \t]*;[ \t]*([^\s;="]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))'
)
_LINE: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\x00]*)")
_PLAIN: Final = frozenset({"", "7bit", "8bit", "binary"})
_CHARSETS: Final = frozenset({"", "utf-8", "us-ascii"})
_CRLF: Final = b"\r\n"
_CR, _LF = _CRLF
_TRUE: Final = frozenset({"true", "1"})
_MARKED: Final = b"\0--\0"
"""Stands for a boundary."""

_State = Literal["start", "behind", "head", "body", "over"]


def form_of(content_type: bytes, *, has_model: bool = True) -> "FormReader | None":
    """Return what reads a body of this type, None when it is no form.

    Raises:
        InvalidRequest: It is a form without a proper boundary.
    """
    if media_type(content_type) != _FORM:
        return None
    parameters = _parameters(content_type.partition(b";")[1:][1].decode("latin-1"), ";")
    found = parameters.get("boundary", [])
    if len(found) != 1 or not _BOUNDARY.fullmatch(boundary := found[0].encode("latin-1")):
        raise _broken("its content-type needs one boundary")
    return FormReader(boundary, has_model=has_model)


class BodyDigest:
    """What only an equal body has: of a form, whatever its boundary, which is drawn anew each time.

    Args:
        form: What reads the body, None where it is no form.
    """

    def __init__(self, form: "FormReader | None") -> None:
        self._marker = b"" if form is None else form.marker
        self._whole, self._left = sha256(), b""

    def update(self, piece: bytes) -> None:
        """Take more of the body."""
        if not self._marker:
            self._whole.update(piece)
            return
        *before, rest = (self._left + piece).split(self._marker)
        for part in before:
            self._whole.update(part + _MARKED)
        end = max(0, len(rest) - len(self._marker) + 1)
        self._whole.update(rest[:end])
        self._left = rest[end:]

    def result(self) -> bytes:
        """Return it, of all that has come."""
        whole = self._whole.copy()
        whole.update(self._left)
        return whole.digest()


class FormReader:
    """Reads one form, in whatever pieces its bytes come.

    Attributes:
        fields: The short fields so far: texts by name, the first of each; `stream` as a bool, and
            `model` only where the endpoint takes one.
        model_at: Where the value of the field `model` begins and ends in the body; None before it
            was seen, and where the endpoint takes none.
        marker: What stands before each part.
    """

    def __init__(self, boundary: bytes, *, has_model: bool = True) -> None:
        self.fields: dict[str, Any] = {}
        self.model_at: tuple[int, int] | None = None
        self.marker = b"--" + boundary
        self._has_model = has_model
        self._state: _State = "start"
        self._left = b""
        self._at = 0  # where `_left` begins
        self._name = ""
        self._is_field = self._is_model = False
        self._value: bytearray | None = None
        self._begins = 0
        self._parts = 0

    @property
    def is_over(self) -> bool:
        """Whether the last boundary has come."""
        return self._state == "over"

    def feed(self, data: bytes) -> None:
        """Read on.

        Raises:
            InvalidRequest: It is no proper form, or says twice which model it wants.
        """
        self._left = self._left + data if self._left else data
        while self._step():
            pass

    def end(self) -> None:
        """Take the end of the body.

        Raises:
            InvalidRequest: The form is not complete.
        """
        if self._state != "over":
            raise _broken("its last boundary is missing")
        if self._left not in {b"", _CRLF}:
            raise _broken("something follows its last boundary")

    def _step(self) -> bool:
        """Go one state on; return whether there may be more to read."""
        match self._state:
            case "start":
                return self._start()
            case "behind":
                return self._look_behind()
            case "head":
                return self._read_head()
            case "body":
                return self._pass_body()
            case "over":
                if not _CRLF.startswith(self._left):
                    raise _broken("something follows its last boundary")
                return False

    def _start(self) -> bool:
        marker, left = self.marker, self._left
        if not marker.startswith(left[: len(marker)]):
            raise _broken("it does not begin with its boundary")
        if len(left) < len(marker):
            return False
        self._take(len(marker), "behind")
        return True

    def _look_behind(self) -> bool:
        """See whether another part follows a boundary."""
        if len(self._left) < len(_CRLF):
            return False
        following = self._left[:2]
        if following not in {_CRLF, b"--"}:
            raise _broken("a boundary is not alone on its line")
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise _broken(f"it has more than {MOST_PARTS} parts")
        self._take(2, "head" if following == _CRLF else "over")
        return True

    def _read_head(self) -> bool:
        end = self._left.find(b"\r\n\r\n", 0, MOST_HEAD)
        if end < 0:
            if len(self._left) >= MOST_HEAD:
                raise _broken(f"the head of a part is longer than {MOST_HEAD} bytes")
            return False
        self._learn(self._left[:end])
        self._take(end + 4, "body")
        self._begins = self._at
        self._value = bytearray() if self._is_field else None
        return True

    def _pass_body(self) -> bool:
        """Go on to the next boundary, as far as the bytes are here."""
        left, marker, begins = self._left, self.marker, 0
        while (found := left.find(marker, begins)) >= 0:
            if left[max(0, found - 2) : found] == _CRLF:
                self._keep(left[: found - 2])
                self._end_part(self._at + found - 2)
                self._take(found + len(marker), "behind")
                return True
            if self._at + found == self._begins or left[found - 1] in {_CR, _LF}:
                raise _broken("a boundary does not stand behind a line of its own")
            begins = found + 1
        passed = max(0, len(left) - len(marker) - 1)
        self._keep(left[:passed])
        self._take(passed, "body")
        return False

    def _keep(self, data: bytes) -> None:
        value = self._value
        if value is None or not data:
            return
        if len(value) + len(data) > MOST_FIELD:
            if self._is_model:
                raise InvalidRequest(_TOO_LONG, param="model")
            self._value = None
        else:
            value += data

    def _end_part(self, at: int) -> None:
        """Take a field whose value ends here."""
        value, self._value = self._value, None
        if value is None:
            return
        try:
            text = value.decode()
        except UnicodeDecodeError:
            text = None
        if self._is_model:
            self._take_model(text, at)
        elif text is not None and self._name == "stream":
            self.fields.setdefault("stream", text.lower() in _TRUE)
        elif text is not None and self._name != "model" and len(self.fields) < _MOST_FIELDS:
            self.fields.setdefault(self._name, text)

    def _take_model(self, text: str | None, at: int) -> None:
        if self.model_at is not None:
            raise InvalidRequest("model must stand in a form once.", param="model")
        if not text:
            raise InvalidRequest("You must provide a model parameter.", param="model")
        if len(text) > _LONGEST_MODEL:
            raise InvalidRequest(_TOO_LONG, param="model")
        self.fields["model"], self.model_at = text, (self._begins, at)

    def _learn(self, head: bytes) -> None:
        """Read the header lines of a part."""
        lines = _lines(head)
        kind, semicolon, rest = lines.get("content-disposition", "").partition(";")
        if kind.strip().lower() != "form-data":
            raise _broken("a part has no Content-Disposition: form-data")
        given = _parameters(semicolon + rest)
        names = given.get("name", [])
        if len(names) != 1 or not names[0] or "name*" in given:
            raise _broken("a part needs one name")
        self._name = names[0]
        self._is_field = "filename" not in given and "filename*" not in given
        self._is_model = self._has_model and _means_model(self._name)
        if self._is_model:
            _check_model(self._name, lines, is_field=self._is_field)

    def _take(self, count: int, state: _State) -> None:
        self._left, self._at, self._state = self._left[count:], self._at + count, state


_TOO_LONG: Final = f"model must have at most {_LONGEST_MODEL} characters."


def _lines(head: bytes) -> dict[str, str]:
    lines: dict[str, str] = {}
    for text in head.decode("latin-1").split("\r\n"):
        line = _LINE.fullmatch(text)
        if line is None or (name := line[1].lower()) in lines:
            raise _broken("a header line of a part is broken or repeated")
        lines[name] = line[2].strip()
    return lines


def _parameters(text: str, before: str = "") -> dict[str, list[str]]:
    """Return what stands behind the semicolons of a header, by name in lower case, as written."""
    found: dict[str, list[str]] = {}
    place, text = 0, before + text
    while match := _PARAMETER.match(text, place):
        name, quoted, plain = match.groups()
        found.setdefault(name.lower(), []).append(plain if quoted is None else quoted)
        place = match.end()
    if text[place:].strip(" \t;"):
        raise _broken("a parameter of a header cannot be read")
    return found


def _means_model(name: str) -> bool:
    """Return whether some parser might take the name for `model`."""
    bare = unquote(name).replace("\\", "").removesuffix("[]")
    return bare.strip().lower() == "model"


def _check_model(name: str, lines: dict[str, str], *, is_field: bool) -> None:
    kind = lines.get("content-type", "")
    charset = _parameters(";" + kind.partition(";")[2]).get("charset", [""])
    is_plain = (
        is_field
        and name == "model"
        and lines.get("content-transfer-encoding", "").lower() in _PLAIN
        and {one.lower() for one in charset} <= _CHARSETS
    )
    if not is_plain:
        raise InvalidRequest("model must be a plain field of the form.", param="model")


def _broken(why: str) -> InvalidRequest:
    return InvalidRequest(f"The form (multipart/form-data) cannot be read: {why}.")
