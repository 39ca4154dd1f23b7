"""Answers that came twice the same but for their ids and times are poured, no longer composed.

A load test sends one request a million times. Its first answer is kept with the serial and the time
that went into it. If the second answer is the first with its own serial and time put in, so will
all others be, and each is made by that. What differs in any other way is composed every time.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, final

from typing_extensions import override

from headworks.simulator.asked import Asked
from headworks.simulator.reply import Body
from headworks.types import Usage

_PATHS = frozenset({"/v1/chat/completions", "/v1/embeddings"})
"""Endpoints that keep nothing of what they are asked, unless they are told to store it."""
_MOST_KNOWN = 512
_MOST_BYTES = 32 * 1024
_REMEMBERED = 1_024
"""Tokens from which a prompt is remembered, and the next answer tells so."""
_LONGEST, _SHORTEST = 48, 16
_DAY = 86_400  # models and prices change by the day
_SERIAL, _TIME = b"\0serial\0", b"\0time\0"


_Key = tuple[str, str, int, bytes]


class _Mould(NamedTuple):
    """An answer with marks in the place of its serial and its time.

    Attributes:
        digits: So many of the serial's digits go in.
    """

    content: bytes
    digits: int
    usage: Usage
    content_type: str

    def pour(self, serial: str, created: int) -> bytes:
        """Return the answer with this serial and time."""
        content = self.content.replace(_SERIAL, serial[: self.digits].encode())
        return content.replace(_TIME, b"%d" % created)


@final
class Poured(Body):
    """A whole answer from a mould."""

    def __init__(self, content: bytes, mould: _Mould) -> None:
        self._content, self.usage, self.content_type = content, mould.usage, mould.content_type

    @override
    def whole(self, *, usage: bool) -> bytes:
        """Return the bytes, usage and all."""
        return self._content


@final
class Moulds:
    """Remembers answers by request; the one used longest ago is forgotten first."""

    def __init__(self) -> None:
        self._known: OrderedDict[_Key, tuple[_Mould | None, bool]] = OrderedDict()

    def answer(self, asked: Asked, content: bytes, compose: Callable[[], Body]) -> Body:
        """Return the answer to a request with this body, composed if that must be."""
        if not _is_plain(asked) or len(content) > _MOST_BYTES:
            return compose()
        key = (asked.path, asked.credential, asked.created // _DAY, content)
        mould, is_proven = self._known.get(key, (None, False))
        if mould is not None and is_proven:
            self._known.move_to_end(key)
            return Poured(mould.pour(asked.serial, asked.created), mould)
        body = compose()
        if key not in self._known:
            self._keep(key, _taken(body, asked))
        elif mould is not None:
            same = mould.pour(asked.serial, asked.created) == body.whole(usage=True)
            self._known[key] = (
                (mould, True) if same and mould.usage == body.usage else (None, False)
            )
        return body

    def forget(self) -> None:
        """Forget all answers."""
        self._known.clear()

    def _keep(self, key: _Key, mould: _Mould | None) -> None:
        self._known[key] = (mould, False)
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)


def _is_plain(asked: Asked) -> bool:
    fields = asked.fields
    return (
        asked.path in _PATHS
        and not asked.ordered
        and not fields.get("stream")
        and not fields.get("store")
    )


def _taken(body: Body, asked: Asked) -> _Mould | None:
    """Return the mould of an answer, None if it cannot be one."""
    if body.usage.input >= _REMEMBERED:
        return None
    content = body.whole(usage=True)
    lengths = range(_LONGEST, _SHORTEST - 1, -1)
    digits = next((n for n in lengths if asked.serial[:n].encode() in content), 0)
    if digits:
        content = content.replace(asked.serial[:digits].encode(), _SERIAL)
    content = content.replace(b"%d" % asked.created, _TIME)
    return _Mould(content, digits, body.usage, body.content_type)
