"""One caller and one provider in one thread, in lock-step: each piece leaves when the last arrived.

So what is between them does the same work in the same order each time, however slow it is and
whatever else the machine does.
"""

import socket
from types import TracebackType
from typing import IO, Protocol, Self

from steps_scenarios import Scenario

_PATIENCE = 60.0
_END = b"\r\n\r\n"


class Caller(Protocol):
    """Makes one call at a time."""

    def send(self, request: bytes) -> None:
        """Begin a call."""
        ...

    def wait(self, seen: bytes) -> None:
        """Return when so much of the answer is there."""
        ...

    def end(self) -> bytes:
        """Return the answer when it is whole."""
        ...


class Provider:
    """Takes the requests of a gateway that has one connection, and answers as it is told."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_PATIENCE)
        self.port: int = self._listener.getsockname()[1]
        self._peer: socket.socket | None = None

    def take(self) -> bytes:
        """Return the next request, whole; connections that are closed without one are let go."""
        while self._peer is None or not (got := self._peer.recv(65536)):
            self._peer, _ = self._listener.accept()
            self._peer.settimeout(_PATIENCE)
            self._peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return got + _rest_of_message(self._peer, got)

    def send(self, content: bytes) -> None:
        """Send a piece of the answer."""
        assert self._peer is not None  # noqa: S101 - somebody was taken a request of
        self._peer.sendall(content)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.close()
        if self._peer:
            self._peer.close()


class HttpCaller:
    """Calls a gateway over one connection."""

    def __init__(self, port: int) -> None:
        self._peer = socket.create_connection(("127.0.0.1", port), _PATIENCE)
        self._peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._got = b""

    def send(self, request: bytes) -> None:
        """Begin a call."""
        self._got = b""
        self._peer.sendall(request)

    def wait(self, seen: bytes) -> None:
        """Return when so much of the answer is there."""
        while seen not in self._got:
            self._more()

    def end(self) -> bytes:
        """Return the answer when it is whole."""
        while not _is_whole(self._got):
            self._more()
        return self._got

    def _more(self) -> None:
        got = self._peer.recv(1 << 20)
        if not got:
            raise SystemExit(f"the gateway hung up after {self._got[-300:]!r}")
        self._got += got


class InsideCaller:
    """Lets another process make calls: a line says that it shall, a line that it has."""

    def __init__(self, told: IO[bytes], tells: IO[bytes]) -> None:
        self._told, self._tells = told, tells

    def send(self, request: bytes) -> None:
        """Begin a call."""
        self._told.write(request + b"\n")
        self._told.flush()

    def wait(self, seen: bytes) -> None:
        """Return at once: only the end is seen from here."""

    def end(self) -> bytes:
        """Return the answer when it is whole."""
        return self._tells.readline()


def carry(scenario: Scenario, caller: Caller, provider: Provider) -> bytes:
    """Make one call, be its provider, and return the answer."""
    caller.send(scenario.request)
    if scenario.pieces:
        provider.take()
    for piece in scenario.pieces:
        provider.send(piece.content)
        caller.wait(piece.seen)
    return caller.end()


def check(scenario: Scenario, answer: bytes) -> None:
    """Return if the answer is what the provider said, or the refusal that was asked for.

    Raises:
        SystemExit: It is not: what such a call costs says nothing.
    """
    wanted = scenario.pieces[-1].seen if scenario.pieces else b"HTTP/1.1 401 "
    if wanted not in answer:
        raise SystemExit(f"{scenario.name}: a wrong answer, {answer[:500]!r}")


def _rest_of_message(peer: socket.socket, got: bytes) -> bytes:
    rest = b""
    while not _is_whole(got + rest):
        more = peer.recv(65536)
        if not more:
            raise SystemExit(f"a connection was closed after {(got + rest)[-300:]!r}")
        rest += more
    return rest


def _is_whole(message: bytes) -> bool:
    head, end, content = message.partition(_END)
    if not end:
        return False
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return len(content) >= int(value)
    return content.endswith(b"0" + _END)
