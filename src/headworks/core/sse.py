"""Server-sent events, sans-IO: feed bytes, take events.

Lines end in CR, LF or CRLF and nowhere else (text such as U+2028 is data), a read may end
anywhere, one leading byte order mark is ignored, comments and `id:`/`retry:` fields carry no
event (WHATWG HTML §9.2.6). Every buffered byte is searched once, so cost is linear.
"""

from headworks.errors import MalformedEvent

MOST_EVENT = 8 * 1024 * 1024
"""Bytes of one event; an endless line must not fill the memory. Images come as large events."""

_BOM = b"\xef\xbb\xbf"

Event = tuple[bytes, bytes]
"""An event's type (b"" when unnamed) and its data on one or more lines."""


class SSEDecoder:
    """Cuts a byte stream into events, however the bytes were split."""

    __slots__ = ("_after_cr", "_begun", "_buffer", "_most", "_searched")

    def __init__(self, most: int = MOST_EVENT) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._after_cr = False
        self._begun = False
        self._most = most

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that `chunk` completes.

        Raises:
            MalformedEvent: An event grew beyond the limit.
        """
        if self._after_cr or b"\r" in chunk:
            chunk = self._with_lf(chunk)
        buffer = self._buffer
        buffer += chunk
        if not self._begun and not self._start():
            return []
        end = buffer.rfind(b"\n\n", max(0, self._searched - 1))
        self._searched = len(buffer)
        if end < 0:
            if len(buffer) > self._most:
                self._buffer, self._searched = bytearray(), 0
                raise MalformedEvent(f"The provider sent an event of over {self._most:,} bytes.")
            return []
        blocks = bytes(buffer[:end]).split(b"\n\n")
        del buffer[: end + 2]
        self._searched = len(buffer)
        return [event for block in blocks if (event := _event(block)) is not None]

    def flush(self) -> list[Event]:
        """Return the last event when the stream ended without its blank line."""
        block, self._buffer = bytes(self._buffer), bytearray()
        event = _event(block)
        return [] if event is None else [event]

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
