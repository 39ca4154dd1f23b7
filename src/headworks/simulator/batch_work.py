"""What a batch does from its creation to its end, as a row of short steps that each have a time."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from math import gcd
from typing import Any, final

import msgspec

from headworks.simulator.accounts import Account
from headworks.simulator.asked import Asked
from headworks.simulator.batch import Batch
from headworks.simulator.batch_input import Input, Line, fault
from headworks.simulator.chance import Chance
from headworks.simulator.config import BatchPace
from headworks.simulator.invoice import Books
from headworks.simulator.limiter import Group, Limiter
from headworks.simulator.models import Models
from headworks.simulator.problems import Refusal
from headworks.simulator.storage import Storage, StoredFile

_EXPIRED = fault(
    "batch_expired",
    "This request could not be executed before the completion window expired.",
)
_LATE = {name: _EXPIRED[name] for name in ("code", "message")}


@dataclass(frozen=True, slots=True)
class Desk:
    """Where the work is done.

    Attributes:
        account: In whose project the batch waits.
        strike: Returns the refusal with which a request meets its fault, None for none.
    """

    pace: BatchPace
    seed: int
    storage: Storage
    books: Books
    models: Models
    limiter: Limiter
    account: Account
    strike: Callable[[Asked, bytes], Refusal | None]


@final
class Work:
    """The whole work of one batch.

    Attributes:
        steps: Yields when the next step is due, and does it when it is resumed.
    """

    def __init__(self, desk: Desk, batch: Batch, given: Input) -> None:
        self._desk, self.batch, self._input = desk, batch, given
        self._group: Group | None = None
        self.steps = self._guarded(self._steps())

    def begin(self) -> None:
        """Hold the input in storage, or raise the refusal of a full one."""
        self._desk.storage.reserve(self._input.size)
        self.batch.reserved = self._input.size

    def wind_up(self, when: float) -> None:
        """End the work early, at the wish of its owner."""
        self.batch.enter("cancelling", when)
        self.steps = self._guarded(self._stop(when + self._desk.pace.cancelling))

    def _guarded(self, steps: Iterator[float]) -> Iterator[float]:
        """Do the steps; a batch whose results find no room has failed."""
        when = self.batch.order.created
        try:
            for when in steps:
                yield when
        except Refusal as refusal:
            self.batch.errors = [fault(str(refusal.error["code"]), str(refusal))]
            self.batch.output.clear()
            self.batch.faults.clear()
            self._end("failed", when)

    def _steps(self) -> Iterator[float]:
        batch, pace = self.batch, self._desk.pace
        when = min(batch.order.created + pace.validating, batch.order.expires)
        yield when
        for _ in self._input.read():
            yield when
        if self._input.errors or not self._enqueue():
            batch.errors = self._input.errors
            self._end("failed", when)
            return
        batch.model, batch.total = self._input.model or None, len(self._input.lines)
        batch.enter("in_progress", when)
        lines = self._shuffled()
        for line in lines:
            when += pace.per_line()
            if when > batch.order.expires:
                yield from self._expire(chain([line], lines))
                return
            yield when
            self._do(line, when)
        batch.enter("finalizing", when)
        when += pace.finalizing
        yield when
        self._end("completed", when)

    def _stop(self, when: float) -> Iterator[float]:
        yield when
        self._end("cancelled", when)

    def _enqueue(self) -> bool:
        """Take the input's tokens from the queue, or note that they do not fit."""
        model, tokens = self._input.model, self._input.tokens
        group = self._desk.limiter.group(model, self._desk.account.project)
        if group is None or group.limit.batch_tokens is None:
            return True
        if group.enqueued + tokens > group.limit.batch_tokens:
            message = (
                f"Enqueued token limit reached for {model} in organization "
                f"{self._desk.account.organization}. Limit: {group.limit.batch_tokens:,} enqueued tokens. "
                "Please try again once some in_progress batches have been completed."
            )
            self._input.errors = [fault("token_limit_exceeded", message)]
            return False
        group.enqueued += tokens
        self._group = group
        return True

    def _shuffled(self) -> Iterator[Line]:
        """Yield the lines in another order than the file's."""
        lines = self._input.lines
        chance = Chance(self._desk.seed, "order", self.batch.order.id)
        step = 1 + chance.below(len(lines))
        while gcd(step, len(lines)) > 1:
            step += 1
        first = 1 + chance.below(len(lines) - 1)
        for number in range(len(lines)):
            yield lines[(first + number * step) % len(lines)]

    def _do(self, line: Line, when: float) -> None:
        """Answer one request; it is an attempt of its own in the books, of tier `batch`."""
        batch, order = self.batch, self.batch.order
        chance = Chance(self._desk.seed, order.id, line.start)
        written, body = self._input.request(line)
        asked = Asked("POST", order.endpoint, order.owner, chance.hex(48), int(when), body)
        attempt = self._desk.books.open(asked.method, asked.path)
        attempt.time, attempt.model, attempt.credential = when, asked.model, order.owner
        attempt.request_id, attempt.status, outcome = chance.hex(32), 200, "completed"
        struck = self._desk.strike(asked, written)
        try:
            if struck is not None:
                attempt.fault = f"status={struck.status}"
                raise struck
            answer = order.run(asked)
            attempt.model = attempt.model or answer.model
            content: object = msgspec.Raw(answer.whole(usage=True))
            tier = self._desk.models.tier(asked.model, "batch")
            attempt.usage = msgspec.structs.replace(answer.usage, tier=tier)
            batch.add(answer.usage)
            batch.completed += 1
        except Refusal as refusal:
            content, attempt.status, outcome = {"error": refusal.error}, refusal.status, "refused"
            batch.failed += 1
        self._desk.books.close(attempt, outcome)
        response = {
            "status_code": attempt.status,
            "request_id": attempt.request_id,
            "body": content,
        }
        lines = batch.output if outcome == "completed" else batch.faults
        self._write(lines, chance, line, response, None)

    def _expire(self, rest: Iterable[Line]) -> Iterator[float]:
        """List what was not done in time."""
        batch, order = self.batch, self.batch.order
        for line in rest:
            yield order.expires
            batch.failed += 1
            chance = Chance(self._desk.seed, order.id, line.start)
            self._write(batch.faults, chance, line, None, _LATE)
        self._end("expired", order.expires)

    def _write(
        self,
        lines: list[bytes],
        chance: Chance,
        line: Line,
        response: dict[str, Any] | None,
        error: dict[str, Any] | None,
    ) -> None:
        told = {"id": f"batch_req_{chance.hex(32)}", "custom_id": line.custom_id}
        written = msgspec.json.encode({**told, "response": response, "error": error}) + b"\n"
        self._desk.storage.reserve(len(written))
        self.batch.reserved += len(written)
        lines.append(written)

    def _end(self, status: str, when: float) -> None:
        """Write the files, and give back what the batch held."""
        batch, storage = self.batch, self._desk.storage
        self._input.drop()
        storage.release(batch.reserved)
        batch.reserved = 0
        if self._group is not None:
            self._group.enqueued -= self._input.tokens
            self._group = None
        for kind, lines in (("output", batch.output), ("error", batch.faults)):
            if lines:
                batch.files[kind] = storage.add(self._file(kind, b"".join(lines), when)).id
            lines.clear()
        batch.enter(status, when)

    def _file(self, kind: str, content: bytes, when: float) -> StoredFile:
        order = self.batch.order
        name = "file-" + Chance(self._desk.seed, order.id, kind).hex(22)
        expires = None if order.kept is None else int(when) + order.kept
        filename = f"{order.id}_{kind}.jsonl"
        return StoredFile(name, order.owner, filename, "batch_output", content, int(when), expires)
