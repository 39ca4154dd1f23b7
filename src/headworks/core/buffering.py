"""Cuts the text of a stream anew: events come as they are, and leave with whole words in them.

Sans-IO: feed what the caller would get, send what comes out, and feed nothing when `due` is over.

Only events that differ in nothing but their text are joined: same ids, same choice, no log
probabilities, no end. What is joined has the fields of its last event. Everything else (roles,
calls of tools, refusals, thoughts, usage, ends, errors, events that we do not know) passes as it
is, behind all the text that came before it. So the text of each choice, and of each part of a
response, adds up to what it was, and no event changes places with one of its own choice.

Numbered events are counted anew, so that there is no gap where some were joined.

To find a text costs no JSON: the first event of a kind is read in full, and its bytes without
text, padding and number are remembered. Another event with these bytes differs in those alone.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, cast

import msgspec

from headworks.core.buffering_cuts import Anywhere, Cuts, Sentences, Words
from headworks.core.buffering_texts import FORMS, Form, Place
from headworks.types import AS_OTHERS_SAY, Buffering, BufferMode, Call, Request

MOST_HELD: Final = 16_384
"""Characters that are held of one text at most, whatever they wait for."""

DELAY: Final = 0.05
"""Seconds that a piece of text waits at most, where nothing else is said."""

_EARLY: Final = 0.001
"""Seconds that a timer may be early."""
_MOST_KINDS: Final = 64
_END: Final = b"\n\n"
_DIGITS: Final = b"0123456789"
_STRING: Final = re.compile(rb'(?:[^"\\]|\\.)*', re.DOTALL)
_CUTS: Final[Mapping[BufferMode, Callable[[], Cuts]]] = {
    "words": Words,
    "sentences": Sentences,
    "interval": Anywhere,
}

_encode = msgspec.json.encode
_decode_text = msgspec.json.Decoder(str).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class _Numbered(msgspec.Struct):
    sequence_number: int | None = None


_decode_number = msgspec.json.Decoder(_Numbered).decode


class _Spelling(NamedTuple):
    """How a provider writes the fields that may differ between events of a kind."""

    text: bytes
    padding: bytes
    number: bytes


def _spelling(field: bytes, colon: bytes) -> _Spelling:
    return _Spelling(
        b'"' + field + b'"' + colon + b'"',
        b'"obfuscation"' + colon + b'"',
        b'"sequence_number"' + colon,
    )


class _Text:
    """One text: what is held of it, and the bytes around it in its latest event."""

    __slots__ = ("cuts", "held", "kind", "left", "right")

    def __init__(self, cuts: Cuts) -> None:
        self.cuts = cuts
        self.held = ""
        self.kind = self.left = self.right = b""


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
        self._spelling = _spelling(form.field, b":")
        self._kinds: dict[bytes, _Text | None] = {}
        self._texts: dict[Place, _Text] = {}
        self._latest: _Text | None = None
        self._waiting: list[_Text] = []
        self._number: int | None = None

    def feed(self, events: bytes, now: float) -> bytes:
        """Return what leaves of these whole events, and of what is held."""
        out: list[bytes] = []
        if events.find(_END) + len(_END) == len(events):
            self._take(events[: -len(_END)], now, out)
        else:
            for event in events.split(_END):
                if event:
                    self._take(event, now, out)
        if self.due is not None and now >= self.due - _EARLY:
            self._release(out)
        if not out:
            return b""
        out.append(b"")
        return _END.join(out)

    def flush(self) -> bytes:
        """Return what is held."""
        out: list[bytes] = []
        self._release(out)
        return b"".join([event + _END for event in out])

    def _take(self, event: bytes, now: float, out: list[bytes]) -> None:
        """Hold the text of an event, or let it pass behind all that is held."""
        if not self._hold(event, now, out):
            self._release(out)
            out.append(self._counted(event) if self._form.is_numbered else event)

    def _hold(self, event: bytes, now: float, out: list[bytes]) -> bool:
        """Take an event that brings text alone; return whether it is one."""
        at = event.find(self._spelling.text)
        if at < 0 and (at := self._find_spaced(event)) < 0:
            return False
        at += len(self._spelling.text)
        end = event.find(b'"', at)
        raw = event[at:end]
        has_escapes = b"\\" in raw
        if has_escapes:
            end = cast("re.Match[bytes]", _STRING.match(event, at)).end()
            raw = event[at:end]
        kind = self._kind(event[:at] + event[end:])
        text = self._latest
        if text is None or kind != text.kind:
            text = self._kinds[kind] if kind in self._kinds else self._learn(event, kind)
        if text is None or not raw:
            return False
        if kind != text.kind:
            self._send(text, len(text.held), out)
            text.kind = kind
        self._latest = text
        text.left, text.right = event[: at - 1], event[end + 1 :]
        piece = _decode_text(b'"' + raw + b'"') if has_escapes else raw.decode()
        self._add(text, piece, now, out)
        return True

    def _add(self, text: _Text, piece: str, now: float, out: list[bytes]) -> None:
        """Lay a piece to what is held of its text, and send what may go."""
        fresh = len(text.held)
        held = text.held = text.held + piece
        end = len(held) if len(held) > MOST_HELD else text.cuts.end(held, fresh)
        if end:
            self._send(text, end, out)
        waiting = self._waiting
        if not text.held:
            if fresh:
                waiting.remove(text)
        elif not fresh:
            waiting.append(text)
        if not waiting:
            self.due = None
        elif self.due is None or (end >= fresh > 0 and len(waiting) == 1):
            self.due = now + self._delay  # all that is held has just come

    def _find_spaced(self, event: bytes) -> int:
        """Return where the text of an event stands if its JSON is written with spaces, else -1."""
        spaced = _spelling(self._form.field, b": ")
        at = event.find(spaced.text)
        if at >= 0:
            self._spelling = spaced
        return at

    def _kind(self, rest: bytes) -> bytes:
        """Return an event without what may differ within its kind; its text is out already."""
        _, padding, number = self._spelling
        at = rest.find(padding)
        if at >= 0:
            at += len(padding)
            rest = rest[:at] + rest[rest.find(b'"', at) :]
        if self._form.is_numbered and (at := rest.find(number)) >= 0:
            at += len(number)
            rest = rest[:at] + rest[at:].lstrip(_DIGITS)
        return rest

    def _learn(self, event: bytes, kind: bytes) -> _Text | None:
        """Return the text that a kind of events brings, None if it brings more than that.

        An event that opens its text passes as it is; later ones of its kind do not open it again.
        """
        if len(self._kinds) >= _MOST_KINDS:
            self._kinds.clear()
        try:
            told = self._form.read(event.partition(b"data: ")[2])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            told = None
        spelling = self._spelling
        if told is None or event.count(spelling.text) > 1 or event.count(spelling.number) > 1:
            self._kinds[kind] = None
            return None
        text = self._texts.get(told.place)
        if text is None:
            text = self._texts[told.place] = _Text(self._new_cuts())
        self._kinds[kind] = text
        return None if told.opens else text

    def _send(self, text: _Text, end: int, out: list[bytes]) -> None:
        """Send so much of what is held of a text, as an event, if that is anything."""
        if not end:
            return
        piece, text.held = text.held[:end], text.held[end:]
        text.cuts.passed(piece)
        event = text.left + _encode(piece) + text.right
        number = self._spelling.number
        if self._form.is_numbered and (at := event.find(number)) >= 0:
            at += len(number)
            rest = event[at:].lstrip(_DIGITS)
            event = event[:at] + b"%d" % self._count(int(event[at : len(event) - len(rest)])) + rest
        out.append(event)

    def _release(self, out: list[bytes]) -> None:
        """Send all that is held."""
        for text in self._waiting:
            self._send(text, len(text.held), out)
        self._waiting.clear()
        self.due = None

    def _count(self, number: int) -> int:
        """Return the number of the next event, which came with this one."""
        told = number if self._number is None else self._number
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
        return head + sign + _encode(fields)


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
