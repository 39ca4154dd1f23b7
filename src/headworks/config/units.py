"""How the configuration spells amounts: durations, sizes, money, dates, addresses.

Each reader takes a value as YAML gives it and returns what the engine works with, or raises
`ValueError` with a message that shows a right spelling and never the value itself.
"""

import ipaddress
import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from urllib.parse import SplitResult, urlsplit

from typing_extensions import override

from headworks.core.client_tokens import LONGEST as LONGEST_TOKEN
from headworks.core.durations import seconds

LONGEST = 30 * 86_400.0
"""No wait is longer than thirty days: beyond it stands a mistake, not a wish."""

NANO_PER_USD = 10**9
DEAREST = 1_000_000
"""US dollars per million tokens: beyond it stands a mistake, not a price."""
MOST_USD = 1_000_000_000
"""US dollars in a budget: beyond it stands a mistake, too."""

HIGHEST_PORT = 65_535
_LAST = 253_402_300_800
"""The end of the year 9999 in UTC: what is later no calendar spells."""
SQLITE = "sqlite:"
_MOST_TEXT = 64
_SIZES = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?) ?([kmg]?i?b|)", re.ASCII | re.IGNORECASE)
_DECIMAL = re.compile(r"\d{1,15}(?:\.\d{1,15})?", re.ASCII)
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9._-]{0,251}[a-z0-9_.])?", re.ASCII | re.IGNORECASE)
_ORIGIN = re.compile(
    r"([a-z][a-z0-9+.-]{0,31})://([^/?#@:\[\]]{1,253}|\[[0-9a-f:.]{2,45}\])(?::([0-9]{1,5}))?",
    re.ASCII | re.IGNORECASE,
)
_DEFAULT_PORTS = {("https", 443), ("http", 80)}
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
_PRINTABLE = re.compile(r"[\x21-\x5b\x5d-\x7e]+")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: a host name or IP address, and a port (0: any free one)."""

    host: str
    port: int

    @override
    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def pause(value: float | str) -> float:
    """Read a wait that may be nothing at all, as seconds: "0s", "500ms", "1m30s", 30."""
    read = seconds(value[:_MOST_TEXT]) if isinstance(value, str) else value
    if read is None:
        raise ValueError("not a duration; write a number and a unit, such as 500ms, 30s or 1m30s")
    if not 0 <= read <= LONGEST:
        raise ValueError("a duration lies between 0s and 720h")
    return float(read)


def duration(value: float | str) -> float:
    """Read a wait, as seconds above 0."""
    read = pause(value)
    if not read:
        raise ValueError("this duration must be longer than 0s")
    return read


def token_life(value: float | str) -> float:
    """Read how long a client token lives, as seconds above 0."""
    read = duration(value)
    if read > LONGEST_TOKEN:
        raise ValueError(f"client tokens live {LONGEST_TOKEN / 3600:g}h at most")
    return read


def origin(value: str) -> str:
    """Read where a web page comes from, as browsers spell it: `https://app.example.com`, or "*"."""
    if value == "*":
        return value
    found = _ORIGIN.fullmatch(value)
    port = int(found[3] or 0) if found else 0
    if not found or port > HIGHEST_PORT or not _is_host(found[2]):
        raise ValueError(
            "not an origin; write scheme, host and port alone, such as https://app.example.com or "
            "http://localhost:5173"
        )
    if (found[1].lower(), port) in _DEFAULT_PORTS:
        raise ValueError("browsers leave out this port; leave it out, too")
    return value.lower()


def lateness(value: float | str) -> float | None:
    """Read a wait after which an answer is late, as seconds above 0; None is "p95"."""
    if value == "p95":
        return None
    try:
        return duration(value)
    except ValueError as error:
        raise ValueError(f"{error}; or write p95") from None


def size(value: int | str) -> int:
    """Read a size, as bytes: "20MB" is 20,000,000, "20MiB" is 20,971,520, 4096 is itself."""
    if isinstance(value, str):
        found = _SIZE.fullmatch(value)
        if not found or found[2].lower() not in _SIZES:
            raise ValueError("not a size; write a number and a unit, such as 512KB, 20MB or 1GiB")
        value = int(Decimal(found[1]) * _SIZES[found[2].lower()])
    if not 1 <= value <= 2**40:
        raise ValueError("a size lies between 1B and 1024GiB")
    return value


def rate(value: float | str) -> int:
    """Read US dollars per million tokens, as whole nano-dollars per million tokens."""
    text = value if isinstance(value, str) else format(Decimal(str(value)), "f")
    if not _DECIMAL.fullmatch(text):
        raise ValueError("not a price; write US dollars per million tokens, such as 1.25")
    nano = Decimal(text) * NANO_PER_USD
    if nano != int(nano):
        raise ValueError("a price has at most 9 decimal places")
    if nano > DEAREST * NANO_PER_USD:
        raise ValueError(f"a price is at most {DEAREST} US dollars per million tokens")
    return int(nano)


def usd(value: float | str) -> int:
    """Read US dollars, as whole nano-dollars above 0."""
    text = value if isinstance(value, str) else format(Decimal(str(value)), "f")
    if not _DECIMAL.fullmatch(text):
        raise ValueError("not an amount; write US dollars, such as 250.00")
    nano = Decimal(text) * NANO_PER_USD
    if nano != int(nano) or not 0 < nano <= MOST_USD * NANO_PER_USD:
        raise ValueError(f"an amount is above 0, at most {MOST_USD} and has at most 9 decimals")
    return int(nano)


def time_zone(value: str) -> tzinfo:
    """Read the name of a time zone."""
    if value == "UTC":  # known wherever there is no database of them
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(value)
    except (KeyError, OSError, ValueError):
        raise ValueError(
            "no time zone of this name is known here; write one such as Europe/Berlin, and install "
            "tzdata where none is known"
        ) from None


def moment(value: str) -> float:
    """Read an ISO 8601 date or date and time, as seconds since 1970; UTC unless it says otherwise."""
    try:
        read = datetime.fromisoformat(value)
        found = read.replace(tzinfo=read.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(
            "not a date; write it as 2027-01-31 or 2027-01-31T18:00:00+01:00"
        ) from None
    if not 0 <= found < _LAST:
        raise ValueError("a date lies between 1970 and 9999")
    return found


def address(value: str) -> Address:
    """Read "host:port"; IPv6 addresses stand in brackets."""
    host, colon, port = value.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > HIGHEST_PORT:
        raise ValueError("not an address; write host:port, such as 127.0.0.1:4000")
    if not (is_ip(host) and ":" in host if bracketed else _HOST.fullmatch(host)):
        raise ValueError("not an address; write host:port, such as 127.0.0.1:4000 or [::1]:4000")
    return Address(host, int(port))


def store(value: str) -> str:
    """Read "sqlite:FILE", as the file's path."""
    if not value.startswith(SQLITE):
        raise ValueError(
            "this store is not available in this version of headworks; write sqlite:FILE"
        )
    path = value.removeprefix(SQLITE)
    if not path or path.startswith("//") or "\0" in path:
        raise ValueError("write sqlite:FILE, such as sqlite:headworks.db")
    return path


