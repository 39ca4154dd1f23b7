"""Sends an answer at the model's pace, bills it as it goes, and lets its fault strike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import msgspec

from headworks.ports import Clock
from headworks.simulator.breakage.kinds import Kind
from headworks.simulator.breakage.strike import Broken, Strike
from headworks.simulator.exchange import Exchange
from headworks.simulator.invoice import Attempt, Books
from headworks.simulator.pace import Pace
from headworks.simulator.reply import Body, Reply
from headworks.types import NO_USAGE, Usage

_EVENTS = "text/event-stream; charset=utf-8"
_PING = b": keep-alive\n\n"
_INTERIM = b"HTTP/1.1 103 Early Hints\r\nlink: </elsewhere>; rel=preload\r\n\r\n"
_AT_ONCE = 32
"""Events without a pause between them after which others may run."""
_SURPLUS = (
    b'{"id":"chatcmpl-surplus","object":"chat.completion","created":0,"model":"surplus","choices":'
    b'[{"index":0,"message":{"role":"assistant","content":"This answer is for somebody else."},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
)


@final
@dataclass(frozen=True, slots=True)
class Delivery:
    """Everything that the sending of one answer needs."""

    exchange: Exchange
    attempt: Attempt
    books: Books
    clock: Clock
    pace: Pace
    kind: Kind
    strike: Strike
    headers: Mapping[str, str]
    started: float

    def strike_early(self) -> None:
        """Let a fault strike that comes before the head: raises a refusal, or `Broken`."""
        self.kind.early(self.strike)

    async def send(self, body: Body, *, stream: bool) -> None:
        """Send an answer, whole or as events."""
        body = self.kind.body(body, self.strike)
        if stream and isinstance(body, Reply):
            await self._send_stream(body)
        else:
            await self._send_whole(body)
        await self._add_late()

    async def end(self, broken: Broken) -> None:
        """Break the answer off."""
        if broken.how != "hang":
            self.books.close(self.attempt, "cut")
        await self.exchange.break_off(broken.how)

    async def _send_whole(self, body: Body) -> None:
        content = body.whole(usage=True)
        await self._generate(body)
        self.attempt.usage = NO_USAGE if self.kind.is_free else body.usage
        parts, broken = self._parts(content)
        if broken is None:
            self.books.close(self.attempt, "cut" if self.kind.is_cut else "completed")
            length = sum(map(len, parts))
        else:
            length = -1 if broken.how in {"clean", "bad_chunk"} else len(content)
        await self._start(body.content_type, length)
        for part in parts[:-1]:
            await self._write(part)
        await self.exchange.write(parts[-1] if parts else b"", more=broken is not None)
        if broken is not None:
            raise broken

    def _parts(self, content: bytes) -> tuple[list[bytes], Broken | None]:
        parts: list[bytes] = []
        try:
            parts.extend(self.kind.whole(content, self.strike))
        except Broken as broken:
            return parts, broken
        return parts, None

    async def _send_stream(self, reply: Reply) -> None:
        if not self.pace.ping:
            await self._wait(self.pace.first_token)
        self._bill(reply, 0)
        await self._start(_EVENTS)
        if self.pace.ping:
            await self._ping_through(self.pace.first_token + self.pace.silence)
        else:
            await self._wait(self.pace.silence)
        await self._send_steps(reply)
        await self.exchange.write(b"", more=False)

    async def _send_steps(self, reply: Reply) -> None:
        billed, wait, now = 0, self.pace.per_token, self.clock.now
        due = now()
        steps = self.kind.events(reply.steps(usage=True), reply, self.strike)
        try:
            for count, step in enumerate(steps, 1):
                if wait and step.tokens:
                    due += wait * step.tokens
                    await self._wait(due - now())
                elif count % _AT_ONCE == 0:
                    await self.exchange.turn()
                billed += step.tokens
                if step.kind == "done":
                    self._bill(reply, billed)
                    self.books.close(self.attempt, "completed")
                if step.data:
                    await self._write(step.data)
        finally:
            self._bill(reply, billed)

    async def _generate(self, body: Body) -> None:
        """Wait as long as the whole answer takes; whoever leaves earlier pays for what was made."""
        start, usage, wait = self.clock.now(), body.usage, self.pace.per_token
        first = self.pace.first_token + self.pace.silence
        total = first + usage.output * wait
        if total <= 0 or body.in_background:
            return
        try:
            await self.clock.sleep(total)
        finally:
            made = self.clock.now() - start - first
            if made >= 0:
                output = min(usage.output, int(made / wait)) if wait else usage.output
                self.attempt.usage = msgspec.structs.replace(usage, output=output)

    async def _start(self, content_type: str, length: int = -1) -> None:
        """Send the head, as the fault wants it."""
        self.attempt.status = 200
        spent = f"{(self.clock.now() - self.started) * 1000:.0f}"
        fields = [("content-type", content_type), *self.headers.items()]
        fields.append(("openai-processing-ms", spent))
        if length >= 0:
            fields.append(("content-length", str(length)))
        fields = self.kind.head(fields, self.strike)
        if self.kind.start == "after interim answers":
            self.exchange.raw(_INTERIM * self.strike.rule.count)
        if self.kind.start != "byte by byte":
            await self.exchange.start(200, fields, hold=length >= 0)
            return
        head = self.exchange.head(200, fields)
        for at in range(len(head)):
            self.exchange.raw(head[at : at + 1])
            await self.clock.sleep(self.strike.rule.seconds)

    async def _write(self, data: bytes) -> None:
        waiting = self.exchange.post(data)
        if waiting is not None:
            await waiting
        if self.kind.is_apart:
            await self.exchange.turn()
            await self._wait(self.strike.rule.seconds)

    async def _add_late(self) -> None:
        """Let a fault strike that comes after a complete answer."""
        if self.kind.late == "the end of the connection":
            await self.exchange.break_off(self.strike.ending)
        if self.kind.late == "a second answer":
            await self._wait(self.strike.rule.seconds)
            head = (
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            )
            self.exchange.raw(head % len(_SURPLUS) + _SURPLUS)

    async def _ping_through(self, seconds: float) -> None:
        """Send comments while the model thinks."""
        while seconds > 0:
            await self.clock.sleep(min(seconds, self.pace.ping))
            seconds -= self.pace.ping
            if seconds > 0:
                await self.exchange.write(_PING)

    async def _wait(self, seconds: float) -> None:
        if seconds > 0:
            await self.clock.sleep(seconds)

    def _bill(self, reply: Reply, output: int) -> None:
        whole = reply.usage
        output = whole.output if reply.in_background else min(output, whole.output)
        reasoning = min(whole.reasoning, output)
        self.attempt.usage = Usage(
            whole.input, output, whole.cached, reasoning=reasoning, tier=whole.tier
        )
