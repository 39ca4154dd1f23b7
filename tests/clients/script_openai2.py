"""An app on openai 2.x: does what its plan on standard input says, and prints what it saw as JSON.

Runs in an environment of its own, with nothing but the standard two variables to find the gateway,
or with the path of a configuration to take the engine into its process. Its argument says which
kind of client it uses, `sync` or `async`; the calls are the same.
"""

import asyncio
import inspect
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from typing import Any

import openai


def main() -> None:
    """Make every call of the plan."""
    plan = json.load(sys.stdin)
    with ExitStack() as stack:
        seen = asyncio.run(follow(plan, client(plan, sys.argv[1] == "async", stack)))
    json.dump(seen, sys.stdout)


def client(plan: Any, is_async: bool, stack: ExitStack) -> Any:  # noqa: FBT001 - one of two kinds
    """Return the app's client."""
    if plan["config"] is None:
        return openai.AsyncOpenAI() if is_async else openai.OpenAI()
    import headworks

    hw = stack.enter_context(headworks.open(plan["config"]))
    make: Any = hw.async_openai if is_async else hw.openai
    return make(api_key=plan["key"])


async def follow(plan: Any, client: Any) -> dict[str, Any]:
    """Return what comes of all calls."""
    seen = await ask(plan, client) | await ask_more(plan, client)
    seen["failures"] = {
        name: await failure(client.with_options(api_key=case["key"]), case["body"])
        for name, case in plan["failures"].items()
    }
    seen["broken"] = {
        model: await broken(client, {**plan["body"], "model": model}) for model in plan["broken"]
    }
    await value(client.close())
    return seen


async def ask(plan: Any, client: Any) -> dict[str, Any]:
    """Return what comes of chats that succeed."""
    body, chat = plan["body"], client.chat.completions
    raw = await value(chat.with_raw_response.create(**body))
    whole = raw.parse()
    streamed = await value(chat.create(**body, stream=True))
    options = {"stream_options": {"include_usage": True}}
    with_usage = await value(chat.create(**body, stream=True, **options))
    shaped = await value(chat.create(**body, response_format=plan["format"]))
    return {
        "version": openai.__version__,
        "text": whole.choices[0].message.content,
        "tokens": whole.usage.total_tokens,
        "ids": [whole._request_id, raw.headers["x-headworks-call"]],
        "streamed": await read(streamed, nothing()),
        "streamed_with_usage": await read(with_usage, nothing()),
        "shaped": json.loads(shaped.choices[0].message.content),
        **await use_tool(plan, chat),
    }


async def use_tool(plan: Any, chat: Any) -> dict[str, Any]:
    """Return the call that the model asks for, and what it says to the result."""
    body = plan["body"]
    asked = await value(chat.create(**body, tools=plan["tools"]))
    call = asked.choices[0].message.tool_calls[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": "182"}
    turns = [*body["messages"], asked.choices[0].message.model_dump(exclude_none=True), result]
    answered = await value(chat.create(model=body["model"], messages=turns))
    return {
        "tool": [call.function.name, json.loads(call.function.arguments), turns],
        "answered": answered.choices[0].message.content,
    }


async def ask_more(plan: Any, client: Any) -> dict[str, Any]:
    """Return what comes of the other endpoints."""
    embeddings = await value(client.embeddings.create(**plan["texts"]))
    response = await value(client.responses.create(**plan["response"]))
    streamed = await value(client.responses.create(**plan["response"], stream=True))
    events = [event async for event in each(streamed)]
    models = await value(client.models.list())
    return {
        "vectors": [one.embedding for one in embeddings.data],
        "response": response.output_text,
        "events": [[event.sequence_number, event.type] for event in events],
        "event_text": events[-1].response.output_text,
        "models": [model.id for model in models.data],
    }


def nothing() -> dict[str, Any]:
    """Return what is known of a stream before it begins."""
    return {"text": "", "finish": None, "usage": []}


async def read(stream: Any, seen: dict[str, Any]) -> dict[str, Any]:
    """Read a stream into `seen`: what it says, how it ends, which usage it tells."""
    async for chunk in each(stream):
        for choice in chunk.choices:
            seen["text"] += choice.delta.content or ""
            seen["finish"] = choice.finish_reason or seen["finish"]
        if chunk.usage is not None:
            seen["usage"].append(chunk.usage.total_tokens)
    return seen


async def failure(client: Any, body: Any) -> dict[str, Any]:
    """Return how a call fails, {} if it does not."""
    try:
        await value(client.chat.completions.create(**body))
    except openai.APIError as error:
        return told(error)
    return {}


async def broken(client: Any, body: Any) -> dict[str, Any]:
    """Return what came of a stream before it failed, and how it failed."""
    seen = nothing()
    try:
        await read(await value(client.chat.completions.create(**body, stream=True)), seen)
    except openai.APIError as error:
        seen |= told(error)
    return seen


def told(error: openai.APIError) -> dict[str, Any]:
    """Return what an error tells."""
    response = getattr(error, "response", None)
    names = ("x-should-retry", "x-headworks-call")
    return {
        "class": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "code": error.code,
        "request_id": getattr(error, "request_id", None),
        "headers": {} if response is None else {name: response.headers.get(name) for name in names},
    }


async def value(result: Any) -> Any:
    """Return what a method returns, whichever kind of client it belongs to."""
    return await result if inspect.isawaitable(result) else result


async def each(stream: Any) -> AsyncGenerator[Any]:
    """Yield what either kind of stream brings."""
    if hasattr(stream, "__aiter__"):
        async for item in stream:
            yield item
    else:
        for item in stream:
            yield item


if __name__ == "__main__":
    main()
