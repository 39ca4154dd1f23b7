"""What the responses of one WebSocket connection cost: held, settled and recorded, once each.

Each response is a call of its own, named after its connection's (`<call>.1`). It is authorised,
counted at the limits on tokens and requests, and held in the ledger before it is asked for; it is
settled before the caller gets its last event.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from headworks.answer import charge
from headworks.core.endpoints import waits
from headworks.core.pricing import dearer
from headworks.core.realtime import DIALECTS, Asked, Heard, Talk, Turn, longest
from headworks.core.strict_json import edit, parse_object
from headworks.errors import CallError, InvalidRequest, ModelNotFound, ParallelLimited
from headworks.ports import (
    Clock,
    Estimator,
    Guard,
    Hold,
    Homes,
    InnerLimits,
    Journal,
    Ledger,
    Reservation,
    Router,
    Witness,
)
from headworks.types import NO_USAGE, Call, Caller, Certainty, Request, Route, Usage

_NOBODY = Caller("", "")
_ENVELOPE = frozenset({"type", "event_id", "stream_id"})
"""Fields of a message that are not the response's."""
_NEWS = (b"response.created", b"response.output_item.done")
"""Events that tell of ids which a provider keeps."""
_MOST_OPEN = 100
"""Responses of one connection that may be under way at once."""
_UNDER_WAY = 8
"""Tokens that a provider writes until it notices that we have left."""


@dataclass(frozen=True, slots=True)
class Books:
    """What it takes to book a response.

    Attributes:
        authorise: Return if the caller may use the model of a request; the connection it may have.
        spent: Books what could not be prevented, whatever budgets say.
    """

    authorise: Callable[[Caller, Request], None]
    limits: InnerLimits
    guards: Sequence[Guard]
    estimator: Estimator
    router: Router
    homes: Homes
    ledger: Ledger
    spent: Ledger
    journal: Journal
    clock: Clock


@dataclass(eq=False, slots=True)
class _Entry:
    """What is held for one response."""

    call: Call
    route: Route
    estimate: Usage
    until: float
    reservation: Reservation | None = None
    hold: Hold | None = None
    witness: Witness | None = None


