"""An app on llama-index, over both of the API's ways to ask."""

import json
import os
from importlib.metadata import version
from typing import Any

from llama_index.core import PromptTemplate
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai import OpenAI, OpenAIResponses
from pydantic import BaseModel

from tests.clients.matrix.apps.official import QUESTION, usage_of
from tests.clients.matrix.apps.report import Said, Used, run

KNOWN = "gpt-6-sol"
TURNS = [ChatMessage(content=QUESTION)]


class Forecast(BaseModel):
    """An answer with a shape."""

    place: str
    centimetres: int


class LlamaIndex:
    """A language model that asks by one of the API's ways."""

    def __init__(self, kind: Any, **streaming: Any) -> None:
        self._kind, self._streaming = kind, streaming

    async def whole(self, model: str, key: str) -> Said:
        """Ask the question."""
        answer = await self._model(model, api_key=key).achat(TURNS)
        return _said(answer, answer.raw, answer.raw._request_id)

    async def streamed(
        self, model: str, heard: list[str], headers: dict[str, str] | None = None
    ) -> Said:
        """Ask for a stream."""
        llm = self._model(model, default_headers=headers)
        finish = raw = None
        async for answer in await llm.astream_chat(TURNS, **self._streaming):
            heard.append(answer.delta or "")
            raw = getattr(answer.raw, "response", answer.raw)
            for choice in getattr(raw, "choices", ()):
                finish = choice.finish_reason or finish
        usage = getattr(raw, "usage", None)
        finish = finish or getattr(raw, "status", None)
        return Said("".join(heard), usage_of(usage) if usage else None, finish)

    async def tool(self, plan: Any) -> Used:
        """Let the model call the tool, and give it the result."""

        def water_level(gauge: str, unit: str) -> str:
            """Return the water level at a gauge."""
            return "182"

        tool = FunctionTool.from_defaults(water_level)
        llm = self._model(plan["model"])
        asked = await llm.achat_with_tools([tool], chat_history=list(TURNS))
        (call,) = llm.get_tool_calls_from_response(asked)
        told = tool(**call.tool_kwargs).content
        result = ChatMessage(
            role="tool", content=told, additional_kwargs={"tool_call_id": call.tool_id}
        )
        last = await llm.achat([*TURNS, asked.message, result])
        return Used(call.tool_name, call.tool_kwargs, last.message.content)

    async def shaped(self, plan: Any) -> Any:
        """Ask for an answer of a class."""
        prompt = PromptTemplate(QUESTION)
        answer = await self._model(plan["model"]).astructured_predict(Forecast, prompt)
        return json.loads(answer.model_dump_json())

    async def vectors(self, plan: Any) -> Any:
        """Embed the plan's texts."""
        embedding = OpenAIEmbedding(model=plan["embedder"])
        return await embedding.aget_text_embedding_batch(plan["texts"])

    def _model(self, name: str, **more: Any) -> Any:
        # It asks for models alone that it knows by name, unless another name is put over that.
        return self._kind(model=KNOWN, additional_kwargs={"model": name}, **more)


def _said(answer: Any, raw: Any, request_id: str) -> Said:
    finish = raw.choices[0].finish_reason if hasattr(raw, "choices") else raw.status
    return Said(answer.message.content, usage_of(raw.usage), finish, request_id)


if __name__ == "__main__":
    os.environ["OPENAI_API_BASE"] = os.environ["OPENAI_BASE_URL"]  # its name for it
    run(
        version("llama-index-llms-openai"),
        {
            "chat": LlamaIndex(OpenAI, stream_options={"include_usage": True}),
            "responses": LlamaIndex(OpenAIResponses),
        },
    )
