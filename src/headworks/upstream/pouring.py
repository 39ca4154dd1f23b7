"""Sends a request whose body comes piece by piece, while its answer may come at any time.

A server may answer before it has read everything. A refusal is then the answer, and the rest of the
body is not sent: the connection serves nobody again. Until all of the body has left there was no
request that a provider could work on, so whatever goes wrong by then has cost nothing.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from headworks.errors import CallError, ConnectionLost, DeadlineExceeded, UpstreamError
from headworks.upstream.connection import Connection
from headworks.upstream.response import HttpResponse

_FIRST_REFUSAL = 300


@dataclass(frozen=True, slots=True)
class Body:
    """A body that comes while it goes out; `is_chunked` where nobody knows how long it is."""

    pieces: AsyncGenerator[bytes]
    is_chunked: bool = False


async def pour(connection: Connection, response: HttpResponse, body: Body, seconds: float) -> None:
    """Send the body, and return when the answer's head has come.

    Raises:
        CallError: As `HttpClient.send`; it says whether the whole request had left.
    """
    pouring = asyncio.get_running_loop().create_task(_pour(connection, response, body, seconds))
    try:
        await response.wait_head()
        if response.status < _FIRST_REFUSAL:
            await pouring
    except (UpstreamError, DeadlineExceeded) as error:
        error.sent = _has_left(pouring)
        raise
    except asyncio.CancelledError as error:
        if _has_left(pouring):
            raise
        unsent = ConnectionLost("The call was given up before all of the request had left.")
        unsent.sent = False
        raise error from unsent
    finally:
        await _stop(pouring)


async def _pour(connection: Connection, response: HttpResponse, body: Body, seconds: float) -> bool:
    """Send the body; return whether all of it was wanted."""
    try:
        async with aclosing(body.pieces) as pieces:
            async for piece in pieces:
                if not piece:
                    continue  # an empty chunk would be the last one
                parts = (b"%x\r\n" % len(piece), piece, b"\r\n") if body.is_chunked else (piece,)
                if not await connection.pour(response, *parts, seconds=seconds):
                    return False
        if body.is_chunked:
            await connection.pour(response, b"0\r\n\r\n", seconds=seconds)
    except CallError as error:
        response.give_up(error)
        return False
    connection.end_request(response)
    return True


def _has_left(pouring: "asyncio.Task[bool]") -> bool:
    """Return whether the whole request has left."""
    return pouring.done() and not pouring.cancelled() and pouring.result()


async def _stop(pouring: "asyncio.Task[bool]") -> None:
    """End the sending, and wait until its source is let go, however often we are cancelled."""
    pouring.cancel()
    cancelled: asyncio.CancelledError | None = None
    while not pouring.done():
        try:
            await asyncio.wait([pouring])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        try:
            raise cancelled
        finally:
            del cancelled
