"""An app on openai-agents, over both of the API's ways to ask."""

import json
from importlib.metadata import version
from typing import Any

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from pydantic import BaseModel

from tests.clients.matrix.apps.official import QUESTION
from tests.clients.matrix.apps.report import Said, Used, run

SETTINGS = ModelSettings(include_usage=True)


class Forecast(BaseModel):
    """An answer with a shape."""

    place: str
    centimetres: int


class Agents:
    """An agent that asks by one kind of model."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    async def whole(self, model: str, key: str) -> Said:
        """Ask the question."""
        result = await Runner.run(self._agent(model, key), QUESTION)
        (response,) = result.raw_responses
        return Said(result.final_output, _usage(result), id=response.request_id)

    async def streamed(
        self, model: str, heard: list[str], headers: dict[str, str] | None = None
    ) -> Said:
        """Ask for a stream."""
        settings = ModelSettings(include_usage=True, extra_headers=headers)
        agent = self._agent(model, model_settings=settings)
        result = Runner.run_streamed(agent, QUESTION)
        async for event in result.stream_events():
            data: Any = getattr(event, "data", None)
            if getattr(data, "type", "") == "response.output_text.delta":
                heard.append(data.delta)
        return Said(result.final_output, _usage(result))

    async def tool(self, plan: Any) -> Used:
        """Let the agent use its tool until it has an answer."""
        calls: list[dict[str, Any]] = []

        @function_tool
        def water_level(gauge: str, unit: str) -> str:
            """Return the water level at a gauge."""
            calls.append({"gauge": gauge, "unit": unit})
            return "182"

        agent = self._agent(plan["model"], tools=[water_level])
        result = await Runner.run(agent, QUESTION)
        (arguments,) = calls
        return Used(water_level.name, arguments, result.final_output)

    async def shaped(self, plan: Any) -> Any:
        """Ask for an answer of a class."""
        result = await Runner.run(self._agent(plan["model"], output_type=Forecast), QUESTION)
        return json.loads(result.final_output.model_dump_json())

    def _agent(self, model: str, key: str | None = None, **more: Any) -> Agent[Any]:
        client = AsyncOpenAI(api_key=key)
        kind = self._kind(model=model, openai_client=client)
        return Agent("Hydrologist", model=kind, **{"model_settings": SETTINGS} | more)


def _usage(result: Any) -> list[int]:
    usage = result.context_wrapper.usage
    return [usage.input_tokens, usage.output_tokens, usage.total_tokens]


if __name__ == "__main__":
    set_tracing_disabled(disabled=True)
    run(
        version("openai-agents"),
        {"chat": Agents(OpenAIChatCompletionsModel), "responses": Agents(OpenAIResponsesModel)},
    )
