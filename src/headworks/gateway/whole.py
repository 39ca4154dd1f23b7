"""Answers of our own, sent in one piece over ASGI."""

from headworks.gateway.listener import Send
from headworks.types import Headers, Response


async def send_whole(send: Send, response: Response, more: Headers = ()) -> None:
    """Send an answer that is all here, with some fields more."""
    content = response.content
    assert isinstance(content, bytes)  # noqa: S101 - what is our own is never a stream
    headers = [*response.headers, *more]
    if content:
        headers.append((b"content-length", b"%d" % len(content)))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