class Tab:
    """The open responses of one connection, whose handshake was `call`, and which leads to `route`.

    Attributes:
        renew: Return the caller as its key is now, or raise `Unauthenticated`.
    """

    def __init__(self, books: Books, call: Call, route: Route) -> None:
        self.talk = Talk(DIALECTS[call.request.path])
        self._books, self._call, self._route = books, call, route
        self._open: dict[Turn, _Entry] = {}
        self._count = 0
        self.renew: Callable[[], Caller] = lambda: call.caller or _NOBODY

    @property
    def is_empty(self) -> bool:
        """Whether no response is open."""
        return not self._open and self.talk.is_quiet

    @property
    def until(self) -> list[float]:
        """When the time of each open response is over, on the engine's clock."""
        return [one.until for one in self._open.values()]

    def read(self, content: bytes) -> Asked | None:
        """Return what a caller's message asks for, None where that is no response.

        Raises:
            CallError: The message cannot be understood, or wants a model that the key may not use.
        """
        asked = self.talk.read(content)
        for model in self.talk.wanted:
            self._books.authorise(self.renew(), self._inner({"model": model}, b""))
        for part, model in self.talk.named.items():
            self._check_own(model, f"{part}.model")
        return asked

    def render(self, content: bytes) -> bytes:
        """Return a message that was read as the provider takes it: with its name of the model."""
        name = self._route.model
        changes: dict[str, Any] = {}
        for part, model in self.talk.named.items():
            if model != name:
                changes[part] = {**parse_object(content)[part], "model": name}
        return edit(content, changes) if changes else content

    async def ask(self, asked: Asked, content: bytes) -> bytes:
        """Hold what a response may cost; return the message that asks for it.

        Raises:
            CallError: It is not allowed, or there is no room for it.
        """
        if len(self._open) >= _MOST_OPEN:
            raise ParallelLimited(f"At most {_MOST_OPEN} responses may be under way at once.")
        request = self._request(asked, content)
        turn = self.talk.expect(asked)
        try:
            entry = await self._enter(turn, request)
        except BaseException:
            self.talk.forget(turn)
            raise
        sent = entry.route.model
        if self.talk.dialect == "responses" and request.model != sent:
            return edit(content, {"model": sent})
        return self.render(content)

    async def hear(self, content: bytes) -> bool:
        """Book what an event of the provider's means; return whether it began a response unasked.

        What it settles is on disk when this returns.

        Raises:
            CallError: A response was begun that nobody had asked for, and that is not allowed.
        """
        heard = self.talk.hear(content)
        has_begun = False
        if heard is not None:
            entry = self._open.get(heard.turn)
            if entry is None and heard.kind != "refused":
                entry, has_begun = await self._enter(heard.turn, self._unasked(heard), heard), True
            if entry is not None and heard.kind != "begun":
                self._settle(heard, entry)
                await self._books.ledger.written()
        self._show(content)
        return has_begun

    def abandon(self) -> None:
        """Book what is open as far as it was seen: where it had not begun, as it was estimated."""
        for turn, entry in tuple(self._open.items()):
            used = self._counted(turn, entry)
            if not turn.id:
                used = dearer(entry.estimate, used)
            self._finish(turn, used, "estimated", "abandoned")

    def _request(self, asked: Asked, content: bytes) -> Request:
        """Return what is asked for as a request of its own."""
        if self.talk.dialect == "realtime":
            return self._inner({**asked.fields, "model": self._call.request.model}, content)
        fields = {name: asked.fields[name] for name in asked.fields if name not in _ENVELOPE}
        if not isinstance(fields.get("model"), str) or not fields["model"]:
            raise InvalidRequest("You must provide a model parameter.", param="model")
        return self._inner(fields, content)

    def _check_own(self, model: str, place: str) -> None:
        """Return if a name is that of the connection's model, by us or by its provider."""
        own = self._call.request.model
        if model in {own, self._route.model}:
            return
        self._books.authorise(self.renew(), self._inner({"model": model}, b""))
        raise InvalidRequest(
            f"This connection has the model {own[:128]!r} as long as it lasts; open another one for "
            f"{model[:128]!r}.",
            param=place,
        )

    def _unasked(self, heard: Heard) -> Request:
        """Return what stands for a request that nobody has made."""
        model = heard.turn.model or self._call.request.model or self._route.model
        return self._inner({"model": model}, b"")

    def _inner(self, fields: dict[str, object], content: bytes) -> Request:
        whole = self._call.request
        return Request("POST", whole.path, b"", whole.headers, content, fields, whole.tags)

    async def _enter(self, turn: Turn, request: Request, heard: Heard | None = None) -> _Entry:
        """Count a response at the limits, and hold its row; what was `heard` has begun already."""
        books, whole = self._books, self._call
        self._count += 1
        id_, now = f"{whole.id}.{self._count}", books.clock.now()
        call = Call(id_, request, now, books.clock.time(), whole.caller, presence=whole.presence)
        here = replace(self._route, model=turn.model) if turn.model else self._route
        estimate = self._estimate(turn, request)
        if heard is not None and heard.reported is not None:
            estimate = heard.reported[0]
        entry = _Entry(call, here, estimate, now)
        try:
            await self._admit(entry)
        except BaseException as error:
            if isinstance(error, CallError):
                call.status, call.outcome = error.status, error.code or str(error.status)
                if heard is not None:
                    await self._owe(heard, entry)
            self._close(entry, call.usage)
            raise
        entry.until = now + waits(entry.route.timeouts, request).total
        entry.witness = books.homes.witness(request, entry.route)
        self._open[turn] = entry
        return entry

    async def _owe(self, heard: Heard, entry: _Entry) -> None:
        """Book what is billed although it was not allowed, as far as it is known."""
        call, counted = entry.call, self._counted(heard.turn, entry)
        call.usage = used = counted if heard.reported is None else heard.reported[0]
        call.route, call.attempts = entry.route, 1
        with suppress(CallError):
            hold = await self._books.spent.hold(call, entry.route, used)
            charge(call, used, hold.settle(used, "estimated", call.outcome))

    async def _admit(self, entry: _Entry) -> None:
        books, call, request = self._books, entry.call, entry.call.request
        call.caller = caller = self.renew()
        books.authorise(caller, request)
        for guard in books.guards:
            await guard.inspect(request, caller)
        if self.talk.dialect == "responses":
            entry.route = await self._way(request, entry.estimate)
        entry.reservation = await books.limits.reserve_within(call, entry.estimate)
        call.route, call.attempts = entry.route, 1
        entry.hold = await books.ledger.hold(call, entry.route, entry.estimate)

    async def _way(self, request: Request, estimate: Usage) -> Route:
        """Return where the connection leads, with the name that the model has there."""
        here, books = self._route, self._books
        plan = await books.homes.narrow(request, books.router.plan(request, estimate))
        for route in plan.routes:
            if (route.upstream, route.credential) == (here.upstream, here.credential):
                return route
        raise ModelNotFound(
            f"This connection leads to {here.upstream!r}, where {request.model[:128]!r} is not "
            "served. Open one with ?model= and that name.",
            param="model",
        )

    def _estimate(self, turn: Turn, request: Request) -> Usage:
        usage = self._books.estimator.estimate(request)
        if self.talk.dialect == "responses":
            return usage
        whole, output = usage.input + turn.before, longest(request.fields)
        return msgspec.structs.replace(usage, input=whole, output=output)

    def _settle(self, heard: Heard, entry: _Entry) -> None:
        """Book what a response has used: as reported, or as counted where no report can be had."""
        turn = heard.turn
        if heard.reported is not None:
            usage, odd = heard.reported
            if odd:
                usage = dearer(usage, self._counted(turn, entry))
                self._finish(turn, usage, "estimated", heard.outcome, odd)
                return
            if usage.output:
                self._books.estimator.learn(entry.call.request, entry.route.model, usage)
            self._finish(turn, usage, "exact", heard.outcome)
        elif heard.kind == "refused":
            self._finish(turn, NO_USAGE, "exact", heard.outcome)
        else:
            self._finish(turn, self._counted(turn, entry), "estimated", heard.outcome)

    def _counted(self, turn: Turn, entry: _Entry) -> Usage:
        """Return what a response has used as far as it was seen: never less."""
        text = turn.text.decode("utf-8", "replace")
        usage = self._books.estimator.recount(entry.call.request, text, _UNDER_WAY)
        output = max(usage.output + turn.sound, turn.pieces)
        return msgspec.structs.replace(usage, input=usage.input + turn.before, output=output)

    def _finish(
        self,
        turn: Turn,
        usage: Usage,
        certainty: Certainty,
        outcome: str,
        odd: tuple[str, ...] = (),
    ) -> None:
        entry = self._open.pop(turn)
        call, hold = entry.call, entry.hold
        call.usage, call.outcome, call.status = usage, outcome, 200
        if hold is not None:
            charge(call, usage, hold.settle(usage, certainty, outcome, odd))
        self._close(entry, usage)

    def _close(self, entry: _Entry, usage: Usage) -> None:
        """Give back what was set aside, and record the response."""
        call = entry.call
        if entry.reservation is not None:
            entry.reservation.settle(usage)
        call.ended = self._books.clock.now()
        call.waited = call.ended - call.started
        self._books.journal.record(call)

    def _show(self, content: bytes) -> None:
        """Let those see an event who remember what providers keep."""
        for name in _NEWS:
            if name in content:
                for entry in self._open.values():
                    if entry.witness is not None:
                        entry.witness.event(name, content)
