"""Official clients whose requests are carried in this process."""

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from headworks.inprocess.carriage import Access

if TYPE_CHECKING:
    import openai as _openai

BASE_URL = "http://headworks.internal/v1"
"""Where the clients believe the API to be; no connection is ever made."""

NO_SOCKETS = "in-process://has-no-websocket-connections-use-a-gateway"
"""Where they would look for WebSocket connections: an address that they refuse, and show."""

_HTTPX2_SINCE = 3
"""The major version of `openai` that moved from httpx to httpx2."""


def sync_client(access: Access, options: Mapping[str, Any]) -> "_openai.OpenAI":
    """Return an official client whose calls go where `access` leads.

    Raises:
        ImportError: The `openai` package is not installed.
        TypeError: `options` would lead elsewhere.
    """
    library = _official()
    transport = _transports(library).SyncTransport(access)
    client = _client_type(library, "")(transport=transport)
    ready: _openai.OpenAI = library.OpenAI(**_options(options, client))
    ready.websocket_base_url = NO_SOCKETS
    return ready


def async_client(access: Access, options: Mapping[str, Any]) -> "_openai.AsyncOpenAI":
    """Return an official asynchronous client; like `sync_client`, for any asyncio loop."""
    library = _official()
    transport = _transports(library).AsyncTransport(access)
    client = _client_type(library, "Async")(transport=transport)
    ready: _openai.AsyncOpenAI = library.AsyncOpenAI(**_options(options, client))
    ready.websocket_base_url = NO_SOCKETS
    return ready


def _official() -> ModuleType:
    try:
        return importlib.import_module("openai")
    except ImportError as missing:
        raise ImportError(
            "The official client is not installed: pip install 'headworks[client]'"
        ) from missing


def _uses_httpx2(library: ModuleType) -> bool:
    return int(library.VERSION.partition(".")[0]) >= _HTTPX2_SINCE


def _transports(library: ModuleType) -> ModuleType:
    name = "httpx2_transport" if _uses_httpx2(library) else "httpx_transport"
    return importlib.import_module(f"headworks.inprocess.{name}")


def _client_type(library: ModuleType, kind: str) -> Callable[..., Any]:
    """Return the HTTP client with the official client's own defaults."""
    family = "Httpx2" if _uses_httpx2(library) else "Httpx"
    made: Callable[..., Any] = getattr(library, f"Default{kind}{family}Client")
    return made


def _options(options: Mapping[str, Any], client: object) -> dict[str, Any]:
    taken = {"base_url", "http_client", "websocket_base_url"} & options.keys()
    if taken:
        raise TypeError(f"{' and '.join(sorted(taken))} cannot be given: they lead to the engine.")
    return {**options} | {"base_url": BASE_URL, "http_client": client}
