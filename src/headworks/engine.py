"""The story of a call, from the caller to an upstream and back."""

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from msgspec.structs import replace

from headworks.absent import NoIdempotency
from headworks.answer import Answer
from headworks.core.client_tokens import tagged
from headworks.core.endpoints import must_be_kept
from headworks.core.naming import two_models
from headworks.core.permission import authorise
from headworks.core.wire import error_response, retry_headers
from headworks.dispatch import Dispatcher
from headworks.errors import CallError, InternalError
from headworks.ports import (
    Cache,
    Clock,
    Context,
    Estimator,
    Guard,
    Idempotency,
    Journal,
    Keys,
    Limits,
    Listing,
    Prompts,
    Random,
)
from headworks.relay import Relay
from headworks.types import Call, Caller, Presence, Request, Response, Secret, Usage

_log = logging.getLogger("headworks")


def _as_it_came(request: Request, _key: Secret | None) -> Request:
    return request


@dataclass(frozen=True, slots=True)
class Engine:
    """Carries API calls. Every call passes through `call`, whichever face it came in by.

    Attributes:
        redact: Takes secrets out of what a request, made by a key, says of itself.
    """

    keys: Keys
    prompts: Prompts
    guards: Sequence[Guard]
    context: Context
    listing: Listing
    cache: Cache
    estimator: Estimator
    limits: Limits
    dispatcher: Dispatcher
    relay: Relay
    journal: Journal
    clock: Clock
    random: Random
    redact: Callable[[Request, Secret | None], Request] = _as_it_came
    idempotency: Idempotency = field(default_factory=NoIdempotency)

    @asynccontextmanager
    async def call(
        self, request: Request, key: Secret | None, presence: Presence | None = None
    ) -> AsyncGenerator[Response]:
        """Carry one call; the response lives inside the `async with` block.

        Whoever knows when the caller leaves says so to `presence`, and leaves the block unless the
        call is to go on without a caller.

        However the block is left (the end, an error, a caller who hung up), the upstream is
        closed, the reservation settled and the call recorded: once each.

        Raises:
            CallError: The call was refused, or failed before its first byte.
        """
        call = Call(
            self.random.call_id(),
            self.redact(request, key),
            self.clock.now(),
            self.clock.time(),
            presence=presence or Presence(),
        )
        try:
            caller = self._authenticate(call, key)
            request = await self._complete(call) if request.upload else request
            authorise(caller, request)
            if known := self.listing.answer(request, caller) or await self.idempotency.claim(call):
                yield self.relay.known(known, call)
                return
            request = await self.prompts.resolve(call.request, caller)
            for guard in self.guards:
                await guard.inspect(request, caller)
            call.request = request = await self.context.fit(request, call)
            if (known := await self.cache.get(request, caller)) is not None:
                call.cache = "hit"
                yield self.relay.known(known, call)
                return

            estimate = self.estimator.estimate(request)
            reservation = await self.limits.reserve(call, estimate)
            try:
                async with await self.relay.wait(self._dispatch(call, estimate), call) as answer:
                    response = await self.relay.relay(answer, call)
                    yield await self.idempotency.record(call, response)
            finally:
                reservation.settle(call.usage)
            self.cache.put(request, caller, response)
        except CallError as error:
            self.relay.fail(error, call)
            raise
        finally:
            self._end(call)

    def _authenticate(self, call: Call, key: Secret | None) -> Caller:
        """Note whose call it is, and for whom."""
        call.caller = caller = self.keys.authenticate(key)
        if caller.token is not None:
            call.request = tagged(call.request, caller)
        return caller

    async def _complete(self, call: Call) -> Request:
        """Return the request with all that decides about it, though it stand behind a file."""
        upload = call.request.upload
        if upload is not None and must_be_kept(call.request, upload):
            await upload.keep()
            named, fields = call.request.model, {**upload.fields}
            call.request = replace(call.request, fields=fields, model_at=upload.model_at)
            if named and call.request.model != named:
                raise two_models()
            call.asked = call.request.model
        return call.request

    def _end(self, call: Call) -> None:
        """Let those go on who wait for the call, and record it."""
        self.idempotency.release(call)
        call.ended = self.clock.now()
        self.journal.record(call)

    async def _dispatch(self, call: Call, estimate: Usage) -> Answer:
        """Return an answer; what a provider refuses as too long goes out once more, smaller."""
        try:
            return await self.dispatcher.dispatch(call, estimate)
        except CallError as error:
            is_left = call.presence.is_gone or call.attempts >= self.dispatcher.backoff.attempts
            smaller = None if is_left else await self.context.refit(call, error)
            if smaller is None:
                raise
        call.request = smaller
        return await self.dispatcher.dispatch(call, estimate)

    def refusal(self, error: Exception) -> Response:
        """Return the answer that tells a caller of an error, of the call's own or from before it.

        The log is told of what nobody foresaw; the caller of that only the id to ask for.
        """
        told = error if isinstance(error, CallError) else InternalError()
        if not told.headers:
            id_ = self.random.call_id()
            fields = (b"x-request-id", b"x-headworks-call")
            told.headers = (*((name, id_.encode()) for name in fields), *retry_headers(told))
            if told is not error:
                _log.error("call %s failed unforeseen", id_, exc_info=error)
        return error_response(told)
