"""What a request refers to, and what an answer tells of."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from headworks.core.stateful import is_list, references
from headworks.core.stateful_answers import (
    LONG_LIFE,
    SHORT_LIFE,
    has_news,
    life,
    told,
    told_by_event,
)
from headworks.types import Request

RESPONSES, CHAT = "/v1/responses", "/v1/chat/completions"


def post(path: str, **fields: Any) -> Request:
    return Request("POST", path, fields=fields)


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


@dataclass(frozen=True)
class Case:
    id: str
    request: Request
    refers_to: tuple[str, ...] = ()


FILE = {"type": "input_file", "file_id": "file-1"}
FUNCTION = {
    "type": "function",
    "name": "f",
    "parameters": {"type": "object", "properties": {"file_id": {"default": "file-9"}}},
}
REFERRING = (
    Case("text", post(RESPONSES, model="m", input="Hi")),
    Case("chat text", post(CHAT, messages=[{"role": "user", "content": "file_id: file-1"}])),
    Case("previous", post(RESPONSES, input="Hi", previous_response_id="resp_1"), ("resp_1",)),
    Case("no previous", post(RESPONSES, input="Hi", previous_response_id=None)),
    Case("odd previous", post(RESPONSES, input="Hi", previous_response_id=5)),
    Case("conversation", post(RESPONSES, input="Hi", conversation="conv_1"), ("conv_1",)),
    Case("as object", post(RESPONSES, input="Hi", conversation={"id": "conv_1"}), ("conv_1",)),
    Case("a file", post(RESPONSES, input=user(FILE)), ("file-1",)),
    Case("a picture", post(RESPONSES, input=user({"type": "input_image", "file_id": "f"})), ("f",)),
    Case(
        "a tool's picture",
        post(RESPONSES, input=[{"type": "computer_call_output", "output": {"file_id": "f"}}]),
        ("f",),
    ),
    Case("item", post(RESPONSES, input=[{"type": "item_reference", "id": "msg_1"}]), ("msg_1",)),
    Case("bare item", post(RESPONSES, input=[{"id": "msg_1"}]), ("msg_1",)),
    Case("thought", post(RESPONSES, input=[{"type": "reasoning", "id": "rs_1"}]), ("rs_1",)),
    Case(
        "an open thought",
        post(RESPONSES, input=[{"type": "reasoning", "id": "rs_1", "content": [{"text": "Hm"}]}]),
    ),
    Case(
        "an old picture",
        post(RESPONSES, input=[{"type": "image_generation_call", "id": "ig_1", "result": None}]),
        ("ig_1",),
    ),
    Case(
        "a picture sent whole",
        post(RESPONSES, input=[{"type": "image_generation_call", "id": "ig_1", "result": "iVBO"}]),
    ),
    Case(
        "what a model has said",
        post(
            RESPONSES,
            input=[
                {"type": "function_call", "id": "fc_1", "call_id": "c", "arguments": "{}"},
                {"type": "file_search_call", "id": "fs_1", "results": [{"file_id": "file-9"}]},
                {
                    "role": "assistant",
                    "type": "message",
                    "id": "msg_1",
                    "content": [
                        {"type": "output_text", "annotations": [{"file_id": "cfile_1"}], "text": ""}
                    ],
                },
            ],
        ),
    ),
    Case(
        "stores",
        post(RESPONSES, input="", tools=[{"type": "file_search", "vector_store_ids": ["a", "b"]}]),
        ("a", "b"),
    ),
    Case(
        "container",
        post(RESPONSES, input="", tools=[{"type": "code_interpreter", "container": "cntr_1"}]),
        ("cntr_1",),
    ),
    Case(
        "files of a new container",
        post(
            RESPONSES,
            input="",
            tools=[{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["f"]}}],
        ),
        ("f",),
    ),
    Case("function", post(RESPONSES, input="", tools=[FUNCTION])),
    Case(
        "skills",
        post(
            RESPONSES,
            input="",
            tools=[
                {
                    "type": "shell",
                    "environment": {
                        "skills": [
                            {"type": "skill_reference", "skill_id": "skill_1"},
                            {"type": "skill_reference", "skill_id": "openai-spreadsheets"},
                        ]
                    },
                }
            ],
        ),
        ("skill_1",),
    ),
    Case(
        "hosted prompt",
        post(RESPONSES, prompt={"id": "pmpt_1", "variables": {"doc": FILE}}),
        ("file-1",),
    ),
    Case("chat file", post(CHAT, messages=user({"type": "file", "file": FILE})), ("file-1",)),
    Case(
        "what was said",
        post(CHAT, messages=[{"role": "assistant", "content": None, "audio": {"id": "audio_1"}}]),
        ("audio_1",),
    ),
    Case("odd messages", post(CHAT, messages=["Hi", None, {"content": [1, "x"], "audio": 3}])),
    Case(
        "batch",
        post("/v1/batches", input_file_id="file-1", metadata={"file_id": "mine"}),
        ("file-1",),
    ),
    Case(
        "tuning",
        post("/v1/fine_tuning/jobs", model="m", training_file="a", validation_file="b"),
        ("a", "b"),
    ),
    Case(
        "run of a thread",
        post("/v1/threads/thread_1/runs", assistant_id="asst_1"),
        ("asst_1", "thread_1"),
    ),
    Case("new thread and run", post("/v1/threads/runs", assistant_id="asst_1"), ("asst_1",)),
    Case(
        "evaluation",
        post("/v1/evals/eval_1/runs", data_source={"source": {"type": "file_id", "id": "file-1"}}),
        ("file-1", "eval_1"),
    ),
    Case("compaction", post("/v1/responses/compact", previous_response_id="resp_1"), ("resp_1",)),
    Case("by path", Request("GET", "/v1/files/file-1/content"), ("file-1",)),
    Case("nested", Request("GET", "/v1/vector_stores/vs_1/files/file-1"), ("vs_1",)),
    Case("encoded", Request("GET", "/v1/files/a%22b"), ('a"b',)),
    Case("in two words", Request("POST", "/v1/fine_tuning/jobs/ftjob-1/cancel"), ("ftjob-1",)),
    Case("stored chat", Request("GET", "/v1/chat/completions/chatcmpl-1"), ("chatcmpl-1",)),
    Case("list", Request("GET", "/v1/files")),
    Case("no thing", Request("GET", "/v1/models/gpt-6-sol")),
    Case("embeddings", post("/v1/embeddings", input="Hi", file_id="x")),
)


@pytest.mark.parametrize("case", REFERRING, ids=lambda case: case.id)
def test_what_a_request_refers_to(case: Case):
    """Ids are found wherever the API takes them, and nowhere else."""
    assert sorted(one.shown for one in references(case.request)) == sorted(case.refers_to)


def test_sealed_thoughts_are_known_by_themselves_or_by_their_id():
    """Encrypted reasoning comes home with or without an id, and is not shown in full."""
    items = [
        {"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAA"},
        {"type": "compaction", "encrypted_content": "gBBB"},
    ]
    found = references(post(RESPONSES, input=items))
    assert [(one.ids, one.shown) for one in found] == [
        (("gAAA", "rs_1"), "rs_1"),
        (("gBBB",), "the encrypted compaction"),
    ]


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1/files", True),
        ("GET", "/v1/fine_tuning/jobs", True),
        ("GET", CHAT, True),
        ("POST", "/v1/files", False),
        ("GET", "/v1/files/file-1", False),
        ("GET", "/v1/vector_stores/vs_1/files", False),
        ("GET", "/v1/models", False),
    ],
)
def test_what_is_a_list(method: str, path: str, *, expected: bool):
    """A list is of all things of a kind; what hangs below a thing is that thing's."""
    assert is_list(Request(method, path)) is expected


