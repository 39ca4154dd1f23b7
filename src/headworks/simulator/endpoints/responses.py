"""POST /v1/responses: an output of thoughts, calls and words, kept for later unless told otherwise."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, final

import msgspec
from typing_extensions import override

from headworks.simulator.answers import digest
from headworks.simulator.asked import Asked
from headworks.simulator.endpoints.responses_checks import LIMIT, check, compacted_above
from headworks.simulator.endpoints.responses_life import Response, frame, whole
from headworks.simulator.endpoints.responses_making import Order, Output, make
from headworks.simulator.endpoints.responses_object import conversation_of
from headworks.simulator.endpoints.responses_tools import chosen
from headworks.simulator.endpoints.responses_turn import Turn, take_turn
from headworks.simulator.problems import Refusal
from headworks.simulator.provider import Provider
from headworks.simulator.reply import Reply, Step

_SAID = ("model", "instructions", "text", "tools", "tool_choice", "reasoning", "temperature")
"""Fields that decide, beside the prompt, what is answered."""


@final
class ResponsesReply(Reply):
    """The answer to one `/responses` request."""

    def __init__(self, provider: Provider, asked: Asked) -> None:
        model = provider.served_model(asked, "responses")
        check(asked.fields)
        provider.meter.check_bound(model, LIMIT, asked.fields.get(LIMIT))
        turn = take_turn(provider, asked, asked.credential)
        output = _made(provider, asked, turn)
        self.usage = msgspec.structs.replace(
            turn.usage, output=output.tokens, reasoning=output.reasoning
        )
        name = conversation_of(asked.fields)
        self._conversation = provider.shelf.conversation(asked.credential, name) if name else None
        self._shelf, self._is_kept = provider.shelf, False
        self._stores = asked.fields.get("store") is not False
        self._response = Response(asked, turn.context, turn.items, output, self.usage)
        self.in_background = self._response.is_background
        pace = provider.config.pace(model)
        work = output.tokens * pace.per_token()
        self._response.schedule(provider.clock.now(), pace.first_token, work)

    @override
    def whole(self, *, usage: bool) -> bytes:
        """Return the `response` object: complete, or the queued one of a background response."""
        self._keep()
        return whole(self._response.first(usage=usage))

    @override
    def steps(self, *, usage: bool) -> Iterator[Step]:
        """Yield the events of the stream."""
        if self.in_background:
            self._keep()
        for step in self._response.steps(usage=usage):
            if step.kind == "done" and not self.in_background:
                self._keep()
            yield step

    @override
    def error(self, refusal: Refusal, sent: int) -> bytes:
        """Return an `error` event, in the flat form of the real one."""
        told = {key: refusal.error[key] for key in ("code", "message", "param")}
        return frame("error", {**told, "sequence_number": sent})

    def _keep(self) -> None:
        """Keep the response and continue its conversation: once, and only after it was admitted."""
        response = self._response
        if self._is_kept:
            return
        self._is_kept = True
        if self._stores or self.in_background:
            self._shelf.keep(response)
        if self._conversation is not None:
            self._conversation.items += [*response.items, *response.output]


def _made(provider: Provider, asked: Asked, turn: Turn) -> Output:
    fields, config = asked.fields, provider.config
    said: Mapping[str, Any] = {name: fields[name] for name in _SAID if name in fields}
    key = digest({**said, "input": turn.prompt}, config.seed)
    tools = chosen(fields, key, is_answered=turn.is_answered)
    split = partial(provider.meter.split, model=asked.model)
    compacts = compacted_above(fields) < turn.usage.input
    return make(Order(asked, key, tools, split, config.answer_tokens, compacts))
