"""Callers of every kind: what they ask, and when they leave."""

import asyncio
import json
import random
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.faults.processes import KEY, Line, Reply, line_to, request

DRAINS = f"drains-{KEY}"
"""The key of callers whose answers are read to their end when they leave."""
_LEAVING = 0.12
_NONE = "slow_first_token=0"
"""A fault that changes nothing, and stands in the place of any other."""
_SLOW = "slow=2.5"
"""What a provider does whose caller will leave, so that a busy machine is no slower than it."""
_SOON = 0.15
"""Seconds after which who hangs up before an answer has done so."""
_SAYING = "the price of bread rose while the river fell and nobody in town could say why"
_WORDS = _SAYING.split(" ")
_LONG = " ".join(_WORDS * 90)
"""More than the thousand tokens from which a provider remembers a prompt."""
_PLACE = {"type": "object", "properties": {"place": {"type": "string"}}}
_WEATHER = {"name": "weather", "description": "The weather of a place", "parameters": _PLACE}
_TOOLS = [{"type": "function", "function": _WEATHER}]


@dataclass(frozen=True)
class Ask:
    """One call.

    Attributes:
        tag: Its own name, which gateway and provider both write down.
        leaves: After so many pieces of the answer its caller hangs up; at 0 before it begins.
        patience: Seconds until who leaves before the answer does so.
        fault: What the provider is ordered to do, "" for what it does by itself.
    """

    tag: str
    path: str
    fields: Mapping[str, Any]
    key: str = KEY
    leaves: int | None = None
    patience: float = 0.0
    fault: str = ""

    @property
    def content(self) -> bytes:
        headers = {"x-headworks-user": self.tag, "x-client-request-id": self.tag}
        if self.fault:
            headers["x-simulator-fault"] = self.fault
        line = f"POST /v1/{self.path} HTTP/1.1"
        return request(json.dumps(self.fields).encode(), line=line, key=self.key, headers=headers)


def calm(name: str) -> list[Ask]:
    """Return one call of each model that thinks at each effort, which the provider answers well."""
    efforts = ("none", "low", "medium", "high")
    kinds = [(model, effort) for model in ("thinker", "second") for effort in efforts]
    return [
        Ask(
            f"{name}-calm-{number}",
            "responses",
            {"model": model, "input": "Hi", "reasoning": {"effort": effort}},
            fault=_NONE,
        )
        for number, (model, effort) in enumerate(kinds)
    ]


def mixed(name: str, count: int, chance: random.Random) -> list[Ask]:
    """Return so many calls of all kinds."""
    return [_ask(f"{name}-{number}", chance) for number in range(count)]


def _ask(tag: str, chance: random.Random) -> Ask:
    if chance.random() < 0.1:
        return Ask(tag, "embeddings", {"model": "embedder", "input": _words(chance)})
    model = chance.choice(("thinker", "thinker", "plain", "hedged"))
    fields: dict[str, Any] = {"model": model}
    if model == "hedged" or chance.random() < 0.5:
        fields["stream"] = True
    if chance.random() < 0.3:
        fields["service_tier"] = chance.choice(("flex", "priority", "auto"))
    effort = chance.choice(("none", "low", "high")) if chance.random() < 0.4 else "medium"
    is_chat = chance.random() < 0.6
    fields |= (_chat if is_chat else _response)(effort if model == "thinker" else "", chance)
    if not is_chat or "stream" not in fields:
        fields.pop("stream_options", None)
    leaves = chance.randrange(50) if chance.random() < _LEAVING else None
    return Ask(
        tag,
        "chat/completions" if is_chat else "responses",
        fields,
        chance.choice((KEY, KEY, DRAINS)),
        leaves,
        chance.uniform(0, _SOON),
        fault="" if leaves is None else _SLOW,
    )


def _chat(effort: str, chance: random.Random) -> dict[str, Any]:
    text = _LONG if chance.random() < 0.03 else _words(chance)
    fields: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
    if chance.random() < 0.5:
        fields["stream_options"] = {"include_usage": chance.random() < 0.7}
    if chance.random() < 0.1:
        fields["n"] = 2
    if chance.random() < 0.1:
        fields["tools"] = _TOOLS
    if chance.random() < 0.2:
        fields["max_completion_tokens"] = chance.choice((20, 200, 400))
    return fields | ({"reasoning_effort": effort} if effort else {})


def _response(effort: str, chance: random.Random) -> dict[str, Any]:
    fields: dict[str, Any] = {"input": _words(chance), "store": False}
    if chance.random() < 0.2:
        fields["max_output_tokens"] = chance.choice((20, 200, 400))
    return fields | ({"reasoning": {"effort": effort}} if effort else {})


def _words(chance: random.Random) -> str:
    return " ".join(chance.choices(_WORDS, k=chance.randrange(20, 300)))


@dataclass
class Crowd:
    """Callers, so many at a time, and what each was told.

    Attributes:
        heard: Called at each end of a reply.
    """

    at_once: int = 40
    told: dict[str, Reply] = field(default_factory=dict[str, Reply])
    heard: Callable[[], None] = lambda: None

    async def call(self, port: int, calls: Iterable[Ask]) -> None:
        """Make all calls; a gateway that is gone takes none of them."""
        waiting = iter(calls)
        await asyncio.gather(*(self._work(port, waiting) for _ in range(self.at_once)))

    async def _work(self, port: int, waiting: Iterable[Ask]) -> None:
        for ask in waiting:
            with suppress(OSError):
                async with line_to(port) as line:
                    if ask.leaves is None:
                        self.told[ask.tag] = await line.ask(ask.content)
                        self.heard()
                    else:
                        await _leave(line, ask)


class _SeenEnoughError(Exception):
    """The caller hangs up."""


async def _leave(line: Line, ask: Ask) -> None:
    """Hang up after so many pieces of an answer, or while it is on its way."""
    left = ask.leaves or 0

    def look(_: Reply) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            raise _SeenEnoughError

    line.on_piece = look
    line.writer.write(ask.content)
    if left:
        with suppress(_SeenEnoughError):
            await line.reply()
    else:
        await asyncio.sleep(ask.patience)
