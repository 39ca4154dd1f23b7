"""The practice OpenAI as an ASGI application."""

from collections.abc import Mapping
from typing import Any, final

from headworks.ports import Clock
from headworks.simulator import asking, faults, problems, routes
from headworks.simulator.asked import Asked
from headworks.simulator.breakage import refusals
from headworks.simulator.breakage.kinds import kind_of
from headworks.simulator.breakage.strike import Broken, Strike
from headworks.simulator.chance import Chance
from headworks.simulator.config import FaultRule, SimulatorConfig
from headworks.simulator.control import PREFIX, Control
from headworks.simulator.delivery import Delivery
from headworks.simulator.exchange import Exchange, Gone, Receive, Scope, Send
from headworks.simulator.invoice import Attempt
from headworks.simulator.moulds import Moulds
from headworks.simulator.problems import Refusal
from headworks.simulator.provider import Provider
from headworks.simulator.reply import Reply
from headworks.simulator.weather import Weather, ordered_by
from headworks.tokenizer import Tokenizer

_NAMING = frozenset({"/v1/completions", "/v1/embeddings"})
"""The older endpoints name the model in a header."""
_CLIENT_REQUEST_ID, _LONGEST = b"x-client-request-id", 512


@final
class Simulator:
    """Answers as OpenAI would. The same seed and the same request give the same answer."""

    def __init__(
        self, config: SimulatorConfig, clock: Clock, tokenizer: Tokenizer | None = None
    ) -> None:
        self.config, self._clock = config, clock
        self.provider = Provider(config, clock, tokenizer)
        self.books = self.provider.books
        self.weather = Weather(config, clock)
        self.provider.strike = self._struck
        self._moulds = Moulds()
        self._control = Control(self.books, self.weather, self.reset)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send)
        try:
            if exchange.path.startswith(PREFIX):
                await self.provider.batches.catch_up()
                await self._control.answer(exchange)
            else:
                await self._attend(exchange)
        except Gone:
            return

    def reset(self) -> None:
        """Be as at the start: forget all attempts, prompts and files, and faults set since."""
        self.provider.reset()
        self.weather.reset()
        self._moulds.forget()

    def refuses(self) -> bool:
        """Return whether a new connection is reset at once."""
        return self.weather.refuses()

    def answers_early(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> bool:
        """Return whether a request is answered as soon as its head is there."""
        return self.weather.answers_early(method, path, headers)

    async def _attend(self, exchange: Exchange) -> None:
        """Serve one call to the API, and book it."""
        attempt = self.books.open(exchange.method, exchange.path)
        attempt.request_id = "req_" + Chance(self.config.seed, "request", attempt.n).hex(32)
        told = exchange.headers.get(_CLIENT_REQUEST_ID, b"")
        attempt.client_request_id = told[:_LONGEST].decode("latin-1")
        headers = {"x-request-id": attempt.request_id, "openai-version": "2020-10-01"}
        outcome = "gone"
        try:
            await exchange.read(self.config.max_body)
            await exchange.while_connected(self._serve(exchange, attempt, headers))
            outcome = "completed"
        except Refusal as refusal:
            outcome = "refused"
            await self._refuse(exchange, attempt, headers, refusal)
        except RecursionError:
            outcome = "refused"
            await self._refuse(exchange, attempt, headers, problems.not_json())
        finally:
            self.books.close(attempt, outcome)

    async def _refuse(
        self, exchange: Exchange, attempt: Attempt, headers: dict[str, str], refusal: Refusal
    ) -> None:
        attempt.status = refusal.status
        self.books.close(attempt, "refused")
        head = {**refusal.headers, **headers, "openai-processing-ms": "0"}
        await exchange.answer(refusal.status, refusal.content, head)

    async def _serve(self, exchange: Exchange, attempt: Attempt, headers: dict[str, str]) -> None:
        """Find the endpoint, authenticate, let an early fault strike, answer."""
        route, names = routes.find(exchange.method, exchange.path)
        account = self.provider.accounts.authenticate(exchange.headers)
        attempt.credential = account.name
        headers["openai-organization"] = account.organization
        headers["openai-project"] = account.project
        given = asking.read(exchange, "nothing" if exchange.is_early else route.takes, names)
        ordered, given["fields"] = self._ordered(exchange, given["fields"])
        delivery = self._delivery(exchange, attempt, headers, ordered, given["fields"])
        asked = Asked(
            credential=attempt.credential,
            serial=Chance(self.config.seed, "answer", attempt.n).hex(48),
            created=int(self._clock.time()),
            ordered=attempt.fault,
            **given,
        )
        try:
            delivery.strike_early()
            if route.settles:
                await self.provider.batches.catch_up()
            self.provider.check_quota(asked, account)
            body = self._moulds.answer(
                asked, exchange.content, lambda: route.answer(self.provider, asked)
            )
            attempt.model = attempt.model or body.model
            admission = self.provider.admit(asked, account, body.usage)
            headers.update(admission.headers)
            if asked.path in _NAMING:
                headers["openai-model"] = attempt.model
            stream = isinstance(body, Reply) and body.is_streamed(asked.fields)
            await delivery.send(body, stream=stream)
            admission.settle(attempt.usage)
        except Broken as broken:
            await delivery.end(broken)

    def _struck(self, asked: Asked, content: bytes) -> Refusal | None:
        """Return the refusal that the rules have for one request of a batch, None for none."""
        rule, _pace = self.weather.meet(asked.path, asked.model, content, None)
        if rule is None or rule.fault != "status":
            return None
        return refusals.ordered(rule, asked.model, self._clock.time())

    def _ordered(
        self, exchange: Exchange, fields: Mapping[str, Any]
    ) -> tuple[FaultRule | None, Mapping[str, Any]]:
        """Return the fault that a request orders, and its fields without it."""
        rule, model = ordered_by(exchange.headers), fields.get("model")
        if not isinstance(model, str) or faults.MARK not in model:
            return rule, fields
        if self.provider.models.is_served(model):
            return rule, fields
        model, by_model = faults.by_model(model)
        return rule or by_model, {**fields, "model": model}

    def _delivery(
        self,
        exchange: Exchange,
        attempt: Attempt,
        headers: dict[str, str],
        ordered: FaultRule | None,
        fields: Mapping[str, Any],
    ) -> Delivery:
        given = fields.get("model")
        attempt.model = model = given if isinstance(given, str) else ""
        rule, pace = self.weather.meet(exchange.path, model, exchange.content, ordered)
        attempt.fault, kind = faults.label(rule), kind_of(rule)
        rule = rule or _NO_RULE
        strike = Strike(rule, model, rule.ending or kind.ending, self._clock.time())
        now, clock = self._clock.now(), self._clock
        return Delivery(exchange, attempt, self.books, clock, pace, kind, strike, headers, now)


_NO_RULE = FaultRule("status")
"""Stands in the strike of an answer that meets no fault."""
