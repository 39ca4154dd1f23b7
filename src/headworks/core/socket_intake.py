"""Reads the handshake of a WebSocket connection: where it leads, and whose it is."""

from collections.abc import Sequence

import msgspec

from headworks.core.intake import presented_key, read_request
from headworks.core.realtime import DIALECTS, names_of, split_model, split_subprotocols
from headworks.errors import InvalidRequest, WebSocketUnsupported
from headworks.types import Request, Secret

_PROTOCOL = b"sec-websocket-protocol"
_JOINING = frozenset({"call_id", "intent"})
"""What a query says of connections whose responses have another model than it names."""
_OF_BODIES = frozenset(
    {b"content-type", b"idempotency-key", b"range", b"if-match", b"if-none-match"}
)


def read_handshake(
    path: str, query: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> tuple[Request, Secret | None]:
    """Return the request that opens the connection, and the key that was shown.

    A key among the subprotocols, where browsers put it, is taken out of them.

    Raises:
        WebSocketUnsupported: The path takes no such connections.
        CallerError: The handshake does not say what it must.
    """
    offered = b",".join(value for name, value in headers if name == _PROTOCOL).decode("latin-1")
    hidden, others = split_subprotocols(one.strip() for one in offered.split(","))
    plain = [field for field in headers if field[0] != _PROTOCOL]
    model, rest = split_model(query)
    request = read_request("GET", path, rest, plain, b"")
    if request.path not in DIALECTS:
        raise WebSocketUnsupported
    if DIALECTS[request.path] == "realtime" and (not model or _JOINING & names_of(rest)):
        raise InvalidRequest(
            "Name a model in the query, as in /v1/realtime?model=gpt-realtime; connections to calls "
            "(call_id) and for transcription alone (intent) are not relayed.",
            param="model",
        )
    kept = tuple(field for field in request.headers if field[0] not in _OF_BODIES)
    if others:
        kept += ((_PROTOCOL, ", ".join(others).encode("latin-1")),)
    fields = {"model": model} if model else {}
    opened = msgspec.structs.replace(request, headers=kept, fields=fields, socket=True)
    return opened, presented_key(plain) or hidden