def coordination(value: str) -> str:
    """Read "local", the one kind there is."""
    if value != "local":
        raise ValueError("only local coordination is available in this version of headworks")
    return value


def token(value: str) -> str:
    """Read a value that is sent in a header: visible ASCII characters without spaces."""
    if not value:
        raise ValueError("is empty")
    if not _TOKEN.fullmatch(value):
        raise ValueError("holds a space, a line break or a character that is not ASCII")
    return value


def base_url(value: str) -> str:
    """Read an upstream's address, without a slash at its end.

    Whoever can write it decides where credentials go, so that everything unusual is refused:
    userinfo, query, fragment, control characters, backslashes and encoded host names.
    """
    parts = _url(value)
    if parts.scheme not in {"https", "http"}:
        raise ValueError("must begin with https://")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or password; put the key under credentials")
    if "?" in value or "#" in value:
        raise ValueError("must not hold a query or fragment")
    if any(part in {".", ".."} for part in parts.path.split("/")):
        raise ValueError("must not hold . or .. as a part of its path")
    return value.rstrip("/")


def proxy(value: str) -> str:
    """Read the address of an HTTP proxy that knows CONNECT: http://[user:password@]host:port."""
    parts = _url(value)
    if parts.scheme != "http" or parts.port is None or parts.path not in {"", "/"}:
        raise ValueError("not a proxy; write http://host:port or http://user:password@host:port")
    if "?" in value or "#" in value:
        raise ValueError("a proxy has no query or fragment; encode these signs in a password")
    return value.rstrip("/")


def is_loopback(url: str) -> bool:
    """Whether the address of an upstream is on this machine."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return host == "localhost" or (is_ip(host) and ipaddress.ip_address(host).is_loopback)


def is_ip(host: str) -> bool:
    """Whether the text is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def is_wildcard(host: str) -> bool:
    """Whether listening here takes the port on every address of the machine."""
    return is_ip(host) and ipaddress.ip_address(host).is_unspecified


def _is_host(host: str) -> bool:
    bare = host[1:-1] if host.startswith("[") else host
    return is_ip(bare) or bool(_HOST.fullmatch(host))


def _url(value: str) -> SplitResult:
    if not _PRINTABLE.fullmatch(value):
        raise ValueError("holds a space, a control character, a backslash or non-ASCII text")
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if not (is_ip(host) or _HOST.fullmatch(host)) or port == 0:
        raise ValueError("has no valid host name or port")
    return parts
