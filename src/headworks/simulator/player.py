"""Serves a cassette: the recorded bytes, in the recorded time."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, final

from headworks.ports import Clock
from headworks.simulator.cassettes import Recording, key_of
from headworks.simulator.exchange import Application, Exchange, Gone, Receive, Scope, Send
from headworks.simulator.problems import Refusal


@final
class Player:
    """An ASGI application that answers as recorded.

    Equal requests get the recordings of that request in their order, and the last one from then on.
    Any key is accepted. What was not recorded goes to `otherwise`, or is refused.
    """

    def __init__(
        self,
        recordings: Mapping[str, Sequence[Recording]],
        clock: Clock,
        *,
        speed: float = 1.0,
        otherwise: Application | None = None,
    ) -> None:
        self._recordings, self._clock, self._otherwise = recordings, clock, otherwise
        self._speed = speed if speed > 0 else 1.0
        self._played: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send)
        try:
            await exchange.read()
            recording = self._next(exchange)
            if recording is not None:
                await exchange.while_connected(self._play(exchange, recording))
            elif self._otherwise is not None:
                await self._otherwise(scope, _again(exchange.content, receive), send)
            else:
                refusal = self._unknown(exchange)
                await exchange.answer(refusal.status, refusal.content, refusal.headers)
        except Gone:
            return

    def _next(self, exchange: Exchange) -> Recording | None:
        kind = exchange.headers.get(b"content-type", b"")
        key = key_of(exchange.method, exchange.path, exchange.query, kind, exchange.content)
        known = self._recordings.get(key)
        if known is None:
            return None
        turn = min(self._played[key], len(known) - 1)
        self._played[key] += 1
        return known[turn]

    async def _play(self, exchange: Exchange, recording: Recording) -> None:
        start = self._clock.now()
        await self._wait_until(start, recording.head_after)
        await exchange.start(recording.status, recording.headers)
        for part in recording.parts:
            await self._wait_until(start, part.after)
            await exchange.write(part.content)
        if recording.ending == "cut":
            await exchange.break_off("fin")
        else:
            await exchange.write(b"", more=False)

    async def _wait_until(self, start: float, after: float) -> None:
        left = start + after / self._speed - self._clock.now()
        if left > 0:
            await self._clock.sleep(left)

    def _unknown(self, exchange: Exchange) -> Refusal:
        total = sum(len(known) for known in self._recordings.values())
        alike = sum(
            recording.path == exchange.path and recording.method == exchange.method
            for known in self._recordings.values()
            for recording in known
        )
        return Refusal(
            404,
            f"Nothing was recorded for this {exchange.method} {exchange.path}: the cassette holds "
            f"{total} exchanges, {alike} of them at this path with other bodies. Record it, or "
            "let the simulator answer what is missing.",
            code="not_recorded",
        )


def _again(content: bytes, receive: Receive) -> Receive:
    """Return a `receive` that hands out a body once more, and then goes on."""
    body: list[dict[str, Any]] = [{"type": "http.request", "body": content, "more_body": False}]

    async def receive_again() -> Any:
        return body.pop() if body else await receive()

    return receive_again