@dataclass(frozen=True)
class Told:
    id: str
    request: Request
    answer: Any
    ids: tuple[str, ...] = ()
    has_news: bool = True
    life: float = field(default=LONG_LIFE)


OUTPUT = [
    {"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAA", "summary": []},
    {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "Hi"}]},
    {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1"},
]
SPOKEN = {
    "id": "chatcmpl-1",
    "choices": [{"message": {"content": None, "audio": {"id": "audio_1"}}}],
}
ANSWERS = (
    Told(
        "response",
        post(RESPONSES, input="Hi"),
        {"id": "resp_1", "output": OUTPUT},
        ("resp_1", "rs_1", "gAAA", "msg_1", "ci_1", "cntr_1"),
        life=SHORT_LIFE,
    ),
    Told(
        "not stored",
        post(RESPONSES, input="Hi", store=False),
        {"id": "resp_1", "output": OUTPUT},
        ("gAAA", "cntr_1"),
        life=SHORT_LIFE,
    ),
    Told("odd", post(RESPONSES, input="Hi"), {"id": "resp_1", "output": "Hi"}, life=SHORT_LIFE),
    Told("no JSON", post("/v1/files"), None),
    Told(
        "in the background",
        Request("GET", "/v1/responses/resp_1"),
        {"id": "resp_1", "output": OUTPUT[:1]},
        ("resp_1", "rs_1", "gAAA"),
        life=SHORT_LIFE,
    ),
    Told("file", post("/v1/files"), {"id": "file-1", "object": "file"}, ("file-1",)),
    Told(
        "batch",
        Request("GET", "/v1/batches/batch_1"),
        {"id": "batch_1", "output_file_id": "file-2", "error_file_id": None},
        ("batch_1", "file-2"),
    ),
    Told(
        "list of batches",
        Request("GET", "/v1/batches"),
        {"data": [{"id": "batch_1", "output_file_id": "file-2"}, 5]},
        ("batch_1", "file-2"),
    ),
    Told(
        "upload",
        post("/v1/uploads/upload_1/complete"),
        {"id": "upload_1", "file": {"id": "file-1"}},
        ("upload_1", "file-1"),
    ),
    Told("run", post("/v1/threads/runs"), {"id": "run_1", "thread_id": "t_1"}, ("run_1", "t_1")),
    Told(
        "tuning",
        Request("GET", "/v1/fine_tuning/jobs/ftjob-1"),
        {"id": "ftjob-1", "result_files": ["file-3"]},
        ("ftjob-1", "file-3"),
    ),
    Told("remix", post("/v1/videos/video_1/remix"), {"id": "video_2"}, ("video_2",)),
    Told(
        "kept chat",
        post(CHAT, store=True),
        {"id": "chatcmpl-1", "choices": [{"message": {"content": "Hi"}}]},
        ("chatcmpl-1",),
        life=SHORT_LIFE,
    ),
    Told("speech", post(CHAT, audio={"voice": "alloy"}), SPOKEN, ("audio_1",), life=SHORT_LIFE),
    Told("chat", post(CHAT), SPOKEN, ("audio_1",), has_news=False, life=SHORT_LIFE),
    Told("file shown", Request("GET", "/v1/files/file-1"), {}, has_news=False),
    Told("deleted", Request("DELETE", "/v1/files/file-1"), {}, has_news=False),
    Told("embeddings", post("/v1/embeddings"), {}, has_news=False),
)


