"""The upstream's end of a WebSocket connection (RFC 6455): its handshake, and its frames.

The handshake goes through the HTTP client like any request. Behind a 101 the answer has no end but
the connection's, and its bytes are frames. No extension is offered: audio in base64 gains little by
compression, and each connection would hold two windows of it.
"""

from collections import deque
from contextlib import suppress

from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side
from websockets.utils import accept_key, generate_key

from headworks.errors import CallError, MalformedResponse, StreamTruncated, UpstreamError
from headworks.ports import Close, UpstreamResponse
from headworks.types import Headers, SocketRules
from headworks.upstream.response import HttpResponse

_SWITCHING = 101
_FAREWELL = 0.5
"""Seconds to wait for the other side's farewell."""
_LOST = Close(1006)
_INVALID, _TOO_BIG, _TOO_BIG_A_WORD = 1007, 1009, 123
"""Text that is none, a message that is too big (RFC 6455, section 7.4.1); the bytes of a reason
(section 5.5)."""
_MOST_PIECES = 4096
"""Frames that one message may come in."""


class Handshake:
    """One opening handshake: what is sent, and whether the answer fits it."""

    def __init__(self) -> None:
        self._key = generate_key()

    def fields(self) -> Headers:
        """Return the fields that ask for the connection."""
        return (
            (b"connection", b"Upgrade"),
            (b"upgrade", b"websocket"),
            (b"sec-websocket-version", b"13"),
            (b"sec-websocket-key", self._key.encode()),
        )

    def check(self, response: HttpResponse, offered: Headers) -> None:
        """Return if the answer opens the connection as it was asked for (section 4.1).

        Raises:
            MalformedResponse: It does not.
        """
        told = dict(response.headers)
        tokens = {one.strip().lower() for one in told.get(b"connection", b"").split(b",")}
        accepted = told.get(b"sec-websocket-accept", b"").strip()
        protocols = {one.strip() for one in dict(offered).get(_PROTOCOL, b"").split(b",")}
        is_well = (
            response.status == _SWITCHING
            and told.get(b"upgrade", b"").strip().lower() == b"websocket"
            and b"upgrade" in tokens
            and accepted == accept_key(self._key).encode()
            and b"sec-websocket-extensions" not in told
            and (_PROTOCOL not in told or told[_PROTOCOL].strip() in protocols - {b""})
        )
        if not is_well:
            raise MalformedResponse(
                f"The provider's answer ({response.status}) does not open a WebSocket connection."
            )


_PROTOCOL = b"sec-websocket-protocol"


def peer_of(response: UpstreamResponse, rules: SocketRules) -> "UpstreamPeer":
    """Return the upstream's end of the connection that a response has opened."""
    if not isinstance(response, HttpResponse):
        raise TypeError("only what the HTTP client has opened is a connection")
    return UpstreamPeer(response, rules)


class UpstreamPeer:
    """Sends and takes messages; fulfils `ports.Peer`."""

    def __init__(self, response: HttpResponse, rules: SocketRules) -> None:
        self._response, self._chunks = response, response.chunks()
        self._protocol = Protocol(Side.CLIENT, state=OPEN, max_size=rules.most)
        self._inbox: deque[str | bytes] = deque()
        self._parts: list[bytes] = []
        self._late: list[bytes] = []
        self._is_text = self._is_over = self._is_receiving = False
        response.last(rules.longest + rules.write)

    async def receive(self) -> str | bytes | Close:
        """Return the next message, or how the connection has ended."""
        while not self._inbox:
            if self._is_over:
                said = self._protocol.close_rcvd
                return _LOST if said is None else Close(said.code, said.reason)
            await self._read()
        return self._inbox.popleft()

    async def send(self, message: str | bytes) -> None:
        """Send a message, and wait until it has left."""
        with suppress(InvalidState):
            if isinstance(message, str):
                self._protocol.send_text(message.encode())
            else:
                self._protocol.send_binary(message)
        self._write()
        await self._response.wait_written()

    async def close(self, how: Close) -> None:
        """Say farewell, wait for the other side's for a moment, and close."""
        if not self._is_over:
            with suppress(InvalidState):
                reason = how.reason.encode()[:_TOO_BIG_A_WORD].decode("utf-8", "ignore")
                self._protocol.send_close(how.code, reason)
            self._write()
            self._response.hurry(_FAREWELL)
            while not self._is_over:
                await self._read()
        await self._response.aclose()

    async def _read(self) -> None:
        """Take what comes next from the network: frames, or its end."""
        try:
            chunk = await anext(self._chunks, None)
        except (UpstreamError, CallError):
            chunk = None
        if chunk is None:
            self._is_over = True
            return
        self._protocol.receive_data(chunk)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take(event)
        if self._protocol.parser_exc is not None or self._protocol.close_rcvd is not None:
            self._is_over = True
        self._reply()

    def _take(self, frame: Frame) -> None:
        if self._is_over or frame.opcode not in _PAYLOAD:
            return  # pings are answered, farewells noted
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        self._parts.append(bytes(frame.data))
        if len(self._parts) > _MOST_PIECES:
            self._protocol.fail(_TOO_BIG, "a message in too many pieces")
            self._is_over = True
        elif frame.fin:
            whole, self._parts = b"".join(self._parts), []
            self._deliver(self._response.masked(whole))

    def _deliver(self, message: bytes) -> None:
        try:
            self._inbox.append(message.decode() if self._is_text else message)
        except UnicodeDecodeError:
            self._protocol.fail(_INVALID, "text that is none")
            self._is_over = True

    def _reply(self) -> None:
        """Answer what has come: pings, a farewell.

        Where nothing leaves, the last answer alone waits (RFC 6455, section 5.5.3): a provider that
        pings and never reads would fill our memory.
        """
        if self._response.has_unsent:
            self._late = [*self._late, *filter(None, self._protocol.data_to_send())][-1:]
        else:
            self._write()

    def _write(self) -> None:
        data = b"".join([*self._late, *self._protocol.data_to_send()])
        self._late = []
        if data:
            with suppress(StreamTruncated):
                self._response.write(data)


_PAYLOAD = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})
