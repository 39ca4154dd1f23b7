"""WebSocket connections to the practice OpenAI: `/responses` and `/realtime`, in text."""

import asyncio
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing, suppress
from http import HTTPStatus
from itertools import chain
from typing import Any, Protocol, cast, final
from urllib.parse import parse_qsl

import msgspec
from typing_extensions import override
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Side
from websockets.protocol import Protocol as Frames
from websockets.utils import accept_key

from headworks.core.shapes import as_fields, as_list
from headworks.ports import Clock
from headworks.simulator import problems
from headworks.simulator.accounts import Account
from headworks.simulator.asked import Asked
from headworks.simulator.chance import Chance
from headworks.simulator.endpoints.responses import ResponsesReply
from headworks.simulator.invoice import Attempt
from headworks.simulator.problems import Refusal
from headworks.simulator.provider import Provider
from headworks.simulator.reply import Step
from headworks.types import Usage

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_PATHS = frozenset({"/v1/realtime", "/v1/responses"})
_DATA = b"data: "
_MOST = 16_000_000
_ENVELOPE = frozenset({"type", "event_id", "stream_id"})


class Speech(Protocol):
    """What answers the messages of one connection."""

    def greeting(self) -> Iterable[dict[str, Any]]:
        """Return what is said at once."""
        ...

    def answer(self, message: Mapping[str, Any]) -> Generator[Step]:
        """Yield the events that answer a message, or raise its refusal."""
        ...

    def pace(self, message: Mapping[str, Any]) -> float:
        """Return the seconds before each token of the answer."""
        ...

    def error(self, refusal: Refusal, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the event that tells a refusal."""
        ...


@final
class Sockets:
    """Opens connections on one provider."""

    def __init__(self, provider: Provider, clock: Clock) -> None:
        self.provider, self.clock = provider, clock

    def open(
        self, scope: Mapping[str, Any], transport: asyncio.Transport, rest: bytes
    ) -> "SocketConnection | None":
        """Answer a handshake; return what carries the connection on, None where it is refused."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        try:
            if scope["path"] not in _PATHS:
                raise problems.unknown_path("GET", scope["path"])
            account = self.provider.accounts.authenticate(headers)
            speech = self._speech(scope["path"], query, account)
        except Refusal as refusal:
            transport.write(_refused(refusal))
            transport.close()
            return None
        transport.write(_switched(headers))
        connection = SocketConnection(speech, self.clock)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        connection.data_received(rest)
        return connection

    def _speech(self, path: str, query: Mapping[str, str], account: Account) -> Speech:
        if path == "/v1/responses":
            return ResponsesSpeech(self.provider, account)
        asked = Asked("GET", path, account.name, "", 0, {"model": query.get("model")})
        return RealtimeSpeech(self.provider, account, self.provider.served_model(asked, "realtime"))


class _Responses:
    """Answers as the Responses API does, and books that."""

    def __init__(self, provider: Provider, account: Account, path: str) -> None:
        self._provider, self._account, self._path = provider, account, path

    def pace(self, message: Mapping[str, Any]) -> float:
        """Return the seconds before each token of the answer."""
        return self._provider.config.pace(self._named(message)).per_token()

    def _named(self, message: Mapping[str, Any]) -> str:
        model = message.get("model")
        return model if isinstance(model, str) else ""

    def _reply(self, fields: Mapping[str, Any]) -> tuple[ResponsesReply, Attempt, Asked]:
        provider, account = self._provider, self._account
        attempt = provider.books.open("POST", self._path)
        attempt.credential = account.name
        serial = Chance(provider.config.seed, "answer", attempt.n).hex(48)
        created = int(provider.clock.time())
        asked = Asked("POST", "/v1/responses", account.name, serial, created, fields)
        attempt.model = asked.model
        try:
            provider.check_quota(asked, account)
            reply = ResponsesReply(provider, asked)
            provider.admit(asked, account, reply.usage)
        except Refusal as refusal:
            attempt.status = refusal.status
            provider.books.close(attempt, "refused")
            raise
        attempt.status = 200
        return reply, attempt, asked

    def _steps(self, reply: ResponsesReply, attempt: Attempt, *first: Step) -> Generator[Step]:
        """Yield the events, after those that come first, and bill what was sent however that ends."""
        whole, sent, outcome = reply.usage, 0, "cut"
        try:
            for step in chain(first, reply.steps(usage=True)):
                sent += step.tokens
                if step.kind == "done":
                    attempt.usage, outcome = whole, "completed"
                    self._provider.books.close(attempt, outcome)
                yield step
        finally:
            output = min(sent, whole.output)
            attempt.usage = whole if outcome == "completed" else Usage(whole.input, output)
            self._provider.books.close(attempt, outcome)


@final
class ResponsesSpeech(_Responses):
    """`/v1/responses`: each `response.create` is answered by the events of its stream."""

    def __init__(self, provider: Provider, account: Account) -> None:
        super().__init__(provider, account, "/v1/responses")

    def greeting(self) -> Iterable[dict[str, Any]]:
        """Return nothing: the client begins."""
        return ()

    def answer(self, message: Mapping[str, Any]) -> Generator[Step]:
        """Yield the events, in the lane of the message."""
        if message.get("type") != "response.create":
            raise Refusal(400, f"Unknown event: {message.get('type')}.", param="type")
        fields = {name: message[name] for name in message if name not in _ENVELOPE}
        reply, attempt, _ = self._reply({**fields, "stream": True})
        lane = message.get("stream_id")
        for step in self._steps(reply, attempt):
            event = _event(step)
            if lane is not None:
                event["stream_id"] = lane
            yield step._replace(data=msgspec.json.encode(event))

    def error(self, refusal: Refusal, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the event, in the lane of the message."""
        event = {"type": "error", "status": refusal.status, "error": refusal.error}
        lane = message.get("stream_id")
        return event if lane is None else {**event, "stream_id": lane}


@final
class RealtimeSpeech(_Responses):
    """`/v1/realtime`: a conversation in text."""

    def __init__(self, provider: Provider, account: Account, model: str) -> None:
        super().__init__(provider, account, "/v1/realtime")
        self._model, self._count = model, 0
        self._items: list[Mapping[str, Any]] = []
        self._session: dict[str, Any] = {"type": "realtime", "object": "realtime.session"}
        self._session |= {"id": "sess_simulator", "model": model, "output_modalities": ["text"]}

    def greeting(self) -> Iterable[dict[str, Any]]:
        """Return what tells of the session."""
        return (_decode(self._told("session.created", session=self._session).data),)

    def answer(self, message: Mapping[str, Any]) -> Generator[Step]:
        """Yield the events that answer a message."""
        match message.get("type"):
            case "session.update":
                self._session |= as_fields(message.get("session"))
                yield self._told("session.updated", session=self._session)
            case "conversation.item.create":
                self._count += 1
                item = {"id": f"item_{self._count}", **as_fields(message.get("item"))}
                self._items.append(item)
                yield self._told("conversation.item.added", previous_item_id=None, item=item)
            case "response.create":
                yield from self._respond(as_fields(message.get("response")))
            case kind:
                raise Refusal(400, f"Invalid value: {kind!r}.", code="invalid_value", param="type")

    def error(self, refusal: Refusal, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the event, with the id of the message."""
        error = {**refusal.error, "event_id": message.get("event_id")}
        return _decode(self._told("error", error=error).data)

    @override
    def _named(self, message: Mapping[str, Any]) -> str:
        return self._model

    def _respond(self, fields: Mapping[str, Any]) -> Generator[Step]:
        said = [_said(item) for item in self._items] or [{"role": "user", "content": "Hello"}]
        bound = fields.get("max_output_tokens")
        asked: dict[str, Any] = {"model": self._model, "input": said, "store": False}
        if isinstance(bound, int):
            asked["max_output_tokens"] = bound
        reply, attempt, made = self._reply(asked)
        answer: dict[str, Any] = {"object": "realtime.response", "id": f"resp_{made.serial}"}
        created = self._told("response.created", response={**answer, "status": "in_progress"})
        text = ""
        for step in self._steps(reply, attempt, created):
            if step is created:
                yield step
                continue
            event = _event(step)
            if event["type"] == "response.output_text.delta":
                text += event["delta"]
                part = {"item_id": f"item_{made.serial}", "output_index": 0, "content_index": 0}
                told = {"response_id": answer["id"], **part, "delta": event["delta"]}
                yield self._told("response.output_text.delta", **told)._replace(tokens=step.tokens)
            elif step.kind == "done":
                item = {"type": "message", "role": "assistant", "id": f"item_{made.serial}"}
                self._items.append({**item, "content": [{"type": "output_text", "text": text}]})
                whole = {**answer, "status": "completed", "output": [self._items[-1]]}
                yield self._told("response.done", response={**whole, "usage": _usage(reply.usage)})

    def _told(self, kind: str, **fields: Any) -> Step:
        self._count += 1
        event = {"type": kind, "event_id": f"event_{self._count}", **fields}
        return Step("open", msgspec.json.encode(event))


@final
class SocketConnection(asyncio.Protocol):
    """One connection: messages one after the other."""

    def __init__(self, speech: Speech, clock: Clock) -> None:
        self._speech, self._clock = speech, clock
        self._frames = Frames(Side.SERVER, state=OPEN, max_size=_MOST)
        self._messages: asyncio.Queue[bytes] = asyncio.Queue()
        self._parts: list[bytes] = []
        self._task: asyncio.Task[None] | None = None
        self.forget: Callable[[], None] = _nothing
        self.transport: asyncio.Transport

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._task = asyncio.get_running_loop().create_task(self._talk())

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.forget()
        if self._task is not None:
            self._task.cancel()

    @override
    def data_received(self, data: bytes) -> None:
        self._frames.receive_data(data)
        for event in self._frames.events_received():
            if isinstance(event, Frame) and event.opcode in {Opcode.TEXT, Opcode.CONT}:
                self._parts.append(bytes(event.data))
                if event.fin:
                    self._messages.put_nowait(b"".join(self._parts))
                    self._parts = []
        self._flush()
        if self._frames.close_rcvd is not None or self._frames.parser_exc is not None:
            self.transport.close()

    def say(self, content: bytes) -> None:
        """Send a message."""
        with suppress(InvalidState):
            self._frames.send_text(content)
        self._flush()

    def _flush(self) -> None:
        self.transport.write(b"".join(self._frames.data_to_send()))

    async def _talk(self) -> None:
        for event in self._speech.greeting():
            self.say(msgspec.json.encode(event))
        while True:
            content = await self._messages.get()
            message: dict[str, Any] = {}
            try:
                message = _decode(content)
                await self._answer(message)
            except msgspec.DecodeError:
                refusal = problems.not_json()
                self.say(msgspec.json.encode(self._speech.error(refusal, message)))
            except Refusal as refusal:
                self.say(msgspec.json.encode(self._speech.error(refusal, message)))

    async def _answer(self, message: dict[str, Any]) -> None:
        pace = self._speech.pace(message)
        with closing(self._speech.answer(message)) as steps:
            for step in steps:
                self.say(step.data)
                await self._clock.sleep(step.tokens * pace)


def _nothing() -> None:
    pass


def _event(step: Step) -> dict[str, Any]:
    """Return the JSON of a step that was made for an event stream."""
    lines = step.data.split(b"\n")
    return _decode(next(line for line in lines if line.startswith(_DATA))[len(_DATA) :])


def _said(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item of a conversation as an item of `/responses`, its texts alone."""
    if item.get("type") != "message":
        return dict(item)
    role = item.get("role", "user")
    kind = "output_text" if role == "assistant" else "input_text"
    texts = [as_fields(part).get("text") for part in as_list(item.get("content"))]
    return {"role": role, "content": [{"type": kind, "text": text} for text in texts if text]}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "total_tokens": usage.input + usage.output,
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "input_token_details": {
            "text_tokens": usage.input,
            "audio_tokens": 0,
            "cached_tokens": usage.cached,
        },
        "output_token_details": {"text_tokens": usage.output, "audio_tokens": 0},
    }


def _switched(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the head that opens a connection; of the subprotocols `realtime` is known."""
    accepted = accept_key(headers.get(b"sec-websocket-key", b"").decode("latin-1"))
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"upgrade: websocket",
        b"connection: Upgrade",
        b"sec-websocket-accept: " + accepted.encode(),
    ]
    offered = headers.get(b"sec-websocket-protocol", b"").replace(b" ", b"").split(b",")
    if b"realtime" in offered:
        lines.append(b"sec-websocket-protocol: realtime")
    return b"\r\n".join([*lines, b"", b""])


def _refused(refusal: Refusal) -> bytes:
    content = refusal.content
    fields = [*refusal.headers.items(), ("content-length", str(len(content)))]
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    phrase = HTTPStatus(refusal.status).phrase
    return f"HTTP/1.1 {refusal.status} {phrase}\r\n{lines}\r\n".encode() + content
