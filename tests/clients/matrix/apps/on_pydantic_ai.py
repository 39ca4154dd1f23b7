"""An app on pydantic-ai, over both of the API's ways to ask."""

import json
from datetime import timedelta
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, Embedder, ModelRequest
from pydantic_ai.direct import model_request_batch
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.models.batch import BatchRequest
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.clients.matrix.apps.official import QUESTION
from tests.clients.matrix.apps.report import Said, Used, run


class Forecast(BaseModel):
    """An answer with a shape."""

    place: str
    centimetres: int


class PydanticAI:
    """An agent that asks by one kind of model."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    async def whole(self, model: str, key: str) -> Said:
        """Ask the question."""
        result = await self._agent(model, key).run(QUESTION)
        return Said(result.output, _usage(result), str(result.response.finish_reason))

    async def streamed(
        self, model: str, heard: list[str], headers: dict[str, str] | None = None
    ) -> Said:
        """Ask for a stream."""
        settings = {"extra_headers": headers or {}}
        async with self._agent(model).run_stream(QUESTION, model_settings=settings) as result:
            async for piece in result.stream_text(delta=True, debounce_by=None):
                heard += [piece]
            text = await result.get_output()
            return Said(text, _usage(result), str(result.response.finish_reason))

    async def tool(self, plan: Any) -> Used:
        """Let the agent use its tool until it has an answer."""
        agent = self._agent(plan["model"])
        calls: list[dict[str, Any]] = []

        @agent.tool_plain
        def water_level(gauge: str, unit: str) -> str:
            """Return the water level at a gauge."""
            calls.append({"gauge": gauge, "unit": unit})
            return "182"

        result = await agent.run(QUESTION)
        (arguments,) = calls
        return Used("water_level", arguments, result.output)

    async def shaped(self, plan: Any) -> Any:
        """Ask for an answer of a class."""
        result = await self._agent(plan["model"], output_type=Forecast).run(QUESTION)
        return json.loads(result.output.model_dump_json())

    async def vectors(self, plan: Any) -> Any:
        """Embed the plan's texts."""
        embedder = Embedder(OpenAIEmbeddingModel(plan["embedder"]))
        return (await embedder.embed_documents(plan["texts"])).embeddings

    def _agent(self, model: str, key: str | None = None, **more: Any) -> Any:
        return Agent(self._kind(model, provider=OpenAIProvider(api_key=key)), **more)


def _usage(result: Any) -> list[int]:
    usage = result.usage
    return [usage.input_tokens, usage.output_tokens, usage.total_tokens]


class Account:
    """What the provider keeps for its caller."""

    async def batch(self, plan: Any) -> Any:
        """Have the question answered twice by a batch of responses."""
        model = OpenAIResponsesModel(plan["batched"], provider=OpenAIProvider())
        asked = [ModelRequest.user_text_prompt(QUESTION)]
        wait = timedelta(seconds=0.1)
        answers = await model_request_batch(
            model,
            [BatchRequest(custom_id=name, messages=asked) for name in ("first", "second")],
            poll_interval=wait,
            max_poll_interval=wait,
        )
        return {"answers": [_text(answer) for answer in answers]}


def _text(answer: Any) -> str:
    if isinstance(answer, Exception):
        raise answer
    return str(answer.text)


if __name__ == "__main__":
    run(
        version("pydantic-ai-slim"),
        {"chat": PydanticAI(OpenAIChatModel), "responses": PydanticAI(OpenAIResponsesModel)},
        Account(),
    )
