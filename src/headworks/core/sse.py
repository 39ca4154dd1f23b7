"""Server-sent events, sans-IO: feed bytes, take events.

Lines end in CR, LF or CRLF and nowhere else (text such as U+2028 is data), a read may end
anywhere, one leading byte order mark is ignored, comments and `id:`/`retry:` fields carry no
event (WHATWG HTML §9.2.6). Every buffered byte is searched once, so cost is linear.

What is fed in pieces is read as if it had come at once: the same events, and the same end where
one of them is too large.
"""

from headworks.errors import MalformedEvent

MOST_EVENT = 1_000_000
"""Bytes of one event, where nothing else is said; an endless line must not fill the memory."""

KEEP_ALIVE = b": keepalive\n\n"
"""A comment: it tells the machines between us and the caller that the stream lives."""

_BOM = b"\xef\xbb\xbf"
_END = b"\n\n"

Event = tuple[bytes, bytes]
"""An event's type (b"" when unnamed) and its data on one or more lines."""


class SSEDecoder:
    """Cuts a byte stream into events, however the bytes were split."""

    __slots__ = ("_after_cr", "_begun", "_bound", "_buffer", "_most", "_searched")

    def __init__(self, most: int = MOST_EVENT) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._after_cr = False
        self._begun = False
        self._most = self._bound = most

    @property
    def is_between(self) -> bool:
        """Whether the bytes so far end with an event, so that what comes next begins one."""
        return self._begun and not (self._buffer or self._after_cr)

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that `chunk` completes.

        Raises:
            MalformedEvent: An event is larger than it may be; those before it were returned.
        """
        if self._after_cr or b"\r" in chunk:
            chunk = self._with_lf(chunk)
        buffer = self._buffer
        if self._begun and not buffer and chunk.endswith(_END) and len(chunk) <= self._bound:
            blocks = chunk[:-2].split(_END)  # whole events, as most chunks are
            return [event for block in blocks if (event := _event(block)) is not None]
        buffer += chunk
        if not self._begun and not self._start():
            return []
        if len(buffer) > self._bound:
            return self._bounded()
        end = buffer.rfind(_END, max(0, self._searched - 1))
        self._searched = len(buffer)
        if end < 0:
            return []
        blocks = bytes(buffer[:end]).split(_END)
        del buffer[: end + 2]
        self._searched = len(buffer)
        return [event for block in blocks if (event := _event(block)) is not None]

    def flush(self) -> list[Event]:
        """Return the last event when the stream ended without its blank line; raises as `feed`."""
        events = self._bounded() if len(self._buffer) > self._bound else []
        block, self._buffer = bytes(self._buffer), bytearray()
        event = _event(block)
        return events if event is None else [*events, event]

    def _bounded(self) -> list[Event]:
        """Return the events of a full buffer, up to the first that is too large.

        Nothing behind that is read: this call raises if it has no events to return, else the next.
        """
        blocks = bytes(self._buffer).split(_END)
        sizes = (len(block.strip(b"\n")) for block in blocks)
        refused = next((at for at, size in enumerate(sizes) if size > self._bound), None)
        if refused is None:
            rest = blocks.pop()
        else:
            blocks, rest, self._bound = blocks[:refused], b"", -1
        self._buffer, self._searched = bytearray(rest), len(rest)
        events = [event for block in blocks if (event := _event(block)) is not None]
        if refused is not None and not events:
            raise MalformedEvent(f"The provider sent an event of over {self._most:,} bytes.")
        return events

    def _with_lf(self, chunk: bytes) -> bytes:
        if self._after_cr and chunk[:1] == b"\n":
            chunk = chunk[1:]
            self._after_cr = False
        if chunk:
            self._after_cr = chunk[-1:] == b"\r"
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _start(self) -> bool:
        """Drop a byte order mark, once enough bytes are there to know."""
        head = bytes(self._buffer[:3])
        if len(head) < len(_BOM) and _BOM.startswith(head):
            return False
        if head == _BOM:
            del self._buffer[:3]
        self._begun = True
        return True


def _event(block: bytes) -> Event | None:
    if block.startswith(b"data: ") and b"\n" not in block:
        return (b"", block[6:]) if len(block) > len(b"data: ") else None
    name = b""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    joined = b"\n".join(data)
    return (name, joined) if joined else None


def encode(name: bytes, data: bytes) -> bytes:
    """Return the wire form that every official client reads; `data` holds no line ends."""
    if name:
        return b"event: " + name + b"\ndata: " + data + b"\n\n"
    return b"data: " + data + b"\n\n"


def decode(event: bytes) -> Event:
    """Return what `encode` has made an event of."""
    head, _, data = event[: -len(_END)].partition(b"data: ")
    return head[len(b"event: ") : -1], data
