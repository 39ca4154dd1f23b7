"""Where requests go: origins, proxies, and the head of a request that no caller can split."""

import re
import ssl
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from typing_extensions import override

from headworks.core.memo import remembered
from headworks.core.wire import message_head
from headworks.types import Headers, Secret

__all__ = ["CHUNKED", "ClientLimits", "Origin", "Proxy", "request_head", "tls_context"]

CHUNKED = -1
"""The length of a body that nobody has told."""

_PORTS = {"http": 80, "https": 443}
_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]")
_FRAMING = frozenset({b"host", b"content-length", b"transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Origin:
    """One server: where connections go, and what its certificate must name."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> tuple["Origin", str]:
        """Return the origin of a base URL, and its path without the last slash.

        Raises:
            ValueError: The URL is not a plain http(s) address; the message says what to write.
        """
        if _NOT_PRINTABLE.search(url):
            raise ValueError("The URL holds a space, a control or a non-ASCII character: remove it")
        parts = urlsplit(url)
        if parts.scheme not in _PORTS:
            raise ValueError("The URL must begin with https:// or http://")
        if "@" in parts.netloc:
            raise ValueError(
                "The URL holds a user name or password: give credentials apart from it"
            )
        if "?" in url or "#" in url or "\\" in url:
            raise ValueError("The URL must end with its path: remove what begins with ?, # or \\")
        return cls(parts.scheme, *_address(parts)), parts.path.rstrip("/")

    @property
    def is_secure(self) -> bool:
        """Whether connections are encrypted."""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """Host and, unless it is the scheme's own, port: the Host field of a request."""
        host = bracketed(self.host)
        return host if _PORTS.get(self.scheme) == self.port else f"{host}:{self.port}"

    @override
    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that tunnels by CONNECT.

    Attributes:
        authorization: The whole value of Proxy-Authorization, None when the proxy asks for none.
    """

    host: str
    port: int
    authorization: Secret | None = None


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """What one client may hold, and what one answer may cost.

    Attributes:
        connections: Open at once, in any state.
        idle: Kept open after their answers and their rest; 0 keeps none.
        idle_seconds: A connection idle for longer is closed: sooner than most servers would.
        quiet_seconds: A connection rests this long before it serves again, while another may be
            opened instead: bytes that a faulty server sends late find nobody waiting.
        resting: So many connections may rest at once; with more, the longest-resting one serves.
        distrust_seconds: How long no connection is kept after a server sent bytes unasked.
        head_bytes: Of one response head, or of the answer to CONNECT.
        head_fields: Of one response head; trailers count likewise.
        informational: 1xx answers before the real one.
    """

    connections: int = 10_000
    idle: int = 256
    idle_seconds: float = 50.0
    quiet_seconds: float = 0.15
    resting: int = 256
    distrust_seconds: float = 60.0
    head_bytes: int = 65_536
    head_fields: int = 200
    informational: int = 8


def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """Return a context that verifies servers, by the system's authorities or those of a file."""
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


def request_head(
    method: str, target: str, host: str, headers: Headers, content_length: int | None
) -> bytes:
    """Return a request's head with its last empty line; `content_length` None sends no length.

    `CHUNKED` in its place says that the body comes in chunks.

    Raises:
        ValueError: As `open_head`.
    """
    return open_head(method, target, host, headers) + end_of_head(content_length)


def open_head(method: str, target: str, host: str, headers: Headers) -> bytes:
    """Return a request's head without what it says of its body's length.

    Raises:
        ValueError: A part could end its line early, or `headers` holds a field that frames the
            message: Host, Content-Length and Transfer-Encoding come from here alone.
    """
    if " " in method or " " in target or not (method and target):
        raise ValueError("A method and a target are not empty and hold no space")
    for name, _ in headers:
        if not _may_be_carried(name):
            raise ValueError(f"{name!r} is not a field that a request may carry here")
    lines = [f"{method} {target} HTTP/1.1".encode("ascii"), b"host: " + host.encode("ascii")]
    lines += map(b": ".join, headers)
    return message_head(lines)[:-2]


def end_of_head(content_length: int | None) -> bytes:
    """Return what is missing of a head, with its last empty line; the argument as `request_head`."""
    if content_length is None:
        return b"\r\n"
    if content_length == CHUNKED:
        return b"transfer-encoding: chunked\r\n\r\n"
    return b"content-length: %d\r\n\r\n" % content_length


@remembered
def _may_be_carried(name: bytes) -> bool:
    return not (name.lower() in _FRAMING or not name or b":" in name or b" " in name)


def bracketed(host: str) -> str:
    """Return a host as it stands before a port: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def _address(parts: SplitResult) -> tuple[str, int]:
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"The URL's port is not valid: {error}") from error
    if not host or port == 0 or parts.netloc.endswith(":"):
        raise ValueError("The URL must name a host, and a port above 0 after a colon")
    return host, port or _PORTS[parts.scheme]
