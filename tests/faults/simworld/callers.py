"""Who calls: plain and streamed requests over bytes, some leaving early, some reading slowly."""

import asyncio
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Kind = Literal["chat", "embeddings", "responses", "models"]
PATHS = {
    "chat": "/v1/chat/completions",
    "embeddings": "/v1/embeddings",
    "responses": "/v1/responses",
    "models": "/v1/models",
}
PLACE = "gateway"
_STATUS = re.compile(rb"HTTP/1\.1 ([1-5]\d\d) [^\r\n]*")
_SIZE = re.compile(rb"[0-9a-f]{1,8}\r\n")


_PATIENCE = 60.0
"""Seconds after which even a patient caller goes; no call may last so long."""
_RETURN, _MOST_RETURNS = 1_000, 3
"""A call that is made again has a number of its own, and is so three times at most."""


class NotHTTP(Exception):
    """What came is no HTTP response."""


@dataclass(frozen=True)
class Ask:
    """One call as its caller means it.

    Attributes:
        at: Seconds from the world's beginning; a call on a used connection begins later.
        leaves: After so many seconds the caller closes, by FIN or by reset, answered or not.
        pace: Takes so many bytes at once, with a wait of so many seconds before each; 0 at once.
        headers: What it says beside.
        obeys: When it is refused, it comes back exactly when it was told.
    """

    tag: str
    kind: Kind
    key: str
    fields: dict[str, Any]
    at: float = 0.0
    leaves: float | None = None
    resets: bool = False
    pace: tuple[int, float] = (65_536, 0.0)
    deadline: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    obeys: bool = False

    @property
    def stream(self) -> bool:
        return self.fields.get("stream") is True

    @property
    def is_patient(self) -> bool:
        """Whether it takes the whole answer as soon as it comes."""
        return self.leaves is None and not self.pace[1]

    def bytes(self) -> bytes:
        """Return the request as it goes over the wire."""
        body = json.dumps(self.fields).encode() if self.kind != "models" else b""
        fields = {
            "host": PLACE,
            "authorization": f"Bearer {self.key}",
            "x-client-request-id": self.tag,
            "x-headworks-session": self.tag,
            **self.headers,
        }
        if body:
            fields |= {"content-type": "application/json", "content-length": str(len(body))}
        if self.deadline is not None:
            fields["x-headworks-deadline"] = f"{self.deadline:g}s"
        method = "POST" if body else "GET"
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"{method} {PATHS[self.kind]} HTTP/1.1\r\n{lines}\r\n".encode() + body


@dataclass
class Reply:
    """What came back, as far as it came.

    Attributes:
        began: When the call was sent, seconds of the world; `ended` likewise.
        is_whole: Whether the end of the response came.
        has_left: Whether its caller went before that; `gave_up` says that nothing came any more.
        fault: What is wrong with it as HTTP.
        line: Number of the line it went over; `is_first` says that nothing went over it before.
        after: The refusal that told it to come when it came.
    """

    ask: Ask
    began: float = 0.0
    ended: float = 0.0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytearray = field(default_factory=bytearray)
    is_whole: bool = False
    has_left: bool = False
    gave_up: bool = False
    fault: str = ""
    is_sent: bool = False
    line: int = 0
    is_first: bool = True
    after: "Reply | None" = None

    def gone_at(self, begun: float) -> float:
        """Return when its caller went, in seconds since the world began; `inf` if it stayed."""
        leaves = self.ask.leaves
        went = self.has_left and not self.gave_up and leaves is not None
        return self.began + leaves - begun if went and leaves is not None else math.inf

    @property
    def call(self) -> str:
        """The id that the gateway gave the call."""
        return self.headers.get("x-headworks-call", "")


def _told(reply: Reply) -> float | None:
    """Return the seconds after which a refused call is to be made again, None for never."""
    should, told = reply.headers.get("x-should-retry"), reply.headers.get("retry-after-ms")
    if not reply.is_whole or reply.status not in {429, 503} or should != "true" or told is None:
        return None
    is_last = int(reply.ask.tag[-4:]) >= _MOST_RETURNS * _RETURN
    return None if is_last else int(told) / 1000


def _next(tag: str) -> str:
    return f"tag-{int(tag[-4:]) + _RETURN:04}"


