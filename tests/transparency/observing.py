"""Sends what there is to send through a face, and notes every difference that it sees."""

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tests.transparency.answering import EVENTS, HEAD, Answered, failures, wholes
from tests.transparency.asking import JSON, Asked, requests
from tests.transparency.description import UNKNOWN, Operation, operations
from tests.transparency.differences import Difference, kept_fields, of_fields, of_json
from tests.transparency.faces import MODEL, Caller, Face, caller
from tests.transparency.messages import Fields, Message
from tests.transparency.streaming import Streamed, streams
from tests.transparency.upstream import Provider, provider

ASKING: Fields = (
    ("Accept", "application/json"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Accept-Language", "en"),
    ("User-Agent", "OpenAI/Python 3.54.0"),
    ("OpenAI-Beta", "assistants=v2"),
    ("OpenAI-Something-New", "1"),
    ("OpenAI-Organization", "org-callers"),
    ("OpenAI-Project", "proj_callers"),
    ("X-Client-Request-Id", "mine-1"),
    ("If-Match", '"a"'),
    ("If-None-Match", '"b", W/"c"'),
    ("If-Modified-Since", "Mon, 01 Jan 2024 00:00:00 GMT"),
    ("If-Unmodified-Since", "Mon, 01 Jan 2024 00:00:00 GMT"),
    ("If-Range", '"d"'),
    ("Range", "bytes=0-9, 20-"),
    ("X-Stainless-Lang", "python"),
    ("X-Stainless-Retry-Count", "0"),
    ("X-Stainless-Read-Timeout", "600"),
    ("X-Headworks-Feature", "search"),
    ("X-Headworks-User", "u42"),
    ("Cookie", "a=b"),
    ("Connection", "keep-alive, X-Hop"),
    ("X-Hop", "1"),
    ("Keep-Alive", "timeout=5"),
    ("TE", "trailers"),
    ("Trailer", "x-sum"),
    ("Proxy-Authorization", "Basic YTpi"),
    ("Proxy-Connection", "keep-alive"),
    ("X-Forwarded-For", "192.0.2.1"),
    ("Forwarded", "for=192.0.2.1"),
    ("Via", "1.1 somebody"),
    ("Origin", "https://app.example"),
    ("Referer", "https://app.example/a"),
    ("Api-Key", "another"),
    ("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("X-Unknown", "1"),
)
"""Header fields that callers send, and some that they may."""

_CONTENT: Fields = (
    ("Content-Disposition", 'attachment; filename="a.bin"'),
    ("Accept-Ranges", "bytes"),
    ("Content-Range", "bytes 0-9/20"),
    ("ETag", '"a"'),
    ("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
    ("Location", "/v1/realtime/calls/rtc_1"),
    ("Cache-Control", "no-store"),
)
_FIRST_ERROR = 400
_RETRYING: Fields = (("Retry-After", "7"), ("retry-after-ms", "6500"))


@dataclass
class Seen:
    """What was seen at a face.

    Attributes:
        differences: Each with an example of it, `kept` the header fields without one.
    """

    differences: dict[Difference, str] = field(default_factory=dict)
    kept: set[tuple[str, str]] = field(default_factory=set)
    exchanges: int = 0

    def note(self, subject: object, found: Iterable[Difference]) -> None:
        for one in found:
            self.differences.setdefault(one._replace(shown=""), f"{subject}: {one.shown}")

    def keep(self, where: str, names: Iterable[str]) -> None:
        self.kept |= {(where, name) for name in names}


class Carried(NamedTuple):
    """A request as it was sent, as it arrived if it did, and what came back."""

    sent: Message
    arrived: Message | None
    got: Message


class Observer:
    """Somebody on both sides of a face."""

    def __init__(self, asking: Caller, answering: Provider, seen: Seen) -> None:
        self._caller, self._provider, self.seen = asking, answering, seen

    async def carry(
        self, asked: Asked, answered: Answered, fields: Fields = (), chunks: int = 0
    ) -> Carried:
        """Send one request and let the provider answer it."""
        told = (("Content-Type", asked.content_type),) if asked.media else ()
        self._provider.answer = answered.written(chunks)
        self._provider.arrived.clear()
        sent, got = await self._caller.ask(asked.line, (*told, *fields), asked.body, chunks)
        self.seen.exchanges += 1
        assert len(self._provider.arrived) <= 1, asked
        return Carried(sent, next(iter(self._provider.arrived), None), got)

    async def exchange(
        self, asked: Asked, answered: Answered, fields: Fields = (), chunks: int = 0
    ) -> Message | None:
        """Carry a request; note what became of it, and return its answer if it was the provider's."""
        sent, arrived, got = await self.carry(asked, answered, fields, chunks)
        if arrived is None:
            becomes = "refused" if got.status >= _FIRST_ERROR else "answered here"
            self.seen.note(asked.operation, [_kept_from(asked.operation, becomes, got)])
            return None
        self.seen.note(asked.operation, _of_request(asked, sent, arrived))
        self.seen.keep("request header", kept_fields(sent, arrived))
        return got

    def compare_fields(self, where: str, answered: Answered, got: Message) -> None:
        """Note what became of the header fields of an answer."""
        self.seen.note(where, of_fields(where, answered.message, got))
        self.seen.keep(where, kept_fields(answered.message, got))


def _kept_from(operation: Operation, becomes: str, got: Message) -> Difference:
    """Return what is to be said of an operation that did not reach the provider."""
    what = operation.path.split("/")[1] if operation.is_admin else operation.path
    return Difference("operation", f"/{what.strip('/')}", becomes, f"{got.status} {got.body!r}")


def _of_request(asked: Asked, sent: Message, arrived: Message) -> list[Difference]:
    found = of_fields("request header", sent, arrived)
    for where, before, after in zip(
        ("request method", "request path", "request query"),
        _parts(sent.line), _parts(arrived.line), strict=True,
    ):  # fmt: skip
        if before != after:
            found.append(Difference(where, str(asked.operation), "changed", f"{before} -> {after}"))
    if asked.media == JSON:
        return found + of_json("request body", sent.body, arrived.body) + _amiss(sent, arrived)
    if sent.body != arrived.body:
        found.append(Difference("request body", asked.media, "changed"))
    return found


def _amiss(sent: Message, arrived: Message) -> list[Difference]:
    """Return what was put into a request, unless it is what should be there."""
    before, after = (msgspec.json.decode(one.body) for one in (sent, arrived))
    asking = {**(before.get("stream_options") or {}), "include_usage": True}
    right = {"model": MODEL, "stream_options": asking}
    return [
        Difference("request body", name, "not what it should be", str(after.get(name)))
        for name, value in right.items()
        if before.get(name) != after.get(name) != value
    ]


def _parts(line: str) -> tuple[str, str, str]:
    method, target, _ = line.split(" ")
    path, _, query = target.partition("?")
    return method, path, query


def _paired(operation: Operation) -> Iterator[tuple[Asked, Answered]]:
    """Yield each request and each answer at least once."""
    left, right = list(requests(operation)), list(wholes(operation))
    for n in range(max(len(left), len(right))):
        yield left[n % len(left)], right[n % len(right)]


async def observe_wholes(observer: Observer) -> None:
    """Send everything that can be sent, and answer everything that can be answered in one piece."""
    for operation in (*operations(), *UNKNOWN):
        for number, (asked, answered) in enumerate(_paired(operation)):
            got = await observer.exchange(asked, answered, chunks=number % 3)
            if got is None:
                break
            observer.compare_fields("answer header", answered, got)
            _compare(observer.seen, "answer", asked, answered, got)


async def observe_failures(observer: Observer) -> None:
    """Answer every operation with every kind of error."""
    for operation in operations():
        asks = list(requests(operation))
        for number, answered in enumerate(failures(operation)):
            media = JSON + "; charset=utf-8" * (number % 2)
            fields = HEAD + _RETRYING * (number % 2)
            told = Answered(answered.status, media, answered.body, fields)
            asked = asks[number % len(asks)]
            got = await observer.exchange(asked, told, chunks=number % 3)
            if got is None:
                break
            if got.status == told.status:
                observer.compare_fields("error header", told, got)
            _compare(observer.seen, "error", asked, told, got)


async def observe_streams(observer: Observer) -> None:
    """Ask for every stream in every way, with and without its usage."""
    for operation in operations():
        asks = list(requests(operation, streamed=True))
        with_usage, without = (list(streams(operation, shows_usage=one)) for one in (True, False))
        for number, asked in enumerate(asks if with_usage else ()):
            told = with_usage if _asks_for_usage(asked) else without
            for one in told[number % len(told) :: len(asks)] or told[:1]:
                await _stream(observer, asked, one, number)


async def observe_bare_streams(observer: Observer) -> None:
    """Ask for the streams of chats and completions without a word about their usage."""
    for operation in operations():
        if "CompletionRequest" in str(operation.bodies):
            body = b'{"model":"%b","stream":true}' % MODEL.encode()
            asked = Asked(operation, "/v1" + operation.path, JSON, body)
            for one in streams(operation, shows_usage=False):
                await _stream(observer, asked, one, 0)


async def _stream(observer: Observer, asked: Asked, streamed: Streamed, number: int) -> None:
    answered = Answered(200, EVENTS, streamed.sent, HEAD)
    got = await observer.exchange(asked, answered, chunks=(1, 7, 0)[number % 3])
    assert got is not None, asked
    observer.compare_fields("stream header", answered, got)
    expected = Answered(200, EVENTS, streamed.got)
    _compare(observer.seen, "stream", asked, expected, got)
    if streamed.sent != streamed.got:
        observer.seen.note(
            asked.line, [Difference("stream", "usage that was not asked for", "dropped")]
        )


async def observe_fields(observer: Observer) -> None:
    """Send every header field there is with requests and answers of each kind."""
    for operation in operations():
        if operation.is_admin:
            continue
        asked = next(requests(operation))
        for one in list(wholes(operation))[:1]:
            coded = () if one.media in {"", JSON} else (("Content-Encoding", "gzip"),)
            answered = Answered(one.status, one.media, one.body, HEAD + _CONTENT + coded)
            unique = ("Idempotency-Key", f"key-{observer.seen.exchanges}")
            got = await observer.exchange(asked, answered, (*ASKING, unique))
            if got is not None:
                observer.compare_fields("answer header", answered, got)


def _asks_for_usage(asked: Asked) -> bool:
    if asked.media != JSON or asked.body is None:
        return False
    options: Any = msgspec.json.decode(asked.body).get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _compare(seen: Seen, kind: str, asked: Asked, expected: Answered, got: Message) -> None:
    """Note what became of an answer's status and body."""
    found = []
    if got.status != expected.status:
        shown = f"{got.status} {got.body[:300]!r}"
        found.append(Difference(f"{kind} status", str(expected.status), "replaced", shown))
    if got.body != expected.body:
        what = str(expected.status) if kind == "error" else str(asked.operation)
        shown = f"{expected.body!r} -> {got.body!r}"
        found.append(Difference(f"{kind} body", what, "replaced", shown))
    seen.note(asked.operation, found)


@asynccontextmanager
async def observer_at(face: Face, folder: Path) -> AsyncGenerator[Observer]:
    """Stand on both sides of a face of an engine."""
    async with provider() as answering, caller(face, answering, folder) as asking:
        yield Observer(asking, answering, Seen())
