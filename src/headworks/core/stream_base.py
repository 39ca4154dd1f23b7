"""What a stream of answers means, while it passes: its text, its usage, and whether it ended well.

One reader a dialect. Bytes go in, events for the caller come out; what was learned stands in the
reader's fields. A reader never raises: a fault stands in `error`, and the events before it still
go out. The last event (`ending`) is handed over apart, because the ledger settles before it.
"""

from collections.abc import Callable, Iterable

import msgspec

from headworks.core.classify import classify
from headworks.core.pricing import parse_usage
from headworks.core.sse import Event, SSEDecoder, encode
from headworks.errors import CallError, MalformedEvent, UpstreamError
from headworks.types import Usage

DONE = b"data: [DONE]\n\n"
NOTHING = msgspec.Raw(b"")
"""A field that is not there."""

Reported = tuple[Usage, tuple[str, ...]]


class Stream:
    """Events of a dialect that we do not know: relayed as they are, ended by their end.

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
    """

    def __init__(self) -> None:
        self.reported: Reported | None = None
        self.pieces = 0
        self.text = bytearray()
        self.ending: bytes | None = None
        self.error: UpstreamError | None = None
        self.begun = self.filtered = self.is_said = False
        self.failure: UpstreamError | None = None
        self.mask: Callable[[bytes], bytes] = bytes
        self.seen: Callable[[bytes, bytes], None] | None = None
        self._decoder = SSEDecoder()

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be read."""
        return self.ending is not None or self.error is not None

    def feed(self, chunk: bytes) -> bytes:
        """Return what the caller gets for `chunk`."""
        try:
            return self.take(self._decoder.feed(chunk))
        except UpstreamError as error:
            self.error = error
            return b""

    def finish(self) -> bytes:
        """Note that the provider's bytes are over; return what the caller still gets."""
        out = b"" if self.is_over else self.take(self._decoder.flush())
        if not self.is_over:
            self._conclude()
        return out

    def encode_error(self, error: CallError) -> bytes:
        """Return the events that tell the caller of `error`."""
        return encode(b"", msgspec.json.encode(error.body()))

    def take(self, events: Iterable[Event]) -> bytes:
        """Return what the caller gets for `events`."""
        out: list[bytes] = []
        for name, data in events:
            if self.is_over:
                break
            if data[:6] == b"[DONE]":
                self._done()
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
                self.begun = True
                return encode(name, data)  # JSON of another shape is not ours to judge
            self.error = MalformedEvent("The provider sent an event that is not valid JSON.")
            return None

    def _interpret(self, name: bytes, data: bytes) -> bytes | None:
        """Learn from one event; return its bytes for the caller, None to keep it from them."""
        if b'"usage"' in data:
            self._learn_usage(_decode_opaque(data))
        self.begun = True
        if name == b"error" or data.startswith(b'{"error"'):
            data = self.mask(data)
        return encode(name, data)

    def _event_error(self, raw: bytes) -> UpstreamError:
        """Return the error that an event carries, classified like one with a status."""
        return classify(200, (), self.mask(raw), now=0.0)

    def _done(self) -> None:
        """Note a [DONE]."""
        self.ending = DONE

    def _conclude(self) -> None:
        """Decide what a clean close at this point means."""
        self.ending = b""

    def _learn_usage(self, holder: "Opaque") -> None:
        if is_given(holder.usage):
            self.reported = parse_usage(bytes(holder.usage), holder.service_tier) or self.reported


def is_given(raw: msgspec.Raw) -> bool:
    """Return whether a field is there and not null."""
    value = bytes(raw)
    return value not in {b"", b"null"}


class Opaque(msgspec.Struct):
    """What is read of any event that may carry usage."""

    usage: msgspec.Raw = NOTHING
    service_tier: str | None = None


_decode_opaque = msgspec.json.Decoder(Opaque).decode


def _one_line(data: bytes) -> bytes:
    """Join JSON that was sent over several lines; a line end inside a string stays malformed."""
    return data.replace(b"\n", b" ") if is_json(data) else data


def is_json(data: bytes) -> bool:
    """Return whether `data` is JSON to its end; a typed decoder stops at the first wrong type."""
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
