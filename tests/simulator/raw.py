"""A client that speaks bytes: it shows what really came over the connection."""

import json
import re
import socket
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

KEY = b"authorization: Bearer sk-simulator\r\n"


@dataclass
class Seen:
    """What came: the bytes, and how it ended (`fin`, `rst` or `silence`)."""

    data: bytes = b""
    end: str = "silence"
    packets: list[bytes] = field(default_factory=list[bytes])

    @property
    def head(self) -> bytes:
        """The first head."""
        return self.data.partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        """All behind the first head."""
        return self.data.partition(b"\r\n\r\n")[2]

    @property
    def content(self) -> bytes:
        """The body without the framing of its chunks, as far as these are right."""
        if b"transfer-encoding: chunked" not in self.head:
            return self.body
        content, rest = b"", self.body
        while rest:
            size, found, rest = rest.partition(b"\r\n")
            try:
                length = int(size, 16)
            except ValueError:
                return content
            if not found or not length:
                return content
            content, rest = content + rest[:length], rest[length + 2 :]
        return content


def request(fields: Any, path: str = "/v1/chat/completions", **headers: str) -> bytes:
    """Return the bytes of a request."""
    body = msgspec.json.encode(fields)
    lines = b"".join(
        f"{name.replace('_', '-')}: {value}\r\n".encode() for name, value in headers.items()
    )
    head = (
        b"POST %b HTTP/1.1\r\nhost: simulator\r\ncontent-type: application/json\r\n" % path.encode()
    )
    return b"%b%b%bcontent-length: %d\r\n\r\n%b" % (head, KEY, lines, len(body), body)


def connect(base_url: str) -> socket.socket:
    """Return a new connection to a simulator."""
    host, port = base_url.removeprefix("http://").removesuffix("/v1").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def exchange(base_url: str, *sent: bytes, timeout: float = 5.0, settle: float = 0.03) -> Seen:
    """Send bytes and return what comes, until the other side ends it or is silent.

    `timeout` is how long silence may last within an answer, `settle` after a whole one.
    """
    try:
        wire = connect(base_url)
    except ConnectionResetError:  # so soon that to connect fails by it
        return Seen(end="rst")
    with wire:
        return converse(wire, *sent, timeout=timeout, settle=settle)


def converse(wire: socket.socket, *sent: bytes, timeout: float = 5.0, settle: float = 0.03) -> Seen:
    """Send bytes on a connection and return what comes."""
    seen = Seen()
    try:
        for part in sent:
            wire.sendall(part)
        wire.settimeout(timeout)
        while True:
            data = wire.recv(1 << 20)
            if not data:
                seen.end = "fin"
                return seen
            seen.data += data
            seen.packets.append(data)
            wire.settimeout(settle if is_whole(seen.data) else timeout)
    except TimeoutError:
        return seen
    except OSError:
        seen.end = "rst"
        return seen


def is_whole(data: bytes) -> bool:
    """Return whether nothing but whole answers has come."""
    while data:
        head, found, data = data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if not found:
            return False
        if b"transfer-encoding: chunked" in head:
            _, found, data = data.partition(b"\r\n0\r\n\r\n")
            if not found:
                return False
        elif length is not None:
            if len(data) < int(length[1]):
                return False
            data = data[int(length[1]) :]
        elif not re.match(rb"HTTP/1.1 (1\d\d|204|304) ", head):
            return False
    return True


CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
HELLO = [{"role": "user", "content": "Hello"}]
FIELDS: dict[str, dict[str, Any]] = {
    CHAT: {"model": "gpt-4o", "messages": HELLO, "max_tokens": 8},
    RESPONSES: {"model": "gpt-4o", "input": "Hello", "max_output_tokens": 16},
}
ENDPOINTS = pytest.mark.parametrize("path", [CHAT, RESPONSES])


def visit(simulator, fault, path=CHAT, *, stream=True, timeout=5.0, **more) -> Seen:
    """Send one request that meets `fault`, as the first of all."""
    assert simulator.wait_settled()
    simulator.reset()
    fields = FIELDS[path] | {"stream": stream} | more
    return exchange(
        simulator.base_url, request(fields, path, x_simulator_fault=fault), timeout=timeout
    )


def objects(content: bytes) -> list[Any]:
    """Return the JSON of the events of a stream."""
    found = re.findall(rb"^data: (\{.*)$", content, re.MULTILINE)
    return [json.loads(each) for each in found]
