"""Events of a stream that are like the one before, but for the text that they bring.

Most events of a stream are. The first two are read in full; what follows is known by a few
comparisons to mean the same: so much more text.
"""

from typing import Final, NamedTuple

from headworks.core.likeness import Likeness, decode, plain_end, spell

NO_USAGE: Final = (b',"usage":null', b', "usage": null')
"""How a usage is written that is none."""
_TRIES: Final = 16
"""Kinds that came once, in turn, after which no more is looked for: each event is of its own."""


class Plain(NamedTuple):
    """An event that brings text to what has begun, and nothing else: where it stands, and the text."""

    field: bytes
    text: str


class Recurring:
    """Knows an event that is like the latest.

    Attributes:
        is_on: Whether the latest event was plain, so that there is one to be like.
    """

    __slots__ = ("_hidden", "_is_numbered", "_likeness", "_tries", "is_on")

    def __init__(self, *, is_numbered: bool) -> None:
        self.is_on = False
        self._is_numbered = is_numbered
        self._likeness = Likeness()
        self._hidden = b""
        self._tries = 0

    def text_of(self, event: bytes) -> str:
        """Return the text of bytes that are one event like the latest, "" of any others.

        It is the latest from now on, or there is none.
        """
        text = self._likeness.next(event)
        self.is_on = bool(text)
        return text

    def shown(self, event: bytes) -> bytes:
        """Return what the caller gets for an event like the latest."""
        return event.replace(self._hidden, b"") if self._hidden else event

    def number_of(self, event: bytes) -> bytes:
        """Return the number of an event like the latest."""
        begin, stop = self._likeness.number
        return event[begin:stop]

    def note(self, event: bytes, shown: bytes, plain: Plain) -> None:
        """Take the one event that has come, with its end, and what its caller got for it."""
        if self._tries > _TRIES or not plain.text:
            return
        hidden = b"" if shown == event else NO_USAGE[NO_USAGE[0] not in event]
        if hidden and event.replace(hidden, b"") != shown:
            return
        spelling = spell(plain.field, b":", is_numbered=self._is_numbered)
        if (at := event.find(spelling.text)) < 0:
            spelling = spell(plain.field, b": ", is_numbered=self._is_numbered)
            if (at := event.find(spelling.text)) < 0:
                return
        at += len(spelling.text)
        end = plain_end(event, at)
        if decode(event[at - 1 : end + 1]) != plain.text or not spelling.is_plain(event):
            return
        if event.count(b'"%b"' % plain.field) > 1:
            return  # which of them it is that changes would have to be known
        likeness, kind = self._likeness, spelling.kind(event[:at] + event[end:])
        self._tries = 0 if kind == likeness.kind else self._tries + 1
        self._hidden = hidden
        likeness.note(event, at, end, kind, spelling)
        self.is_on = True
