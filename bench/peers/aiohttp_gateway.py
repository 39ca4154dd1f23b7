"""A bare gateway, as one writes it in an afternoon: uvicorn before, aiohttp's client behind.

    python aiohttp_gateway.py PORT MOCK_PORT KEY

It checks the key, replaces the credential and relays. No limits, no ledger, no metrics, no log.
"""

import sys
from typing import Any

import aiohttp
import uvicorn

PORT, MOCK_PORT, KEY = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
UPSTREAM = f"http://127.0.0.1:{MOCK_PORT}"
WANTED = f"Bearer {KEY}".encode()
SENT = {"authorization": "Bearer upstream-credential", "content-type": "application/json"}
DROPPED = {b"transfer-encoding", b"connection", b"content-length", b"date", b"server"}


class Gateway:
    """An ASGI app with one session of keep-alive connections."""

    session: aiohttp.ClientSession

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve the lifespan, or relay one call."""
        if scope["type"] == "lifespan":
            return await self._live(receive, send)
        if dict(scope["headers"]).get(b"authorization") != WANTED:
            await send({"type": "http.response.start", "status": 401, "headers": []})
            return await send({"type": "http.response.body", "body": b""})
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        async with self.session.post(UPSTREAM + scope["path"], data=body, headers=SENT) as answer:
            kept = [(k.lower(), v) for k, v in answer.raw_headers if k.lower() not in DROPPED]
            if (length := answer.content_length) is not None:
                kept.append((b"content-length", str(length).encode()))
            await send({"type": "http.response.start", "status": answer.status, "headers": kept})
            if length is not None:
                return await send({"type": "http.response.body", "body": await answer.read()})
            async for piece in answer.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            return await send({"type": "http.response.body", "body": b""})

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=300)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as self.session:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


if __name__ == "__main__":
    uvicorn.run(
        Gateway(),
        host="127.0.0.1",
        port=PORT,
        loop="uvloop",
        http="httptools",
        backlog=4096,
        access_log=False,
        log_level="warning",
    )
