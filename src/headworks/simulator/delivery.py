"""Sends an answer at the model's pace, bills it as it goes, and lets its fault strike."""

from dataclasses import dataclass
from typing import final

import msgspec

from headworks.ports import Clock
from headworks.simulator import faults, problems
from headworks.simulator.config import FaultRule, Latency
from headworks.simulator.exchange import Exchange
from headworks.simulator.invoice import Attempt, Books
from headworks.simulator.reply import MALFORMED, Body, Reply
from headworks.types import NO_USAGE, Usage

_EVENTS = "text/event-stream; charset=utf-8"


@final
@dataclass(frozen=True, slots=True)
class Delivery:
    """Everything that the sending of one answer needs."""

    exchange: Exchange
    attempt: Attempt
    books: Books
    clock: Clock
    pace: Latency
    fault: FaultRule | None
    headers: dict[str, str]
    started: float

    async def strike_early(self) -> None:
        """Let a fault strike that comes before the head."""
        fault = self.fault
        if fault is None:
            return
        if fault.fault == "status":
            raise problems.ordered(fault, self.attempt.model)
        if fault.fault == "hang_before_head":
            await self.exchange.hang()
        if fault.fault == "reset_before_head":
            self.books.close(self.attempt, "cut")
            await self.exchange.break_off("rst")

    async def send_whole(self, body: Body) -> None:
        """Send an answer as one JSON body."""
        content = body.whole(usage=not self._meets("missing_usage"))
        await self._generate(body)
        self.attempt.usage = body.usage
        if self._meets("cut_after") or self._meets("stall_after"):
            await self._send_half(content, body.content_type)
            return
        outcome = "completed"
        if self._meets("malformed_chunk"):
            content, outcome = content[: len(content) // 2], "cut"
        if self._meets("error_event"):
            content, outcome = msgspec.json.encode({"error": self._error().error}), "cut"
            self.attempt.usage = NO_USAGE
        self.books.close(self.attempt, outcome)
        await self.exchange.start(200, self._head(body.content_type, len(content)))
        await self.exchange.write(content, more=False)

    async def send_stream(self, reply: Reply) -> None:
        """Send an answer as events, one token each."""
        if self._meets("json_instead_of_stream"):
            await self.send_whole(reply)
            return
        await self.clock.sleep(self.pace.first_token)
        self._bill(reply, 0)
        await self.exchange.start(200, self._head(_EVENTS))
        if self.fault and self._meets("slow_first_token"):
            await self.clock.sleep(self.fault.seconds)
        await self._send_steps(reply)

    async def _send_steps(self, reply: Reply) -> None:
        billed = said = 0
        wait, no_done = self.pace.per_token(), self._meets("no_done")
        for count, step in enumerate(reply.steps(usage=not self._meets("missing_usage"))):
            if faults.is_due(self.fault, step.kind, said):
                await self._strike(reply, count)
                return
            if step.kind == "token":
                await self.clock.sleep(wait)
                said += step.tokens
            elif step.kind == "done":
                self.books.close(self.attempt, "completed")
                if no_done:
                    break
            if step.tokens:
                billed += step.tokens
                self._bill(reply, billed)
            await self.exchange.write(step.data)
            if step.kind == "done" and self._meets("duplicate_done"):
                await self.exchange.write(step.data)
        await self.exchange.write(b"", more=False)

    async def _strike(self, reply: Reply, count: int) -> None:
        """Let a fault strike in mid-stream, after `count` events."""
        if self._meets("stall_after"):
            await self.exchange.hang()
        self.books.close(self.attempt, "cut")
        if self._meets("malformed_chunk"):
            await self.exchange.write(MALFORMED)
        if self._meets("error_event"):
            await self.exchange.write(reply.error(self._error(), count))
        await self.exchange.break_off(faults.ending(self.fault))

    async def _send_half(self, content: bytes, kind: str) -> None:
        is_clean = faults.ending(self.fault) == "clean" and not self._meets("stall_after")
        await self.exchange.start(200, self._head(kind, None if is_clean else len(content)))
        await self.exchange.write(content[: len(content) // 2])
        if self._meets("stall_after"):
            await self.exchange.hang()
        self.books.close(self.attempt, "cut")
        await self.exchange.break_off(faults.ending(self.fault))

    async def _generate(self, body: Body) -> None:
        """Wait as long as the whole answer takes; whoever leaves earlier pays for what was made."""
        start, usage = self.clock.now(), body.usage
        wait = self.pace.per_token()
        extra = self.fault.seconds if self.fault and self._meets("slow_first_token") else 0.0
        first = self.pace.first_token + extra
        total = first + usage.output * wait
        if total <= 0:
            return
        try:
            await self.clock.sleep(total)
        finally:
            made = self.clock.now() - start - first
            if made >= 0:
                output = min(usage.output, int(made / wait)) if wait else usage.output
                self.attempt.usage = msgspec.structs.replace(usage, output=output)

    def _bill(self, reply: Reply, output: int) -> None:
        whole = reply.usage
        reasoning = min(whole.reasoning, output)
        self.attempt.usage = Usage(
            whole.input, output, whole.cached, reasoning=reasoning, tier=whole.tier
        )

    def _meets(self, name: str) -> bool:
        return self.fault is not None and self.fault.fault == name

    def _error(self) -> problems.Refusal:
        fault = self.fault or FaultRule("error_event")
        return problems.ordered(fault, self.attempt.model)

    def _head(self, kind: str, size: int | None = None) -> dict[str, str]:
        self.attempt.status = 200
        length = {} if size is None else {"content-length": str(size)}
        spent = {"openai-processing-ms": f"{(self.clock.now() - self.started) * 1000:.0f}"}
        return {"content-type": kind, **self.headers, **spent, **length}
