"""Cuts the text of a stream anew: events come as they are, and leave with whole words in them.

Sans-IO: feed what the caller would get, send what comes out, and feed nothing when `due` is over.

Only events that differ in nothing but their text are joined: same ids, same choice, no log
probabilities, no end. What is joined has the fields of its last event. Everything else (roles,
calls of tools, refusals, thoughts, usage, ends, errors, events that we do not know) passes as it
is, behind all the text that came before it. So the text of each choice, and of each part of a
response, adds up to what it was, and no event changes places with one of its own choice.

Numbered events are counted anew, so that there is no gap where some were joined.

To find a text costs no JSON but for the first event of a kind: see `likeness`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, cast

import msgspec

from headworks.core.buffering_cuts import Anywhere, Cuts, Sentences, Words
from headworks.core.buffering_texts import FORMS, Form, Place
from headworks.core.likeness import BACKSLASH, END, Likeness, decode, spell
from headworks.types import AS_OTHERS_SAY, Buffering, BufferMode, Call, Request

MOST_HELD: Final = 16_384
"""Characters that are held of one text at most, whatever they wait for."""

DELAY: Final = 0.05
"""Seconds that a piece of text waits at most, where nothing else is said."""

_EARLY: Final = 0.001
"""Seconds that a timer may be early."""
_MOST_KINDS: Final = 64
_MOST_TEXTS: Final = 1024
_STRING: Final = re.compile(rb'(?:[^"\\]|\\.)*', re.DOTALL)
_EVENTS: Final = re.compile(rb"[^\n]++(?:\n[^\n]++)*+\n*+").findall
_CUTS: Final[Mapping[BufferMode, Callable[[], Cuts]]] = {
    "words": Words,
    "sentences": Sentences,
    "interval": Anywhere,
}

_encode = msgspec.json.encode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class _Numbered(msgspec.Struct):
    sequence_number: int | None = None


_decode_number = msgspec.json.Decoder(_Numbered).decode


class Text(Likeness):
    """One text: what is held of it, and the latest event that brought some."""

    __slots__ = ("cuts", "held")

    def __init__(self, cuts: Cuts) -> None:
        """Begin a text; it has a kind, and an event, before anything is held."""
        super().__init__()
        self.cuts = cuts
        self.held = ""


class Buffer:
    """Cuts one stream.

    Attributes:
        due: When what is held has to leave, on the clock that `feed` is told; None if nothing is.
    """

    def __init__(self, form: Form, mode: BufferMode, max_delay: float) -> None:
        """Begin a stream of a form; `mode` is not "off"."""
        self.due: float | None = None
        self._form = form
        self._new_cuts = _CUTS[mode]
        self._delay = max_delay
        self._spelling = spell(form.field, b":", is_numbered=form.is_numbered)
        self._kinds: dict[bytes, Text | None] = {}
        self._texts: dict[Place, Text] = {}
        self._latest: Text | None = None
        self._turns: dict[Text, Text] = {}
        self._waiting: list[Text] = []
        self._number: int | None = None

    def feed(self, events: bytes, now: float) -> bytes:
        """Return what leaves of these whole events, and of what is held."""
        out: list[bytes] = []
        if not self._follow(events, now, out):
            self._take_each(events, now, out)
        due = self.due
        if due is not None and now >= due - _EARLY:
            self._release(out)
        return b"".join(out)

    def flush(self) -> bytes:
        """Return what is held."""
        out: list[bytes] = []
        self._release(out)
        return b"".join(out)

    def _take_each(self, events: bytes, now: float, out: list[bytes]) -> None:
        """Hold the text of some events, or let them pass behind all that is held."""
        pieces = _EVENTS(events)
        for event in pieces:
            if len(pieces) > 1 and self._follow(event, now, out):
                continue
            if not self._hold(event, now, out):
                self._release(out)
                out.append(self._counted(event) if self._form.is_numbered else event)

    def _follow(self, event: bytes, now: float, out: list[bytes]) -> bool:
        """Take an event of the text whose turn it is, if it is plainly like that text's latest.

        It is the turn of the text that came next when the latest one had come before.
        """
        text = self._latest
        if text is None:
            return False
        text = self._turns.get(text, text)
        piece = text.next(event)
        if not piece:
            return False
        self._latest = text
        self._add(text, piece, now, out)
        return True

    def _hold(self, event: bytes, now: float, out: list[bytes]) -> bool:
        """Take an event that brings text alone; return whether it is one."""
        text = self._latest
        at = event.find(self._spelling.text)
        if at < 0 and (at := self._find_spaced(event)) < 0:
            return False
        at += len(self._spelling.text)
        end = event.find(b'"', at)
        if event[end - 1] == BACKSLASH:
            end = cast("re.Match[bytes]", _STRING.match(event, at)).end()
        kind = self._spelling.kind(event[:at] + event[end:])
        if text is None or kind != text.kind:
            text = self._kinds[kind] if kind in self._kinds else self._learn(event, kind, out)
        piece = "" if text is None else decode(event[at - 1 : end + 1])
        if text is None or not piece:
            return False
        if kind != text.kind and text.held:
            self._send(text, len(text.held), out)
            self._drop(text)
        text.note(event, at, end, kind, self._spelling)
        if self._latest is not None:
            self._turns[self._latest] = text
        self._latest = text
        self._add(text, piece, now, out)
        return True

    def _add(self, text: Text, piece: str, now: float, out: list[bytes]) -> None:
        """Lay a piece to what is held of its text, and send what may go."""
        fresh = len(text.held)
        held = text.held = text.held + piece
        end = len(held) if len(held) > MOST_HELD else text.cuts.end(held, fresh)
        if fresh and not end:
            return  # it waits with what has waited before
        self._send(text, end, out)
        if not text.held:
            if fresh:
                self._drop(text)
            return
        waiting = self._waiting
        if not fresh:
            waiting.append(text)
        if self.due is None or (end >= fresh > 0 and len(waiting) == 1):
            self.due = now + self._delay  # all that is held has just come

    def _drop(self, text: Text) -> None:
        """Wait no more for a text that has left."""
        self._waiting.remove(text)
        if not self._waiting:
            self.due = None

    def _find_spaced(self, event: bytes) -> int:
        """Return where the text of an event stands if its JSON is written with spaces, else -1."""
        spaced = spell(self._form.field, b": ", is_numbered=self._form.is_numbered)
        at = event.find(spaced.text)
        if at >= 0:
            self._spelling = spaced
        return at

    def _learn(self, event: bytes, kind: bytes, out: list[bytes]) -> Text | None:
        """Return the text that a kind of events brings, None if it brings more than that.

        An event that opens its text passes as it is; later ones of its kind do not open it again.
        """
        if len(self._kinds) >= _MOST_KINDS:
            self._kinds.clear()
        try:
            told = self._form.read(event.partition(b"data: ")[2])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            told = None
        if told is None or not self._spelling.is_plain(event):
            self._kinds[kind] = None
            return None
        text = self._texts.get(told.place)
        if text is None:
            if len(self._texts) >= _MOST_TEXTS:
                self._forget(out)
            text = self._texts[told.place] = Text(self._new_cuts())
        self._kinds[kind] = text
        return None if told.opens else text

    def _forget(self, out: list[bytes]) -> None:
        """Send all that is held, and forget whose it was."""
        self._release(out)
        self._texts.clear()
        self._kinds.clear()
        self._turns.clear()
        self._latest = None

    def _send(self, text: Text, end: int, out: list[bytes]) -> None:
        """Send so much of what is held of a text, as an event, if that is anything."""
        if not end:
            return
        piece, text.held = text.held[:end], text.held[end:]
        text.cuts.passed(piece)
        event = text.event(piece)
        begin, stop = text.number
        if begin < stop:
            event = event[:begin] + b"%d" % self._count(event[begin:stop]) + event[stop:]
        out.append(event)

    def _release(self, out: list[bytes]) -> None:
        """Send all that is held."""
        for text in self._waiting:
            self._send(text, len(text.held), out)
        self._waiting.clear()
        self.due = None

    def _count(self, number: int | bytes) -> int:
        """Return the number of the next event, which came with this one."""
        told = int(number) if self._number is None else self._number
        self._number = told + 1
        return told

    def _counted(self, event: bytes) -> bytes:
        """Return an event with its number."""
        head, sign, data = event.partition(b"data: ")
        try:
            number = _decode_number(data).sequence_number
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return event
        if number is None or (told := self._count(number)) == number:
            return event
        name = self._spelling.number
        if event.count(name) == event.count(name + b"%d" % number) == 1:
            return event.replace(name + b"%d" % number, name + b"%d" % told)
        fields = _decode_fields(data)
        fields["sequence_number"] = msgspec.Raw(b"%d" % told)
        return head + sign + _encode(fields) + END


@dataclass(frozen=True, slots=True)
class Buffers:
    """Which streams are cut, and how: what is nearest to the call counts.

    Attributes:
        all: What holds where nothing else is said.
        models: What holds for some models, by the names that callers ask for.
    """

    all: Buffering = AS_OTHERS_SAY
    models: Mapping[str, Buffering] = field(default_factory=dict[str, Buffering])

    def open(self, call: Call) -> Buffer | None:
        """Return what cuts the stream that answers a call, None where it passes as it is.

        Text that is JSON is not cut, nor the stream of a background response, which its caller may
        take up again by a provider's number.
        """
        request, caller = call.request, call.caller
        said = request.buffering.over(AS_OTHERS_SAY if caller is None else caller.buffering)
        said = said.over(self.models.get(call.asked, AS_OTHERS_SAY)).over(self.all)
        form = FORMS.get(request.path)
        if said.mode is None or said.mode == "off" or form is None:
            return None
        if request.method != "POST" or _is_json(request) or request.fields.get("background"):
            return None
        return Buffer(form, said.mode, DELAY if said.max_delay is None else said.max_delay)


def _is_json(request: Request) -> bool:
    """Return whether the answer's text is to be JSON."""
    text = _fields(request.fields.get("text"))
    said = _fields(request.fields.get("response_format")) or _fields(text.get("format"))
    return said.get("type", "text") != "text"


def _fields(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}