class Caller:
    """One connection at a time, one call after the other."""

    def __init__(self, asks: list[Ask], begun: float) -> None:
        self.replies = [Reply(ask) for ask in asks]
        self._loop = asyncio.get_running_loop()
        self._begun = begun
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def run(self) -> None:
        """Make all calls; one that was refused may be made again before the next."""
        try:
            for number, reply in enumerate(self.replies, 1):
                wait = self._begun + reply.ask.at - self._loop.time()
                await asyncio.sleep(max(0.0, wait))
                await self._call(reply)
                if (told := _told(reply)) is not None and reply.ask.obeys:
                    at = reply.ended - self._begun + told
                    ask = replace(reply.ask, tag=_next(reply.ask.tag), at=at)
                    self.replies.insert(number, Reply(ask, after=reply))
        finally:
            self._hang_up()

    async def _call(self, reply: Reply) -> None:
        reply.began = self._loop.time()
        leaving: list[asyncio.TimerHandle] = []
        try:
            reply.is_first = self._writer is None or self._writer.is_closing()
            reader, writer = await self._line()
            reply.line = writer.get_extra_info("sockname")[1] - 20_000
            leaving.append(self._loop.call_later(_PATIENCE, self._give_up, reply))
            if reply.ask.leaves is not None:
                leaving.append(self._loop.call_later(reply.ask.leaves, self._leave, reply))
            reply.is_sent = True
            writer.write(reply.ask.bytes())
            await self._read(reader, reply)
        except (OSError, EOFError):
            pass
        except NotHTTP as error:
            reply.fault = str(error)
        finally:
            for timer in leaving:
                timer.cancel()
            reply.ended = self._loop.time()
        if not reply.is_whole or reply.headers.get("connection") == "close":
            self._hang_up()

    async def _line(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None or self._reader.at_eof() or self._writer.is_closing():  # fmt: skip
            self._hang_up()
            self._reader, self._writer = await asyncio.open_connection(PLACE, 80, limit=8_192)
        return self._reader, self._writer

    def _hang_up(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._reader = self._writer = None

    def _give_up(self, reply: Reply) -> None:
        """Go by a reset: a close waits for what was not sent, on a mute line for ever."""
        reply.gave_up = True
        if self._writer is not None:
            reply.has_left = True
            self._writer.transport.abort()

    def _leave(self, reply: Reply) -> None:
        if reply.is_whole or self._writer is None:
            return
        reply.has_left = True
        if reply.ask.resets:
            self._writer.transport.abort()
        else:
            self._writer.close()

    # Reading, stricter than any client.

    async def _read(self, reader: asyncio.StreamReader, reply: Reply) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        line, *fields = head[:-4].split(b"\r\n")
        if (status := _STATUS.fullmatch(line)) is None:
            raise NotHTTP(f"the status line is {line!r}")
        reply.status = int(status[1])
        for one in fields:
            name, colon, value = one.decode("latin-1").partition(": ")
            if not colon or name in reply.headers:
                raise NotHTTP(f"the field {one!r} is doubled or malformed")
            reply.headers[name] = value
        length = reply.headers.get("content-length")
        if reply.headers.get("transfer-encoding") == "chunked" and length is None:
            await self._read_chunks(reader, reply)
        elif length is not None:
            await self._take(reader, reply, int(length))
        else:
            raise NotHTTP("the body has no end")
        reply.is_whole = True

    async def _read_chunks(self, reader: asyncio.StreamReader, reply: Reply) -> None:
        size = 1
        while size:
            line = await reader.readuntil(b"\r\n")
            if not _SIZE.fullmatch(line):
                raise NotHTTP(f"the chunk size is {line!r}")
            size = int(line, 16)
            await self._take(reader, reply, size)
            if await reader.readexactly(2) != b"\r\n":
                raise NotHTTP("a chunk is longer than it says")

    async def _take(self, reader: asyncio.StreamReader, reply: Reply, size: int) -> None:
        most, wait = reply.ask.pace
        while size:
            if wait:
                await asyncio.sleep(wait)
            data = await reader.read(min(size, most))
            if not data or reply.has_left:
                raise EOFError
            reply.body += data
            size -= len(data)
