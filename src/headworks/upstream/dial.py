"""Opens connections: by name, through a proxy where one is configured, with TLS where asked."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from typing_extensions import override

from headworks.errors import ConnectFailed
from headworks.upstream.connection import Connection
from headworks.upstream.names import addresses
from headworks.upstream.origin import Origin, Proxy, bracketed

_EMPTY_LINE = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Dialler:
    """Knows the way to one origin.

    Proxies named in the environment are not asked: only `proxy` is.
    """

    origin: Origin
    ssl_context: ssl.SSLContext | None
    proxy: Proxy | None
    head_bytes: int

    async def dial(self, connection: Connection) -> None:
        """Connect `connection`, or raise `ConnectFailed`."""
        try:
            if self.proxy is None:
                await self._dial_directly(connection)
            else:
                await self._dial_through(self.proxy, connection)
        except ssl.SSLCertVerificationError as error:
            raise ConnectFailed(
                f"The certificate of {self.origin} is not trusted: {error.verify_message}."
            ) from error
        except (OSError, ValueError) as error:
            raise ConnectFailed(f"{self.origin} cannot be reached: {error}.") from error

    async def _dial_directly(self, connection: Connection) -> None:
        host, context = self.origin.host, self.ssl_context
        options = {} if context is None else {"ssl": context, "server_hostname": host}
        await connect(lambda: connection, host, self.origin.port, **options)

    async def _dial_through(self, proxy: Proxy, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        tunnel = _Tunnel(self, loop.create_future())
        await connect(lambda: tunnel, proxy.host, proxy.port)
        try:
            transport = await tunnel.opened
            if self.ssl_context is None:
                transport.set_protocol(connection)
                connection.connection_made(transport)
                return
            secured = await loop.start_tls(
                transport, connection, self.ssl_context, server_hostname=self.origin.host
            )
        except BaseException:
            tunnel.close()
            raise
        if secured is None:
            raise ConnectFailed(f"The tunnel to {self.origin} closed while it was secured.")
        connection.connection_made(secured)

    def connect_request(self) -> bytes:
        """Return the request that asks the proxy for a tunnel."""
        target = f"{bracketed(self.origin.host)}:{self.origin.port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"host: {target}"]
        if self.proxy is not None and self.proxy.authorization is not None:
            value = self.proxy.authorization.reveal()
            if not value.isascii() or not value.isprintable():
                raise ConnectFailed("The proxy's authorization holds characters that no field may.")
            lines.append(f"proxy-authorization: {value}")
        return "\r\n".join(lines).encode("ascii") + _EMPTY_LINE


async def connect(
    protocol: Callable[[], asyncio.BaseProtocol], host: str, port: int, **options: Any
) -> asyncio.BaseTransport:
    """Connect to the first address of a host that takes the connection.

    Raises:
        OSError: None does; of several failures the last one. A server that is not who it should be
            is not looked for elsewhere.
    """
    loop = asyncio.get_running_loop()
    *others, last = await addresses(host, port)
    for address in others:
        try:
            return (await loop.create_connection(protocol, address, port, **options))[0]
        except ssl.SSLError:
            raise
        except OSError:
            continue
    return (await loop.create_connection(protocol, last, port, **options))[0]


class _Tunnel(asyncio.Protocol):
    """Waits for a proxy's answer to CONNECT, which must be 200 and nothing behind it."""

    def __init__(self, dialler: Dialler, opened: "asyncio.Future[asyncio.Transport]") -> None:
        self.opened = opened
        self._dialler = dialler
        self._transport: asyncio.Transport | None = None
        self._answer = b""

    def close(self) -> None:
        """Close at once; harmless when the tunnel has become a connection."""
        if self._transport is not None:
            self._transport.abort()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the tunnel."""
        self._transport = cast("asyncio.Transport", transport)
        try:
            self._transport.write(self._dialler.connect_request())
        except ConnectFailed as error:
            self._refuse(str(error))

    @override
    def data_received(self, data: bytes) -> None:
        """Take a part of the proxy's answer."""
        self._answer += data
        head, end, rest = self._answer.partition(_EMPTY_LINE)
        if len(head) > self._dialler.head_bytes:
            self._refuse("The proxy's answer to CONNECT is too large.")
        elif end:
            self._judge(head, rest)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Take the proxy's end of the connection."""
        self._refuse("The proxy closed the connection instead of opening a tunnel.")

    def _judge(self, head: bytes, rest: bytes) -> None:
        version, _, status = head.partition(b"\r\n")[0].partition(b" ")
        if not version.startswith(b"HTTP/1.") or not status[:3].isdigit():
            self._refuse("The proxy's answer to CONNECT is not HTTP.")
        elif status[:3] != b"200" or status[3:4].strip():
            self._refuse(f"The proxy refused the tunnel with {status[:3].decode()}.")
        elif rest:
            self._refuse("The proxy sent bytes of its own into the tunnel.")
        elif self._transport is not None and not self.opened.done():
            self.opened.set_result(self._transport)

    def _refuse(self, reason: str) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectFailed(reason))
        self.close()
