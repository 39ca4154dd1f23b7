"""What a stream of answers means, while it passes: its text, its usage, and whether it ended well.

One reader a dialect. Bytes go in, events for the caller come out; what was learned stands in the
reader's fields. A reader never raises: a fault stands in `error`, and the events before it still
go out. The last event (`ending`) is handed over apart, because the ledger settles before it.
"""

import re
from collections.abc import Callable, Iterable
from typing import ClassVar

import msgspec

from headworks.core.classify import classify
from headworks.core.pricing import parse_usage
from headworks.core.recurring import Plain, Recurring
from headworks.core.sse import MOST_EVENT, Event, SSEDecoder, decode, encode
from headworks.errors import CallError, MalformedEvent, UpstreamAnswered, UpstreamError
from headworks.types import Usage

DONE = b"data: [DONE]\n\n"
NOTHING = msgspec.Raw(b"")
"""A field that is not there."""

_HALF = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
"""An escape of half a character beyond the first 65,536 (RFC 8259, section 8.2)."""

Reported = tuple[Usage, tuple[str, ...]]


class Stream:
    """Events of a dialect that we do not know: relayed as they are, ended by their end.

    An event of over `most` bytes breaks it.

    Attributes:
        reported: The provider's usage and what was odd about it, None until it says so.
        pieces: Count of output pieces; providers send about one token in each.
        text: The output so far, UTF-8.
        ending: The last event, once the stream has ended as it should.
        error: What broke the stream.
        begun: Whether content has come: more than the announcement that some will.
        filtered: Whether the provider's content filter stopped the answer.
        failure: What the provider says went wrong, where its last event says so.
        is_said: Whether all is said, so that no more than the last event is to come.
        mask: Takes out of the provider's errors what their callers must not see.
        seen: Is shown each event, before its caller gets it, for the ids in it.
        only_objects: Whether what is no JSON object is no event of this dialect.
    """

    only_objects: ClassVar = False
    _is_numbered: ClassVar = False

    def __init__(self, most: int = MOST_EVENT) -> None:
        self.reported: Reported | None = None
        self.pieces = 0
        self.text = bytearray()
        self.ending: bytes | None = None
        self.error: UpstreamError | None = None
        self.begun = self.filtered = self.is_said = False
        self.failure: UpstreamError | None = None
        self.mask: Callable[[bytes], bytes] = bytes
        self.seen: Callable[[bytes, bytes], None] | None = None
        self._decoder = SSEDecoder(most)
        self._most = most
        self._recurring = Recurring(is_numbered=self._is_numbered)
        self._plain: Plain | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be read."""
        return self.ending is not None or self.error is not None

    @property
    def is_answered(self) -> bool:
        """Whether all of the answer has come, so that a break takes nothing of it."""
        return False

    def feed(self, chunk: bytes) -> bytes:
        """Return what the caller gets for `chunk`."""
        recurring = self._recurring
        if recurring.is_on and len(chunk) <= self._most and (text := recurring.text_of(chunk)):
            self._repeat(chunk, text)
            return recurring.shown(chunk)
        recurring.is_on, self._plain = False, None
        try:
            events = self._decoder.feed(chunk)
            out = self.take(events)
        except UpstreamError as error:
            self.error = error
            return b""
        if len(events) == 1:
            self._note(chunk, out)
        return out

    def finish(self) -> bytes:
        """Note that the provider's bytes are over; return what the caller still gets."""
        if self.is_over:
            return b""
        try:
            out = self.take(self._decoder.flush())
        except UpstreamError as error:
            self.error = error
            return b""
        if isinstance(self.error, MalformedEvent):
            self.error = None  # half an event is not malformed: the rest of it is missing
        if not self.is_over:
            self._conclude()
        return out

    def encode_error(self, error: CallError) -> bytes:
        """Return the events that tell the caller of `error`, in the provider's words if it has some."""
        said = error.content if isinstance(error, UpstreamAnswered) else None
        line = b" ".join(said.splitlines()) if said else msgspec.json.encode(error.body())
        return encode(b"", line)

    def take(self, events: Iterable[Event]) -> bytes:
        """Return what the caller gets for `events`."""
        out: list[bytes] = []
        for name, data in events:
            if self.ending is not None or self.error is not None:
                break
            if data[:6] == b"[DONE]":
                self._done(name)
            elif (piece := self._read(name, data)) is not None:
                out.append(piece)
        return b"".join(out)

    def _read(self, name: bytes, data: bytes) -> bytes | None:
        if b"\n" in data:
            data = _one_line(data)
        if self.seen is not None:
            self.seen(name, data)
        try:
            return self._interpret(name, data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if isinstance(error, msgspec.ValidationError) and is_json(data):
                if self.only_objects and data.lstrip()[:1] != b"{":
                    return None  # no client knows what to do with it
                self.begun = True
                return encode(name, data)  # JSON of another shape is not ours to judge
            if (halves := _HALF.findall(data)) and b"\\ufffe" not in data:
                return self._read_halves(name, data, halves)
            self.error = MalformedEvent("The provider sent an event that is not valid JSON.")
            return None

    def _read_halves(self, name: bytes, data: bytes, halves: list[bytes]) -> bytes | None:
        """Read JSON with halves of a character, which some providers send in one event each.

        The caller gets them as they came, and puts them together. What stands for them meanwhile
        is no character.
        """
        piece = self._read(name, without_halves(data))
        if piece is not None:
            for half in halves:
                piece = piece.replace(b"\\ufffe", half, 1)
        return piece

    def _interpret(self, name: bytes, data: bytes) -> bytes | None:
        """Learn from one event; return its bytes for the caller, None to keep it from them."""
        if b'"usage"' in data:
            self._learn_usage(_decode_opaque(data))
        self.begun = True
        if name == b"error" or data.startswith(b'{"error"'):
            data = self.mask(data)
        return encode(name, data.replace(b"\n", b"\ndata: "))  # text of several lines

    def _note(self, event: bytes, shown: bytes) -> None:
        """Expect more events like this one, if it has come whole and is plain."""
        if self._plain is not None and self._decoder.is_between:
            self._recurring.note(event, shown, self._plain)

    def _repeat(self, event: bytes, text: str) -> None:
        """Learn from an event that is like the one before, but for its text."""
        if self.seen is not None:
            self.seen(*decode(event))
        self._learn_text(text)

    def _learn_text(self, text: str) -> None:
        """Note a piece of output."""
        self.pieces += 1
        self.text += text.encode("utf-8", "replace")

    def _event_error(self, raw: bytes) -> UpstreamError:
        """Return the error that an event carries, classified like one with a status."""
        return classify(200, (), self.mask(raw), now=0.0)

    def _done(self, name: bytes) -> None:
        """Note a [DONE], in an event of this name."""
        self.ending = encode(name, b"[DONE]")

    def _conclude(self) -> None:
        """Decide what a clean close at this point means."""
        self.ending = b""

    def _learn_usage(self, holder: "Opaque") -> None:
        if is_given(holder.usage):
            self.reported = parse_usage(bytes(holder.usage), holder.service_tier) or self.reported


def is_given(raw: msgspec.Raw) -> bool:
    """Return whether a field is there and not null."""
    return raw is not NOTHING and bytes(raw) not in {b"", b"null"}


class Opaque(msgspec.Struct):
    """What is read of any event that may carry usage."""

    usage: msgspec.Raw = NOTHING
    service_tier: str | None = None


_decode_opaque = msgspec.json.Decoder(Opaque).decode


def _one_line(data: bytes) -> bytes:
    """Join JSON that was sent over several lines; a line end inside a string stays malformed."""
    return data.replace(b"\n", b" ") if is_json(data) else data


def without_halves(data: bytes) -> bytes:
    """Return JSON with U+FFFE, which is no character, in place of each half of one."""
    return _HALF.sub(rb"\\ufffe", data)


def is_json(data: bytes) -> bool:
    """Return whether `data` is JSON to its end; a typed decoder stops at the first wrong type."""
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