@pytest.mark.parametrize("case", ANSWERS, ids=lambda case: case.id)
def test_what_an_answer_tells_of(case: Told):
    """What an answer makes or shows is known, for as long as it may be of use."""
    content = b"<html>" if case.answer is None else json.dumps(case.answer).encode()
    assert has_news(case.request) is case.has_news
    assert told(case.request, content) == list(case.ids)
    assert life(case.request) == case.life


@pytest.mark.parametrize("is_named", [True, False])
@pytest.mark.parametrize(
    ("request_", "event", "ids"),
    [
        (
            post(RESPONSES, stream=True),
            {"type": "response.created", "response": {"id": "resp_1", "output": []}},
            ["resp_1"],
        ),
        (
            post(RESPONSES, stream=True),
            {"type": "response.output_item.done", "item": OUTPUT[0]},
            ["rs_1", "gAAA"],
        ),
        (
            post(RESPONSES, stream=True, store=False),
            {"type": "response.created", "response": {"id": "resp_1", "output": []}},
            [],
        ),
        (post(RESPONSES, stream=True), {"type": "response.output_text.delta", "item_id": "x"}, []),
        (
            post(CHAT, stream=True, store=True),
            {"id": "chatcmpl-1", "choices": [{"delta": {"audio": {"id": "audio_1"}}}]},
            ["chatcmpl-1", "audio_1"],
        ),
    ],
    ids=["created", "item", "not stored", "text", "chat"],
)
def test_what_an_event_tells_of(request_: Request, event: Any, ids: list[str], *, is_named: bool):
    """A stream's ids are known by the event that brings them, whether or not events have names."""
    name = event.get("type", "").encode() if is_named else b""
    assert told_by_event(request_, name, json.dumps(event).encode()) == ids


def test_a_thread_that_begins_in_a_stream():
    """A thread that is made together with its run is known by its first event."""
    request = post("/v1/threads/runs", stream=True)
    assert told_by_event(request, b"thread.created", b'{"id":"thread_1"}') == ["thread_1"]
    assert told_by_event(request, b"thread.message.delta", b'{"id":"msg_1"}') == []
