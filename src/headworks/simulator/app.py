"""The practice OpenAI as an ASGI application."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, assert_never, final

import msgspec

from headworks.ports import Clock
from headworks.simulator import faults, problems
from headworks.simulator.answers import digest
from headworks.simulator.chance import Chance
from headworks.simulator.chat import ChatReply
from headworks.simulator.config import SimulatorConfig
from headworks.simulator.delivery import Delivery
from headworks.simulator.embeddings import EmbeddingsReply
from headworks.simulator.exchange import Exchange, Gone, Receive, Scope, Send
from headworks.simulator.faults import Faults
from headworks.simulator.invoice import Attempt, Books
from headworks.simulator.meter import Meter
from headworks.simulator.models import Models
from headworks.simulator.problems import Refusal
from headworks.simulator.reply import Listing
from headworks.simulator.responses import ResponsesReply
from headworks.tokenizer import Tokenizer

_Kind = Literal["chat", "responses", "embeddings"]
_KINDS: Mapping[str, _Kind] = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
    "/v1/embeddings": "embeddings",
}
_MODELS = "/v1/models"
_BIRTH = 1_700_000_000  # when every model was made


@final
class Simulator:
    """Answers as OpenAI would. The same seed and the same request give the same answer."""

    def __init__(
        self, config: SimulatorConfig, clock: Clock, tokenizer: Tokenizer | None = None
    ) -> None:
        self.config, self._clock = config, clock
        self.models = Models(config, clock)
        self.books = Books(self.models, clock, config.keep)
        self._meter = Meter(tokenizer or Tokenizer(), self.models)
        self._faults = Faults(config.faults, config.seed)
        self._callers = {secret: name for name, secret in config.credentials.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send)
        if exchange.path.startswith("/_simulator/"):
            await self._control(exchange)
            return
        attempt = self.books.open(exchange.method, exchange.path)
        attempt.request_id = "req_" + Chance(self.config.seed, "request", attempt.n).hex(32)
        outcome = "gone"
        try:
            await exchange.read()
            await exchange.while_connected(self._serve(exchange, attempt))
            outcome = "completed"
        except Refusal as refusal:
            outcome, attempt.status = "refused", refusal.status
            self.books.close(attempt, outcome)
            head = {**refusal.headers, **self._headers(attempt), "openai-processing-ms": "0"}
            await exchange.answer(refusal.status, refusal.content, head)
        except Gone:
            pass
        finally:
            self.books.close(attempt, outcome)

    def reset(self) -> None:
        """Forget all attempts, prompts and faults."""
        self.books.reset()
        self._meter.forget()
        self._faults.reset()

    async def _control(self, exchange: Exchange) -> None:
        pages: dict[str, Callable[[], object]] = {
            "invoice": self.books.invoice,
            "attempts": self.books.attempts,
            "reset": self.reset,
        }
        page = pages.get(exchange.path.removeprefix("/_simulator/"))
        content = {"pages": sorted(pages)} if page is None else page()
        if page and b"attempts=1" in exchange.query:
            content = {**self.books.invoice(), "listed": self.books.attempts()}
        head = {"content-type": "application/json"}
        await exchange.answer(200 if page else 404, msgspec.json.encode(content), head)

    async def _serve(self, exchange: Exchange, attempt: Attempt) -> None:
        kind = _KINDS.get(exchange.path)
        if kind is None and not f"{exchange.path}/".startswith(f"{_MODELS}/"):
            raise problems.unknown_path(exchange.method, exchange.path)
        if exchange.method != ("POST" if kind else "GET"):
            raise problems.wrong_method(exchange.method, exchange.path)
        attempt.credential = self._authenticate(exchange)
        if kind is None:
            delivery = self._delivery(exchange, attempt, {})
            await delivery.strike_early()
            await delivery.send_whole(self._list(exchange.path))
            return
        fields = exchange.fields()
        model = fields.get("model")
        attempt.model = model if isinstance(model, str) else ""
        delivery = self._delivery(exchange, attempt, fields)
        await delivery.strike_early()
        await self._answer(delivery, fields, kind)

    async def _answer(self, delivery: Delivery, fields: dict[str, Any], kind: _Kind) -> None:
        attempt = delivery.attempt
        if not attempt.model:
            raise problems.no_model()
        if not self.models.is_served(attempt.model):
            raise problems.unknown_model(attempt.model, kind)
        if kind == "embeddings":
            embeddings = EmbeddingsReply(fields, self._meter, attempt.credential)
            await delivery.send_whole(embeddings)
            return
        reply: ChatReply | ResponsesReply
        if kind == "chat":
            reply = ChatReply(fields, self.config, self._meter, attempt.credential)
        elif kind == "responses":
            reply = ResponsesReply(fields, self.config, self._meter, attempt.credential)
        else:
            assert_never(kind)
        serial = Chance(self.config.seed, "answer", attempt.n).hex(48)
        reply.name(serial, int(self._clock.time()))
        if fields.get("stream") is True:
            await delivery.send_stream(reply)
        else:
            await delivery.send_whole(reply)

    def _delivery(
        self, exchange: Exchange, attempt: Attempt, fields: Mapping[str, Any]
    ) -> Delivery:
        ordered = exchange.headers.get(faults.HEADER)
        key = digest(fields, self.config.seed)
        fault = self._faults.choose(ordered, exchange.path, attempt.model, key)
        attempt.fault = faults.label(fault)
        pace = self.config.pace(attempt.model)
        headers, now = self._headers(attempt), self._clock.now()
        return Delivery(exchange, attempt, self.books, self._clock, pace, fault, headers, now)

    def _authenticate(self, exchange: Exchange) -> str:
        """Return the name of the credential that the request carries."""
        given = exchange.headers.get(b"authorization", b"").decode("latin-1")
        scheme, _, key = given.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise problems.no_key()
        name = self._callers.get(key.strip())
        if name is None:
            raise problems.wrong_key(key.strip())
        return name

    def _list(self, path: str) -> Listing:
        wanted = path.removeprefix(_MODELS).strip("/")
        if wanted and not self.models.is_served(wanted):
            raise problems.unknown_model(wanted, "models")
        about = [
            {"id": name, "object": "model", "created": _BIRTH, "owned_by": "openai"}
            for name in ([wanted] if wanted else self.models.names())
        ]
        return Listing(about[0] if wanted else {"object": "list", "data": about})

    def _headers(self, attempt: Attempt) -> dict[str, str]:
        return {
            "x-request-id": attempt.request_id,
            "openai-version": "2020-10-01",
            "openai-organization": self.config.organization,
        }
