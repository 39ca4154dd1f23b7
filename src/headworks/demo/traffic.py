"""What an app does all day, by the official client: plain, streamed, tools, structured, embeddings."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import openai
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionToolMessageParam, ChatCompletionToolUnionParam
from pydantic import BaseModel

MODEL = "assistant"
_PARALLEL = 16
_MANUAL = "The gate opens when the water is high and closes when the mill has enough. " * 100
_TOOLS: list[ChatCompletionToolUnionParam] = [
    {
        "type": "function",
        "function": {
            "name": "water_level",
            "description": "Return the water level at a gauge.",
            "parameters": {
                "type": "object",
                "properties": {"gauge": {"type": "string"}, "unit": {"enum": ["cm", "m"]}},
                "required": ["gauge"],
            },
        },
    }
]


class Forecast(BaseModel):
    """An answer with a shape."""

    place: str
    centimetres: int


@dataclass
class Outcome:
    """What the app saw.

    Attributes:
        kinds: Calls by kind.
        lost: What went wrong, one text a call; empty if all is well.
        overheads: Milliseconds that each call spent in headworks itself.
        cached_tokens: Prompt tokens that the provider read from its cache.
    """

    kinds: Counter[str] = field(default_factory=Counter[str])
    lost: list[str] = field(default_factory=list[str])
    overheads: list[float] = field(default_factory=list[float])
    cached_tokens: int = 0

    @property
    def calls(self) -> int:
        """How many calls were made."""
        return self.kinds.total()


class Traffic:
    """Makes calls and watches what comes back. The client itself never tries again."""

    def __init__(self, base_url: str, key: str) -> None:
        self._client = AsyncOpenAI(
            base_url=base_url, api_key=key, max_retries=0, http_client=_direct_client()
        )
        self._free = asyncio.Semaphore(_PARALLEL)
        self.outcome = Outcome()

    async def run(self, calls: int) -> Outcome:
        """Make about so many calls, of all kinds, several at a time."""
        mix: list[tuple[str, Callable[[int], Awaitable[None]]]] = [
            ("plain", self._plain),
            ("streamed", self._streamed),
            ("plain", self._plain),
            ("tools", self._tools),
            ("streamed", self._streamed),
            ("structured", self._structured),
            ("embeddings", self._embeddings),
            ("long prompt", self._long_prompt),
        ]
        async with self._client:
            await asyncio.gather(
                *(self._call(*mix[number % len(mix)], number) for number in range(calls))
            )
        return self.outcome

    async def _call(self, kind: str, make: Callable[[int], Awaitable[None]], number: int) -> None:
        async with self._free:
            self.outcome.kinds[kind] += 1
            try:
                await make(number)
            except Exception as error:  # noqa: BLE001 - whatever an app sees go wrong is a lost call
                self.outcome.lost.append(f"{kind}: {type(error).__name__}: {error}")

    async def _plain(self, number: int) -> None:
        await self._ask(number, "plain", f"What is the level at gauge {number}?")

    async def _long_prompt(self, number: int) -> None:
        answer = await self._ask(number, "manual", f"{_MANUAL} Question {number}: when?")
        details = answer.usage.prompt_tokens_details
        self.outcome.cached_tokens += (details and details.cached_tokens) or 0

    async def _ask(self, number: int, feature: str, text: str, **more: Any) -> Any:
        create: Any = self._client.chat.completions.with_raw_response.create
        response: Any = await create(
            model=MODEL,
            messages=[{"role": "user", "content": text}],
            extra_headers=_tags(feature, number),
            **more,
        )
        self.outcome.overheads.append(float(response.headers["x-headworks-overhead-ms"]))
        answer = response.parse()
        _expect(answer.choices[0].finish_reason in {"stop", "tool_calls"}, "no end")
        return answer

    async def _streamed(self, number: int) -> None:
        stream = await self._client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": f"Tell me about mill {number}."}],
            stream=True,
            extra_headers=_tags("stream", number),
        )
        finish = None
        async for chunk in stream:
            for choice in chunk.choices:
                finish = choice.finish_reason or finish
        _expect(finish == "stop", "the stream did not end as it should")

    async def _tools(self, number: int) -> None:
        question = f"How high is gauge {number}?"
        answer = await self._ask(number, "tools", question, tools=_TOOLS)
        message = answer.choices[0].message
        _expect(bool(message.tool_calls), "no tool call")
        results: list[ChatCompletionToolMessageParam] = [
            {"role": "tool", "tool_call_id": call.id, "content": "182 cm"}
            for call in message.tool_calls
        ]
        await self._client.chat.completions.create(
            model=MODEL,
            messages=[
                {"role": "user", "content": question},
                message.model_dump(exclude_none=True),
                *results,
            ],
            extra_headers=_tags("tools", number),
        )
        self.outcome.kinds["tools"] += 1

    async def _structured(self, number: int) -> None:
        answer = await self._client.chat.completions.parse(
            model=MODEL,
            messages=[{"role": "user", "content": f"Forecast for gauge {number}."}],
            response_format=Forecast,
            extra_headers=_tags("forecast", number),
        )
        _expect(isinstance(answer.choices[0].message.parsed, Forecast), "no forecast")

    async def _embeddings(self, number: int) -> None:
        answer = await self._client.embeddings.create(
            model="text-embedding-3-small",
            input=[f"gauge {number}", "mill race"],
            extra_headers=_tags("search", number),
        )
        _expect(len(answer.data) == 2, "not every text has its vector")  # noqa: PLR2004 - two texts


def _direct_client() -> Any:
    """Return the official client's HTTP client, without the proxy that the environment may name."""
    since_3 = "DefaultAsyncHttpx2Client"
    return getattr(openai, since_3, openai.DefaultAsyncHttpxClient)(trust_env=False)


def _tags(feature: str, number: int) -> dict[str, str]:
    return {"x-headworks-feature": feature, "x-headworks-user": f"user-{number % 5}"}


def _expect(is_true: bool, otherwise: str) -> None:  # noqa: FBT001 - an assertion that stays
    if not is_true:
        raise AssertionError(otherwise)
