"""An app on openai 2.x: does what its plan on standard input says, and prints what it saw as JSON.

Runs in an environment of its own, with nothing but the standard two variables to find the gateway,
or with the path of a configuration to take the engine into its process.
"""

import asyncio
import json
import sys
from contextlib import ExitStack
from typing import Any

import openai


def main() -> None:
    """Make every call of the plan."""
    plan = json.load(sys.stdin)
    with ExitStack() as stack:
        make, amake = openai.OpenAI, openai.AsyncOpenAI
        if plan["config"] is not None:
            import headworks

            hw = stack.enter_context(headworks.open(plan["config"]))
            make, amake = hw.openai, hw.async_openai  # type: ignore[assignment] # return the same
        options = {} if plan["config"] is None else {"api_key": plan["key"]}
        with make(**options) as client:
            seen = asks(client, plan)
            seen["failures"] = {
                name: failure(client.with_options(api_key=case["key"]), case["body"])
                for name, case in plan["failures"].items()
            }
            seen["broken"] = {
                model: broken(client, {**plan["body"], "model": model}) for model in plan["broken"]
            }
        seen["async"] = asyncio.run(async_asks(amake(**options), plan))
    json.dump(seen, sys.stdout)


def asks(client: Any, plan: Any) -> dict[str, Any]:
    """Return what comes of the calls that succeed."""
    body = plan["body"]
    raw = client.chat.completions.with_raw_response.create(**body)
    whole = raw.parse()
    with_usage = {"stream_options": {"include_usage": True}}
    asked = client.chat.completions.create(**body, tools=plan["tools"])
    call = asked.choices[0].message.tool_calls[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": "182"}
    turns = [*body["messages"], asked.choices[0].message.model_dump(exclude_none=True), result]
    answered = client.chat.completions.create(model=body["model"], messages=turns)
    shaped = client.chat.completions.create(**body, response_format=plan["format"])
    events = list(client.responses.create(**plan["response"], stream=True))
    return {
        "version": openai.__version__,
        "text": whole.choices[0].message.content,
        "tokens": whole.usage.total_tokens,
        "ids": [whole._request_id, raw.headers["x-headworks-call"]],
        "streamed": chunks(client.chat.completions.create(**body, stream=True)),
        "streamed_with_usage": chunks(
            client.chat.completions.create(**body, stream=True, **with_usage)
        ),
        "tool": [call.function.name, json.loads(call.function.arguments), turns],
        "answered": answered.choices[0].message.content,
        "shaped": json.loads(shaped.choices[0].message.content),
        "vectors": [one.embedding for one in client.embeddings.create(**plan["texts"]).data],
        "response": client.responses.create(**plan["response"]).output_text,
        "events": [[event.sequence_number, event.type] for event in events],
        "event_text": events[-1].response.output_text,
        "models": [model.id for model in client.models.list().data],
    }


def chunks(stream: Any) -> dict[str, Any]:
    """Return what a stream says, how it ends, and which usage it tells."""
    seen: dict[str, Any] = {"text": "", "finish": None, "usage": []}
    for chunk in stream:
        note(seen, chunk)
    return seen


def note(seen: dict[str, Any], chunk: Any) -> None:
    """Add one chunk to what was seen."""
    for choice in chunk.choices:
        seen["text"] += choice.delta.content or ""
        seen["finish"] = choice.finish_reason or seen["finish"]
    if chunk.usage is not None:
        seen["usage"].append(chunk.usage.total_tokens)


def failure(client: Any, body: Any) -> dict[str, Any]:
    """Return how a call fails."""
    try:
        client.chat.completions.create(**body)
    except openai.APIError as error:
        return told(error)
    return {}


def told(error: openai.APIError) -> dict[str, Any]:
    """Return what an error tells."""
    response = getattr(error, "response", None)
    names = ("retry-after", "x-should-retry", "x-headworks-call")
    return {
        "class": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "code": error.code,
        "message": error.message,
        "request_id": getattr(error, "request_id", None),
        "headers": {} if response is None else {name: response.headers.get(name) for name in names},
    }


def broken(client: Any, body: Any) -> dict[str, Any]:
    """Return what came of a stream before it failed, and how it failed."""
    seen: dict[str, Any] = {"text": "", "finish": None, "usage": []}
    try:
        for chunk in client.chat.completions.create(**body, stream=True):
            note(seen, chunk)
    except openai.APIError as error:
        seen |= told(error)
    return seen


async def async_asks(client: Any, plan: Any) -> dict[str, Any]:
    """Return what the asynchronous client sees."""
    seen: dict[str, Any] = {"text": "", "finish": None, "usage": []}
    cut: dict[str, Any] = {"text": "", "finish": None, "usage": []}
    async with client:
        whole = await client.chat.completions.create(**plan["body"])
        async for chunk in await client.chat.completions.create(**plan["body"], stream=True):
            note(seen, chunk)
        try:
            body = {**plan["body"], "model": plan["broken"][0]}
            async for chunk in await client.chat.completions.create(**body, stream=True):
                note(cut, chunk)
        except openai.APIError as error:
            cut |= told(error)
    return {"text": whole.choices[0].message.content, "streamed": seen, "cut": cut}


if __name__ == "__main__":
    main()
