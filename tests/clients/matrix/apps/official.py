"""An app on the official client itself; the argument says which kind, `sync` or `async`."""

import asyncio
import json
import sys
from typing import Any

import openai

from tests.clients.matrix.apps.report import Said, Used, each, run, value

QUESTION = "What does a headworks do?"
MESSAGES: list[Any] = [{"role": "user", "content": QUESTION}]


def usage_of(usage: Any) -> list[int]:
    """Return the tokens that either API tells."""
    told = usage.model_dump()
    names = ("prompt", "completion") if "prompt_tokens" in told else ("input", "output")
    return [told[f"{name}_tokens"] for name in (*names, "total")]


class Chat:
    """Chat completions."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def whole(self, model: str, key: str) -> Said:
        """Ask the question."""
        create = self._client.with_options(api_key=key).chat.completions.create
        answer = await value(create(model=model, messages=MESSAGES))
        choice = answer.choices[0]
        usage = usage_of(answer.usage)
        return Said(choice.message.content, usage, choice.finish_reason, answer._request_id)

    async def streamed(
        self, model: str, heard: list[str], headers: dict[str, str] | None = None
    ) -> Said:
        """Ask for a stream with its usage."""
        more: Any = {"stream_options": {"include_usage": True}, "extra_headers": headers}
        create = self._client.chat.completions.create
        stream = create(model=model, messages=MESSAGES, stream=True, **more)
        finish = usage = None
        async for chunk in each(await value(stream)):
            for choice in chunk.choices:
                heard.append(choice.delta.content or "")
                finish = choice.finish_reason or finish
            usage = usage_of(chunk.usage) if chunk.usage else usage
        return Said("".join(heard), usage, finish)

    async def tool(self, plan: Any) -> Used:
        """Let the model call the tool, and give it the result."""
        create = self._client.chat.completions.create
        tools = [{"type": "function", "function": plan["tool"]}]
        asked = await value(create(model=plan["model"], messages=MESSAGES, tools=tools))
        said = asked.choices[0].message
        call = said.tool_calls[0]
        result = {"role": "tool", "tool_call_id": call.id, "content": "182"}
        turns = [*MESSAGES, said.model_dump(exclude_none=True), result]
        last = await value(create(model=plan["model"], messages=turns, tools=tools))
        arguments = json.loads(call.function.arguments)
        return Used(call.function.name, arguments, last.choices[0].message.content)

    async def shaped(self, plan: Any) -> Any:
        """Ask for an answer with a schema."""
        schema = {"name": "forecast", "strict": True, "schema": plan["schema"]}
        create = self._client.chat.completions.create
        form = {"type": "json_schema", "json_schema": schema}
        answer = await value(create(model=plan["model"], messages=MESSAGES, response_format=form))
        return json.loads(answer.choices[0].message.content)

    async def vectors(self, plan: Any) -> Any:
        """Embed the plan's texts."""
        create = self._client.embeddings.create
        found = await value(create(model=plan["embedder"], input=plan["texts"]))
        return [one.embedding for one in found.data]


class Responses:
    """The Responses API."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def whole(self, model: str, key: str) -> Said:
        """Ask the question."""
        create = self._client.with_options(api_key=key).responses.create
        answer = await value(create(model=model, input=QUESTION))
        return Said(answer.output_text, usage_of(answer.usage), answer.status, answer._request_id)

    async def streamed(
        self, model: str, heard: list[str], headers: dict[str, str] | None = None
    ) -> Said:
        """Ask for a stream."""
        create = self._client.responses.create
        last = None
        stream = create(model=model, input=QUESTION, stream=True, extra_headers=headers)
        async for event in each(await value(stream)):
            if event.type == "response.output_text.delta":
                heard.append(event.delta)
            last = getattr(event, "response", last)
        usage = usage_of(last.usage) if last and last.usage else None
        return Said("".join(heard), usage, last.status if last else None)

    async def tool(self, plan: Any) -> Used:
        """Let the model call the tool, and give it the result by the number of its response."""
        create = self._client.responses.create
        tools = [{"type": "function", "strict": True, **plan["tool"]}]
        asked = await value(create(model=plan["model"], input=QUESTION, tools=tools))
        call = next(item for item in asked.output if item.type == "function_call")
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "182"}
        last = await value(
            create(model=plan["model"], input=[result], tools=tools, previous_response_id=asked.id)
        )
        return Used(call.name, json.loads(call.arguments), last.output_text)

    async def shaped(self, plan: Any) -> Any:
        """Ask for an answer with a schema."""
        form = {"type": "json_schema", "name": "forecast", "schema": plan["schema"]}
        create = self._client.responses.create
        answer = await value(create(model=plan["model"], input=QUESTION, text={"format": form}))
        return json.loads(answer.output_text)


class Account:
    """What the provider keeps for its caller."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def files(self, plan: Any) -> Any:
        """Upload a file, find it, read it and delete it."""
        files = self._client.files
        content = plan["content"].encode()
        sent = await value(files.create(file=("weir.jsonl", content), purpose="batch"))
        found = await value(files.retrieve(sent.id))
        listed = [one.id async for one in each(files.list(purpose="batch"))]
        read = await value(files.content(sent.id))
        deleted = await value(files.delete(sent.id))
        gone = None
        try:
            await value(files.retrieve(sent.id))
        except openai.NotFoundError as error:
            gone = error.status_code
        return {
            "name": found.filename,
            "bytes": found.bytes,
            "is_listed": listed == [sent.id],
            "content": read.text,
            "is_deleted": deleted.deleted,
            "gone": gone,
        }

    async def batch(self, plan: Any) -> Any:
        """Have the plan's lines answered as a batch, which is waited for; cancel a second one."""
        files, batches = self._client.files, self._client.batches

        async def ordered(lines: str) -> Any:
            file = ("lines.jsonl", lines.encode())
            sent = await value(files.create(file=file, purpose="batch"))
            order: Any = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
            return await value(batches.create(input_file_id=sent.id, **order))

        batch = await ordered(plan["lines"])
        statuses = [batch.status]
        while batch.status not in _ENDED:
            await asyncio.sleep(0.1)
            batch = await value(batches.retrieve(batch.id))
            statuses.append(batch.status)
        results = (await value(files.content(batch.output_file_id))).text.splitlines()
        other = await ordered(plan["long"])
        cancelled = await value(batches.cancel(other.id))
        listed = [one.id async for one in each(batches.list())]
        return {
            "statuses": [statuses[0], statuses[-1]],
            "answers": dict(map(_answer, results)),
            "counts": batch.request_counts.model_dump(),
            "are_listed": sorted(listed) == sorted([batch.id, other.id]),
            "cancelled": cancelled.status in {"cancelling", "cancelled"},
        }

    async def close(self) -> None:
        """Close the client."""
        await value(self._client.close())


_ENDED = {"completed", "failed", "expired", "cancelled"}


def _answer(line: str) -> tuple[str, str]:
    result = json.loads(line)
    return result["custom_id"], result["response"]["body"]["choices"][0]["message"]["content"]


if __name__ == "__main__":
    make: Any = openai.AsyncOpenAI if sys.argv[1] == "async" else openai.OpenAI
    client = make()
    run(
        openai.__version__,
        {"chat": Chat(client), "responses": Responses(client)},
        Account(client),
    )
