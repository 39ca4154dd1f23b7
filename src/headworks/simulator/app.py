"""The practice OpenAI as an ASGI application."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, final

import msgspec

from headworks.ports import Clock
from headworks.simulator import faults, problems
from headworks.simulator.answers import digest
from headworks.simulator.chance import Chance
from headworks.simulator.chat import ChatReply
from headworks.simulator.config import FaultRule, SimulatorConfig
from headworks.simulator.embeddings import EmbeddingsReply
from headworks.simulator.exchange import Exchange, Gone, Receive, Scope, Send
from headworks.simulator.faults import Faults
from headworks.simulator.invoice import Attempt, Books
from headworks.simulator.meter import Meter
from headworks.simulator.models import Models
from headworks.simulator.problems import Refusal
from headworks.simulator.reply import MALFORMED, Reply
from headworks.tokenizer import Tokenizer

_JSON = {"content-type": "application/json"}
_EVENTS = {"content-type": "text/event-stream; charset=utf-8"}
_KINDS = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
    "/v1/embeddings": "embeddings",
}
_BIRTH = 1_700_000_000


@final
class Simulator:
    """Answers as OpenAI would. The same seed and the same request give the same answer."""

    def __init__(
        self, config: SimulatorConfig, clock: Clock, tokenizer: Tokenizer | None = None
    ) -> None:
        self.config, self._clock = config, clock
        self.models = Models(config, clock)
        self.books = Books(self.models, clock, config.keep)
        self._meter = Meter(tokenizer or Tokenizer(), self.models.window)
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
            await self._serve(exchange, attempt)
            outcome = "completed"
        except Refusal as refusal:
            await self._refuse(exchange, attempt, refusal)
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
        pages: dict[str, Callable[[], Any]] = {
            "/_simulator/invoice": self._invoice(exchange.query),
            "/_simulator/attempts": self.books.attempts,
            "/_simulator/reset": self.reset,
        }
        page = pages.get(exchange.path)
        status = 404 if page is None else 200
        content = msgspec.json.encode(page() if page else {"known": sorted(pages)})
        await exchange.start(status, {**_JSON, "content-length": str(len(content))})
        await exchange.write(content, more=False)

    def _invoice(self, query: bytes) -> Callable[[], Any]:
        if b"attempts=1" in query:
            return lambda: {**self.books.invoice(), "listed": self.books.attempts()}
        return self.books.invoice

    async def _serve(self, exchange: Exchange, attempt: Attempt) -> None:
        kind = _KINDS.get(exchange.path)
        is_list = exchange.path == "/v1/models"
        if kind is None and not is_list and not exchange.path.startswith("/v1/models/"):
            raise problems.unknown_path(exchange.method, exchange.path)
        if exchange.method != ("POST" if kind else "GET"):
            raise problems.wrong_method(exchange.method, exchange.path)
        attempt.credential = self._authenticate(exchange)
        if kind is None:
            await self._list(exchange, attempt)
            return
        fields = await exchange.fields()
        model = fields.get("model")
        attempt.model = model if isinstance(model, str) else ""
        fault = self._faults.choose(
            exchange.headers.get(faults.HEADER),
            exchange.path,
            attempt.model,
            digest(fields, self.config.seed),
        )
        attempt.fault = faults.label(fault)
        await self._strike_early(exchange, attempt, fault)
        await self._answer(exchange, attempt, fields, kind, fault)

    def _authenticate(self, exchange: Exchange) -> str:
        """Return the name of the credential that the request carries."""
        scheme, _, key = exchange.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise problems.no_key()
        name = self._callers.get(key.strip())
        if name is None:
            raise problems.wrong_key(key.strip())
        return name

    async def _strike_early(
        self, exchange: Exchange, attempt: Attempt, fault: FaultRule | None
    ) -> None:
        """Do what a fault does before the head."""
        if fault is None:
            return
        if fault.fault == "status":
            raise problems.ordered(fault, attempt.model)
        if fault.fault == "hang_before_head":
            await exchange.hang()
        if fault.fault == "reset_before_head":
            self.books.close(attempt, "cut")
            await exchange.break_off("rst")

    async def _list(self, exchange: Exchange, attempt: Attempt) -> None:
        names, wanted = self.models.names(), exchange.path.removeprefix("/v1/models").lstrip("/")
        if wanted and wanted not in names and not self.models.is_served(wanted):
            raise problems.unknown_model(wanted, "models")
        about = [
            {"id": name, "object": "model", "created": _BIRTH, "owned_by": "openai"}
            for name in ([wanted] if wanted else names)
        ]
        content = msgspec.json.encode(about[0] if wanted else {"object": "list", "data": about})
        await self._send_whole(exchange, attempt, content)

    async def _answer(
        self,
        exchange: Exchange,
        attempt: Attempt,
        fields: dict[str, Any],
        kind: str,
        fault: FaultRule | None,
    ) -> None:
        self._check_model(fields, kind)
        caller = attempt.credential
        if kind == "embeddings":
            embeddings = EmbeddingsReply(fields, self._meter, caller)
            attempt.usage = embeddings.usage
            content = embeddings.whole(usage=_is_not(fault, "missing_usage"))
            await self._send_whole(exchange, attempt, content)
            return
        build = ChatReply if kind == "chat" else ResponsesReply
    def _check_model(self, fields: Mapping[str, Any], kind: str) -> None:
        pass
