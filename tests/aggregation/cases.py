"""Every kind of request that the practice OpenAI answers whole and streamed alike."""

from typing import Any

from tests.aggregation.asking import CHAT, COMPLETIONS, IMAGES, RESPONSES, TRANSCRIPTS, Case

_USAGE: Any = {"stream_options": {"include_usage": True}}
_SCHEMA: Any = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
_INCLUDE = [
    "message.output_text.logprobs",
    "web_search_call.action.sources",
    "file_search_call.results",
    "code_interpreter_call.outputs",
]
_OWN = frozenset({"billing"})
"""What only responses in one piece tell."""


def _function(name: str) -> Any:
    return {"name": name, "parameters": _SCHEMA}


def _tools(*names: str) -> Any:
    return [{"type": "function", "function": _function(name)} for name in names]


def _chat(name: str, has: str, fault: str = "", **more: Any) -> Case:
    said = {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "Hi"}]}
    return Case(f"chat, {name}", CHAT, {**said, **more}, has, fault, _USAGE)


def _text(name: str, has: str, **more: Any) -> Case:
    said = {"model": "gpt-3.5-turbo-instruct", "prompt": "Once", "max_tokens": 12}
    return Case(f"completion, {name}", COMPLETIONS, {**said, **more}, has, "", _USAGE)


def _response(name: str, has: str, fault: str = "", **more: Any) -> Case:
    said = {"model": "gpt-4.1-mini", "input": "Hi", "include": _INCLUDE}
    return Case(f"response, {name}", RESPONSES, {**said, **more}, has, fault, apart=_OWN)


def _hosted(**tool: Any) -> Any:
    return {"tools": [tool], "tool_choice": "required"}


CHATS = [
    _chat("words", '"content":"'),
    _chat("three choices", '"index":2', n=3),
    _chat("logprobs", '"top_logprobs":[{', logprobs=True, top_logprobs=3),
    _chat("logprobs of two", '"logprob"', logprobs=True, n=2),
    _chat("a tool", '"arguments":"{', tools=_tools("a"), tool_choice="required"),
    _chat("two tools, two choices", '}"}},{"id":"call_', tools=_tools("a", "b", "c"), tool_choice="required", n=2),
    _chat("a custom tool", '"input":"', tools=[{"type": "custom", "custom": {"name": "sh"}}], tool_choice="required"),
    _chat("a function of old", '"function_call":{', functions=[_function("a")], function_call={"name": "a"}),
    _chat("a schema", '\\"city\\"', response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": _SCHEMA, "strict": True}}),
    _chat("a bound", '"finish_reason":"length"', max_tokens=3),
    _chat("a bound in the arguments", '"finish_reason":"length"', tools=_tools("a"), tool_choice="required", max_tokens=9),
    _chat("thoughts", '"system_fingerprint":null', model="gpt-5-mini"),
    _chat("nothing but thoughts", '"content":""', model="gpt-5-mini", max_completion_tokens=4),
    _chat("a prediction", '"accepted_prediction_tokens"', prediction={"type": "content", "content": "a b c d e f"}),
    _chat("a refusal", '"refusal":"I', "refusal"),
    _chat("logprobs of a refusal", '"refusal":[{', "refusal", logprobs=True),
    _chat("a filter", '"finish_reason":"content_filter"', "content_filter"),
]  # fmt: skip
COMPLETED = [
    _text("words", '"text":"'),
    _text("logprobs, echo, two prompts", '"text_offset":[0', prompt=["Once", "Twice"], logprobs=2, echo=True, n=2),
    _text("a bound", '"finish_reason":"length"', max_tokens=1),
]  # fmt: skip
RESPONDED = [
    _response("words", '"logprobs":[{', top_logprobs=2),
    _response("a summary of thoughts", '"summary_text"', model="gpt-5-mini", reasoning={"summary": "auto", "effort": "high"}, include=["reasoning.encrypted_content"]),
    _response("a function", '"function_call"', tools=[{"type": "function", **_function("a")}], tool_choice="required"),
    _response("a custom tool", '"custom_tool_call"', tools=[{"type": "custom", "name": "sh"}], tool_choice="required"),
    _response("functions", '0001","type":"function_call"', input="Ho", tools=[{"type": "function", **_function(name)} for name in "abc"], tool_choice="required"),
    _response("a search of the web", '"url_citation"', **_hosted(type="web_search")),
    _response("a search of files", '"file_citation"', **_hosted(type="file_search", vector_store_ids=["vs_1"])),
    _response("code", '"code_interpreter_call"', **_hosted(type="code_interpreter", container={"type": "auto"})),
    _response("a schema", '\\"city\\"', text={"format": {"type": "json_schema", "name": "s", "schema": _SCHEMA, "strict": True}}),
    _response("a bound", '"max_output_tokens"}', max_output_tokens=16, instructions="Speak long"),
    _response("a bound in thoughts", '"max_output_tokens"}', model="gpt-5-mini", max_output_tokens=16, include=["reasoning.encrypted_content"]),
    _response("a refusal", '"refusal":"I', "refusal"),
    _response("a filter", '"content_filter"}', "content_filter"),
    _response("a failure", '"status":"failed"', "failed"),
]  # fmt: skip
MEDIA = [
    Case("an image", IMAGES, {"model": "gpt-image-1", "prompt": "A cat", "size": "1024x1024"}, '"b64_json"', streamed={"partial_images": 2}, apart=frozenset({"usage"})),  # they cost
    Case("a transcript", TRANSCRIPTS, {"model": "gpt-4o-transcribe", "response_format": "json", "include[]": "logprobs"}, '"logprob"'),
    Case("a transcript with speakers", TRANSCRIPTS, {"model": "gpt-4o-transcribe-diarize", "response_format": "diarized_json", "chunking_strategy": "auto"}, '"speaker"', apart=frozenset({"task", "duration"})),
]  # fmt: skip
CASES = [*CHATS, *COMPLETED, *RESPONDED, *MEDIA]
