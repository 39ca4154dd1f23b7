"""Which web pages may open WebSocket connections, and with what: browsers themselves forbid none.

A browser lets any page connect to anywhere, and tells in the Origin field where the page is from.
So what it asks before other calls (CORS) is judged here, by the same configuration.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from headworks.config.settings import CorsConfig
from headworks.core.client_tokens import is_token
from headworks.errors import CallerError
from headworks.types import Secret


class OriginNotAllowed(CallerError):
    """Pages from this origin may not call; `server.cors.origins` lists those that may."""

    status, code = 403, "origin_not_allowed"


class KeyInBrowser(CallerError):
    """A page sent an API key, which whoever sees the page can read. Send it a client token."""

    status, code = 403, "key_in_browser"


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages that may connect: those that the configuration names, and those of our own origin.

    Programs that are no browsers may name that origin too, without being asked.
    """

    config: CorsConfig | None = None

    def check(self, fields: Mapping[bytes, bytes], key: Secret | None) -> None:
        """Return if whoever sends these fields with this key may connect.

        Raises:
            OriginNotAllowed: It is a page that may not.
            KeyInBrowser: It is one that has a key where it should have a client token.
        """
        origin, config = fields.get(b"origin"), self.config
        if origin is None:
            return
        named = frozenset[str]() if config is None else config.origins
        is_named = bool(named & {"*", origin.decode("latin-1")})
        if not (is_named or _is_own(origin, fields.get(b"host", b""))):
            raise OriginNotAllowed
        if config is not None and not config.allows_keys and is_key(key):
            raise KeyInBrowser


def is_key(key: Secret | None) -> bool:
    """Return whether a page should not have it: it is there, and no client token."""
    return key is not None and bool(text := key.reveal()) and not is_token(text)


def _is_own(origin: bytes, host: bytes) -> bool:
    """Return whether a page is from the host that it connects to, by whichever scheme."""
    try:
        found = urlsplit(origin.decode("latin-1")).netloc
    except ValueError:
        return False
    return bool(found) and found.lower() == host.decode("latin-1").lower()
