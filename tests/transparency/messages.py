"""HTTP messages as they stand on the wire."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Message:
    """A request or an answer: its first line, its fields with names in lower case, its body."""

    line: str
    fields: Fields
    body: bytes

    @property
    def status(self) -> int:
        return int(self.line.split(" ")[1])

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    def values(self) -> dict[str, list[str]]:
        """Return the fields by name, each with its values in order."""
        found = defaultdict(list)
        for name, value in self.fields:
            found[name].append(value)
        return dict(found)


async def read_message(reader: asyncio.StreamReader) -> Message:
    """Read one message with a length or in chunks; without either it has no body."""
    line, fields = parse_head(await reader.readuntil(b"\r\n\r\n"))
    told = dict(fields)
    if told.get("transfer-encoding") == "chunked":
        body = await _chunks(reader)
    else:
        body = await reader.readexactly(int(told.get("content-length", "0")))
    return Message(line, fields, body)


def parse_head(head: bytes) -> tuple[str, Fields]:
    """Return the first line and the fields of a head."""
    line, *lines = head.decode("latin-1").split("\r\n")[:-2]
    pairs = (one.partition(":") for one in lines)
    return line, tuple((name.lower(), value.strip(" ")) for name, _, value in pairs)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body


def write(line: str, fields: Fields, body: bytes | None, *, chunks: int = 0) -> bytes:
    """Return a message's bytes, its body with a length or in so many chunks; None has neither."""
    if body is None:
        framing, framed = "", b""
    elif chunks:
        framing, framed = "Transfer-Encoding: chunked\r\n", _chunked(body, chunks)
    else:
        framing, framed = f"Content-Length: {len(body)}\r\n", body
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"{line}\r\n{head}{framing}\r\n".encode("latin-1") + framed


def _chunked(body: bytes, count: int) -> bytes:
    size = max(1, -(-len(body) // count))
    parts = (body[n : n + size] for n in range(0, len(body), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
