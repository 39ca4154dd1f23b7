"""An app on langchain-openai, over both of the API's ways to ask."""

import json
from importlib.metadata import version
from typing import Any

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from tests.clients.matrix.apps.official import QUESTION
from tests.clients.matrix.apps.report import Said, Used, run


class Forecast(BaseModel):
    """An answer with a shape."""

    place: str
    centimetres: int


class LangChain:
    """A chat model that asks by one of the API's ways."""

    def __init__(self, *, by_responses: bool) -> None:
        self._options: dict[str, Any] = {
            "use_responses_api": by_responses,
            "stream_usage": True,
            "include_response_headers": True,
        }

    async def whole(self, model: str, key: str) -> Said:
        """Ask the question."""
        return _said(await self._model(model, api_key=key).ainvoke(QUESTION))

    async def streamed(
        self, model: str, heard: list[str], headers: dict[str, str] | None = None
    ) -> Said:
        """Ask for a stream."""
        whole = None
        async for chunk in self._model(model, default_headers=headers).astream(QUESTION):
            heard.append(chunk.text)
            whole = chunk if whole is None else whole + chunk
        return _said(whole)

    async def tool(self, plan: Any) -> Used:
        """Let the model call the tool, and give it the result."""

        @tool
        def water_level(gauge: str, unit: str) -> str:
            """Return the water level at a gauge."""
            return "182"

        model = self._model(plan["model"]).bind_tools([water_level])
        asked = await model.ainvoke(QUESTION)
        (call,) = asked.tool_calls
        result = ToolMessage(water_level.invoke(call["args"]), tool_call_id=call["id"])
        last = await model.ainvoke([HumanMessage(QUESTION), asked, result])
        return Used(call["name"], call["args"], last.text)

    async def shaped(self, plan: Any) -> Any:
        """Ask for an answer of a class."""
        answer = await self._model(plan["model"]).with_structured_output(Forecast).ainvoke(QUESTION)
        return json.loads(answer.model_dump_json())

    async def vectors(self, plan: Any) -> Any:
        """Embed the plan's texts."""
        embeddings = OpenAIEmbeddings(model=plan["embedder"], check_embedding_ctx_length=False)
        return await embeddings.aembed_documents(plan["texts"])

    def _model(self, name: str, **more: Any) -> ChatOpenAI:
        return ChatOpenAI(model=name, **self._options, **more)


def _said(message: Any) -> Said:
    usage, about = message.usage_metadata, message.response_metadata
    kinds = ("input", "output", "total")
    tokens = [usage[f"{kind}_tokens"] for kind in kinds] if usage else None
    finish = about.get("finish_reason") or about.get("status")
    return Said(message.text, tokens, finish, about.get("headers", {}).get("x-request-id"))


if __name__ == "__main__":
    run(
        version("langchain-openai"),
        {"chat": LangChain(by_responses=False), "responses": LangChain(by_responses=True)},
    )
