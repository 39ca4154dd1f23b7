"""The practice OpenAI as an ASGI application."""

from collections.abc import Callable, Mapping
from typing import Any, final

import msgspec

from headworks.ports import Clock
from headworks.simulator import faults, routes
from headworks.simulator.answers import digest
from headworks.simulator.asked import Asked
from headworks.simulator.chance import Chance
from headworks.simulator.config import SimulatorConfig
from headworks.simulator.delivery import Delivery
from headworks.simulator.exchange import Exchange, Gone, Receive, Scope, Send
from headworks.simulator.faults import Faults
from headworks.simulator.invoice import Attempt
from headworks.simulator.problems import Refusal
from headworks.simulator.provider import Provider
from headworks.simulator.reply import Reply
from headworks.tokenizer import Tokenizer


@final
class Simulator:
    """Answers as OpenAI would. The same seed and the same request give the same answer."""

    def __init__(
        self, config: SimulatorConfig, clock: Clock, tokenizer: Tokenizer | None = None
    ) -> None:
        self.config, self._clock = config, clock
        self.provider = Provider(config, clock, tokenizer)
        self.books = self.provider.books
        self._faults = Faults(config.faults, config.seed)

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
        headers = {"x-request-id": attempt.request_id, "openai-version": "2020-10-01"}
        outcome = "gone"
        try:
            await exchange.read()
            await exchange.while_connected(self._serve(exchange, attempt, headers))
            outcome = "completed"
        except Refusal as refusal:
            outcome, attempt.status = "refused", refusal.status
            self.books.close(attempt, outcome)
            head = {**refusal.headers, **headers, "openai-processing-ms": "0"}
            await exchange.answer(refusal.status, refusal.content, head)
        except Gone:
            pass
        finally:
            self.books.close(attempt, outcome)

    def reset(self) -> None:
        """Forget all attempts, prompts, files and faults."""
        self.provider.reset()
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

    async def _serve(self, exchange: Exchange, attempt: Attempt, headers: dict[str, str]) -> None:
        """Find the endpoint, authenticate, let an early fault strike, answer."""
        route, names = routes.find(exchange.method, exchange.path)
        account = self.provider.accounts.authenticate(exchange.headers)
        attempt.credential = account.name
        headers["openai-organization"] = account.organization
        headers["openai-project"] = account.project
        fields = exchange.fields() if route.takes == "json" else {}
        serial = Chance(self.config.seed, "answer", attempt.n).hex(48)
        asked = Asked(
            exchange.method,
            exchange.path,
            attempt.credential,
            serial,
            int(self._clock.time()),
            fields,
            names,
        )
        attempt.model = asked.model
        delivery = self._delivery(exchange, attempt, headers, fields)
        await delivery.strike_early()
        body = route.answer(self.provider, asked)
        admission = self.provider.admit(asked, account, body.usage)
        headers.update(admission.headers)
        if isinstance(body, Reply) and fields.get("stream") is True:
            await delivery.send_stream(body)
        else:
            await delivery.send_whole(body)
        admission.settle(attempt.usage)

    def _delivery(
        self,
        exchange: Exchange,
        attempt: Attempt,
        headers: dict[str, str],
        fields: Mapping[str, Any],
    ) -> Delivery:
        ordered = exchange.headers.get(faults.HEADER)
        key = digest(fields, self.config.seed)
        fault = self._faults.choose(ordered, exchange.path, attempt.model, key)
        attempt.fault = faults.label(fault)
        pace = self.config.pace(attempt.model)
        now = self._clock.now()
        return Delivery(exchange, attempt, self.books, self._clock, pace, fault, headers, now)
