"""What cannot be a batch: refused at once, or found wrong when its file is read."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from openai.types import Batch

from headworks.simulator import BatchPace
from headworks.simulator.batch_input import MOST_LINES
from headworks.simulator.problems import Refusal
from tests.simulator.endpoints.bureau import CHAT, Bureau, chat, jsonl
from tests.simulator.endpoints.shapes import shaped


@pytest.fixture
def bureau():
    return Bureau(batches=BatchPace(validating=2.0))


@dataclass(frozen=True)
class Case:
    id: str
    lines: bytes
    errors: list[tuple[str, str | None, int | None]]
    fields: dict[str, Any] = field(default_factory=dict[str, Any])


def changed(number, **fields):
    return {**chat(number), **fields}


EMBED = "/v1/embeddings"
WIDE = {
    "custom_id": "w",
    "method": "POST",
    "url": EMBED,
    "body": {"model": "text-embedding-3-small", "input": ["a"] * 30_000},
}
CASES = [
    Case("no JSON", jsonl([chat(1)]) + b"{\n", [("invalid_json_line", None, 2)]),
    Case("endless nesting", b"[" * 100_000 + b"\n", [("invalid_json_line", None, 1)]),
    Case(
        "deep nesting",
        jsonl([chat(1)])[:-2] + b', "x": ' + b"[" * 900 + b"]" * 900 + b"}",
        [("invalid_json_line", None, 1)],
    ),
    Case("no object", b"[1]\n", [("invalid_json_line", None, 1)]),
    Case("no text", b"\xff\xfe\n", [("invalid_json_line", None, 1)]),
    Case("a blank line counts", b"\n\n{\n", [("invalid_json_line", None, 3)]),
    Case("nothing", b"", [("empty_file", None, None)]),
    Case("blank lines alone", b"\n \r\n\n", [("empty_file", None, None)]),
    Case("twice", jsonl([chat(1), chat(2), chat(1)]), [("duplicate_custom_id", "custom_id", 3)]),
    Case("another path", jsonl([changed(1, url=EMBED)]), [("url_mismatch", "url", 1)]),
    Case("a GET", jsonl([changed(1, method="GET")]), [("invalid_method", "method", 1)]),
    Case(
        "two models",
        jsonl([chat(1), chat(2, model="gpt-4o-mini")]),
        [("model_mismatch", "body.model", 2)],
    ),
    Case("an unknown model", jsonl([chat(1, model="x")]), [("model_not_found", "body.model", 1)]),
    *(
        Case(
            f"no {name}",
            jsonl([changed(1, **{name: None})]),
            [("missing_required_parameter", name, 1)],
        )
        for name in ("custom_id", "method", "url", "body")
    ),
    Case(
        "no model",
        jsonl([chat(1, model="")]),
        [("missing_required_parameter", "body.model", 1)],
    ),
    Case(
        "all at once",
        b"{\n" + jsonl([chat(1), changed(2, url="/x"), chat(1)]),
        [
            ("invalid_json_line", None, 1),
            ("url_mismatch", "url", 3),
            ("duplicate_custom_id", "custom_id", 4),
        ],
    ),
    Case(
        "too many requests",
        jsonl(chat(n) for n in range(MOST_LINES + 1)),
        [("too_many_tasks", None, None)],
    ),
    Case(
        "too many inputs",
        jsonl([WIDE, {**WIDE, "custom_id": "x"}]),
        [("too_many_tasks", None, None)],
        {"endpoint": EMBED},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_wrong_file_fails_with_line_and_reason(bureau, case):
    """What is wrong with a file shows after validation; nothing is run and nothing billed."""
    name = bureau.begin(case.lines, **case.fields)
    assert bureau.batch(name)["status"] == "validating"
    bureau.pass_by(2)
    batch = shaped(Batch, bureau.batch(name))

    assert [(e.code, e.param, e.line) for e in batch.errors.data] == case.errors
    assert all(error.message for error in batch.errors.data)
    assert (batch.status, batch.failed_at) == ("failed", int(bureau.clock.time()))
    assert (batch.request_counts.total, batch.output_file_id) == (0, None)
    assert bureau.provider.books.invoice()["attempts"] == 0


def test_errors_are_listed_up_to_a_bound(bureau):
    """A file of rubbish does not answer with a list as long."""
    name = bureau.begin(b"{\n" * 5_000)
    bureau.pass_by(2)

    assert len(bureau.batch(name)["errors"]["data"]) == 100


@dataclass(frozen=True)
class Wrong:
    id: str
    message: str
    param: str | None
    fields: dict[str, Any]
    status: int = 400


WRONG = [
    Wrong(
        "no file",
        "Missing required parameter: 'input_file_id'",
        "input_file_id",
        {"input_file_id": None},
    ),
    Wrong("an unknown file", "No such File object: file-1", "id", {"input_file_id": "file-1"}, 404),
    Wrong("no endpoint", "Missing required parameter", "endpoint", {"endpoint": None}),
    Wrong(
        "another endpoint",
        "Invalid value: '/v1/x'. Supported values are: '/v1/responses',",
        "endpoint",
        {"endpoint": "/v1/x"},
    ),
    Wrong(
        "another window",
        "Invalid value: '1h'. Supported values are: '24h'",
        "completion_window",
        {"completion_window": "1h"},
    ),
    Wrong(
        "many pairs",
        "too many properties",
        "metadata",
        {"metadata": {str(n): "" for n in range(17)}},
    ),
    Wrong("a long value", "string too long", "metadata.a", {"metadata": {"a": "b" * 513}}),
    Wrong("no metadata", "Invalid type for 'metadata'", "metadata", {"metadata": "a"}),
    Wrong(
        "a short life",
        "below minimum value",
        "output_expires_after.seconds",
        {"output_expires_after": {"anchor": "created_at", "seconds": 3_599}},
    ),
    Wrong(
        "a long life",
        "above maximum value",
        "output_expires_after.seconds",
        {"output_expires_after": {"anchor": "created_at", "seconds": 2_592_001}},
    ),
    Wrong(
        "another anchor",
        "Invalid value: 'now'",
        "output_expires_after.anchor",
        {"output_expires_after": {"anchor": "now", "seconds": 3_600}},
    ),
    Wrong("an unknown field", "Unknown parameter: 'x'", "x", {"x": 1}),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.id)
def test_what_cannot_be_a_batch_is_refused_at_once(bureau, wrong):
    """A wrong request begins nothing."""
    with pytest.raises(Refusal) as caught:
        bureau.begin([chat(0)], **wrong.fields)

    assert caught.value.status == wrong.status
    assert wrong.message in str(caught.value)
    assert caught.value.error["param"] == wrong.param
    assert bureau.get("/v1/batches")["data"] == []


def test_only_files_for_batches_are_taken(bureau):
    """A file of another purpose is no input."""
    file = bureau.upload(jsonl([chat(0)]), purpose="fine-tune")
    with pytest.raises(Refusal, match="expected 'batch', but got 'fine-tune'"):
        bureau.post(
            "/v1/batches",
            {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"},
        )
