"""What the events of a kind have in common: their bytes around text, padding and number.

So who reads a stream, or cuts it anew, need not take each event apart. The first event of a kind
is read in full, and its bytes without these three are remembered. Another event with the same
bytes differs in these alone. Two ways tell that it has them. The long
one takes the three out, wherever they stand. The short one expects an event like the one before:

    [head NUMBER] left TEXT [middle PADDING] right [NUMBER tail]

There a few comparisons prove it, with a text that decodes as the one string that it has to be.
What is not so plain goes the long way: another order of fields, a number that grew longer, a text
that ends with a backslash.
"""

from functools import cache
from typing import Final, NamedTuple

import msgspec

END: Final = b"\n\n"
"""What ends an event."""

BACKSLASH: Final = 0x5C
_DIGITS: Final = b"0123456789"

_NOTHING: Final = (END, END, b"", END, b"")
"""What is around no text."""

_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(str).decode


class Spelling(NamedTuple):
    """How a provider writes what comes before a text, a padding and a number.

    Attributes:
        number: Empty where events have none that counts.
    """

    text: bytes
    padding: bytes
    number: bytes

    def is_plain(self, event: bytes) -> bool:
        """Return whether each of them stands in an event once at most."""
        text, padding, number = self
        if event.count(text) > 1 or event.count(padding) > 1:
            return False
        return not number or event.count(number) <= 1

    def kind(self, rest: bytes) -> bytes:
        """Return an event without its padding and number; its text is out already."""
        _, padding, number = self
        at = rest.find(padding)
        if at >= 0:
            at += len(padding)
            rest = rest[:at] + rest[rest.find(b'"', at) :]
        if number and (at := rest.find(number)) >= 0:
            at += len(number)
            rest = rest[:at] + rest[at:].lstrip(_DIGITS)
        return rest

    def number_in(self, event: bytes) -> tuple[int, int]:
        """Return the place of an event's number, an empty one at its start if it has none."""
        at = event.rfind(self.number)
        if at < 0:
            return 0, 0
        at += len(self.number)
        return at, len(event) - len(event[at:].lstrip(_DIGITS))

    def around(self, kind: bytes) -> tuple[bytes, bytes, bytes, bytes, bytes]:
        """Return head, left, middle, right and tail; those that a kind has not are empty."""
        left, text, rest = kind.partition(self.text)
        middle, padding, right = rest.rpartition(self.padding)
        head = number = tail = b""
        if self.number:
            head, number, left = left.rpartition(self.number)
            right, at_end, tail = right.partition(self.number)
            right += at_end
        if self.padding in left:
            head = END  # no event begins so: it goes the long way
        return head + number, left + text, middle + padding, right, tail


@cache
def spell(field: bytes, colon: bytes, *, is_numbered: bool) -> Spelling:
    """Return how the fields are written with this between a name and its value."""
    return Spelling(
        b'"' + field + b'"' + colon + b'"',
        b'"obfuscation"' + colon + b'"',
        b'"sequence_number"' + colon if is_numbered else b"",
    )


def decode(string: bytes) -> str:
    """Return what a JSON string says, "" if that is no text: half a surrogate pair is none."""
    try:
        return _decode(string)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def plain_end(event: bytes, at: int) -> int:
    """Return where the JSON string ends that begins at a place; -1 if that is not plain to see.

    A quote behind a backslash is taken for one that is said.
    """
    end = event.find(b'"', at)
    while end > 0 and event[end - 1] == BACKSLASH:
        end = event.find(b'"', end + 1)
    return end


def _begins(part: bytes, head: bytes) -> bool:
    """Return whether a part is a head and a number, as JSON writes it."""
    return part.rstrip(_DIGITS) == head and not part.startswith(b"0", len(head))


def _behind_padding(part: bytes, middle: bytes) -> bytes:
    """Return what is behind a padding of letters and digits, b"" if that is no plain one."""
    at = len(middle)
    end = part.find(b'"', at)
    padding = part[at:end]
    is_plain = part.startswith(middle) and (padding.isalnum() or not padding)
    return part[end:] if is_plain else b""


class Likeness:
    """The latest event of a kind, and whether another is like it.

    Attributes:
        kind: Its bytes but for text, padding and number; b"" before there is one.
        number: The place of its number, counted from the end if it comes behind the text.
    """

    __slots__ = ("_around", "_at", "_end", "_event", "_rest", "kind", "number")

    def __init__(self) -> None:
        self.kind = b""
        self._around = _NOTHING

    def note(self, event: bytes, at: int, end: int, kind: bytes, spelling: Spelling) -> None:
        """Take an event for the latest: its text is between two places, and it is of this kind.

        What is around the text is looked for when a kind comes again: some do not.
        """
        self._event, self._at, self._end = event, at, end
        if kind != self.kind:
            self.kind, self._around = kind, _NOTHING
        elif self._around is _NOTHING:
            self._around = spelling.around(kind)
        self._rest, self.number = 0, (0, 0)
        if spelling.number:
            begin, stop = spelling.number_in(event)
            size = len(event) if begin > at else 0
            self._rest = size and size - begin
            self.number = begin - size, stop - size

    def next(self, event: bytes) -> str:
        """Return the text of an event like the latest one, "" if it is not plainly so.

        If it is, it is the latest from now on.
        """
        head, left, middle, right, tail = self._around
        at = self._at
        if head:
            left_at = at - len(left)
            if event[left_at:at] != left or not _begins(event[:left_at], head):
                return ""
        elif not event.startswith(left):
            return ""
        end = event.find(b'"', at)
        if event[end - 1] == BACKSLASH:
            end = plain_end(event, end)
        behind = _behind_padding(event[end:], middle) if middle else event[end:]
        if (behind != right or self._rest) and not self._ends(behind, right, tail):
            return ""
        piece = decode(event[at - 1 : end + 1])
        if piece:
            self._event, self._end = event, end
        return piece

    def _ends(self, rest: bytes, right: bytes, tail: bytes) -> bool:
        """Return whether an event ends with a number as long as that of the latest."""
        number = rest[len(right) : len(rest) - len(tail)]
        is_number = number.isdigit() and not number.startswith(b"0")
        return is_number and len(number + tail) == self._rest and rest == right + number + tail

    def event(self, piece: str) -> bytes:
        """Return the latest event with this text instead of its own."""
        event = self._event
        return event[: self._at - 1] + _encode(piece) + event[self._end + 1 :]
