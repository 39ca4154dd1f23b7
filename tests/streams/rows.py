"""What providers send for a stream, form by form, and what their callers have to hear of it.

Numbers are those of the table of edge cases that official clients were measured with. A row without
a number is a form beyond them. Wherever a row breaks, something has been said before: so nothing is
repeated, and the caller is told.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal

from tests.upstream.scripted import Wire, whole

Ending = Literal["whole", "unfinished", "reset", "closed"]
"""How its connection ends: with its last chunk, without it, by a reset; or its close is the end."""


def data(value: Any) -> bytes:
    return b"data: " + _json(value) + b"\n\n"


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def chunk(content: str | None = None, finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:  # fmt: skip
    """Return a chunk of a chat."""
    delta = {} if content is None else {"content": content}
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**head, "choices": [choice], **more}


A, B, C = data(chunk("Hé")), data(chunk("llo 🌍")), data(chunk(finish="stop"))
ALL = A + B + C
SAID = "Héllo 🌍"
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
OTHER = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
EMPTY = {**chunk(), "choices": []}
U = data({**EMPTY, "usage": USAGE})
DONE = b"data: [DONE]\n\n"
ERROR = {"message": "m", "type": "server_error", "param": None, "code": "server_error"}
TRUNCATED, MALFORMED = "upstream_stream_truncated", "upstream_malformed_event"


@dataclass(frozen=True)
class Row:
    """A stream as its provider sends it, and what comes of it.

    Attributes:
        relayed: What the caller gets before an error, if there is one.
        said: The text in that; it is whole where there is no error.
        code: The error's, "" where there is none; None is that of an error without one.
        usage: Whether the provider's usage is in the books, once; else it is counted.
    """

    id: str
    wire: bytes
    relayed: bytes = ALL + DONE
    said: str = SAID
    code: str | None = ""
    ending: Ending = "whole"
    usage: bool = False


def lines(ends: bytes) -> bytes:
    return (ALL + DONE).replace(b"\n", ends)


def with_text(text: str) -> bytes:
    return data(chunk(text)) + C + DONE


MIXED = A.replace(b"\n\n", b"\r\n\r") + B.replace(b"\n", b"\r\n") + C.replace(b"\n", b"\r") + DONE
CUT = B.replace(b"llo", b"ll\ndata: o")
JOINED = data(chunk("Hé")).replace(b',"choices"', b',\ndata: "choices"')
ODD_TEXT = "a\u2028b\u2029c\u0085d\x1ce\x1df\x1eg\x0bh"
FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 e\u0301 \ufeff"
BARE = ODD_TEXT.replace("\x1c", "").replace("\x1d", "").replace("\x1e", "").replace("\x0b", "")
HALF, OTHER_HALF = (data(chunk("@")).replace(b"@", half) for half in (rb"\ud83c", rb"\udf0d"))
SECOND = data(chunk("x", index=1))
TOOL = [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}]  # fmt: skip


def tool(arguments: str) -> bytes:
    """Return a chunk with a part of a tool call's arguments."""
    call = [{"index": 0, "function": {"arguments": arguments}}]
    return data({**chunk(), "choices": [{"index": 0, "delta": {"tool_calls": call}, "finish_reason": None}]})  # fmt: skip


TOOLS = (
    data({**chunk(), "choices": [{"index": 0, "delta": {"tool_calls": TOOL}, "finish_reason": None}]})
    + tool('{"a":"\\')
    + tool('u00e9"}')
    + data(chunk(finish="tool_calls"))
)  # fmt: skip

ROWS = [
    Row("1 a whole stream", ALL + DONE),
    Row("4 CRLF", lines(b"\r\n")),
    Row("5 CR", lines(b"\r")),
    Row("6 mixed line ends", MIXED),
    Row("7 a byte order mark", b"\xef\xbb\xbf" + ALL + DONE),
    Row("8 a comment first", b": keepalive\n\n" + ALL + DONE),
    Row("9 comments between", A + b": ping\n\n: \n\n" + B + b":\n\n" + C + DONE),
    Row("10 a vendor's comments", b": OPENROUTER PROCESSING\n\n" * 3 + ALL + DONE),
    Row("11 a ping without data", A + b"event: ping\n\n" + B + C + DONE),
    Row("12 empty data", A + b"data:\n\ndata: \n\n" + B + C + DONE),
    Row("13 a ping that is an object", A + b"event: ping\ndata: {}\n\n" + B + C + DONE),
    Row("14 ids", b"id: 1\n" + A + b": c\n\nid: 2\n" + B + b": c\n\n" + C + DONE),
    Row("15 retry", b"retry: 3000\n\n" + A + b"retry: 1\n\n" + B + C + DONE),
    Row("16 JSON cut within a string", A + CUT + C + DONE, A, "Hé", MALFORMED),
    Row("16 JSON over two lines", JOINED + B + C + DONE, JOINED.replace(b"\ndata:", b"") + B + C + DONE),
    Row("17 no space behind the colon", (ALL + DONE).replace(b"data: ", b"data:")),
    Row("18 no [DONE]", ALL),
    Row("19 no finish_reason", A + B, A + B, code=TRUNCATED),
    Row("19 [DONE] before a finish_reason", A + B + DONE, A + B, code=TRUNCATED),
    Row("20 half an event at the end", A + B[:-9], A, "Hé", TRUNCATED),
    Row("20 half an event behind the finish", ALL + U[:40]),
    Row("21 the last event without its blank line", ALL[:-2]),
    Row("21 with half of it", ALL[:-1]),
    Row("22 a reset", A + B, A + B, code=TRUNCATED, ending="reset"),
    Row("22 a reset behind the finish", ALL, ending="reset"),
    Row("23 no last chunk", A + B, A + B, code=TRUNCATED, ending="unfinished"),
    Row("23 no last chunk behind the finish", ALL, ending="unfinished"),
    Row("23 no last chunk behind the usage", ALL + U, ending="unfinished", usage=True),
    Row("24 an error", A + data({"error": ERROR}) + DONE, A, "Hé", "server_error"),
    Row("25 a named error", A + b"event: error\n" + data({"error": ERROR}), A, "Hé", "server_error"),
    Row("27 an error that is a text", A + data({"error": "no room"}), A, "Hé", None),
    Row("28 an error that is null", data(chunk("Hé", error=None)) + B + C + DONE, data(chunk("Hé", error=None)) + B + C + DONE),
    Row("29 a space behind [DONE]", ALL + b"data: [DONE] \n\n"),
    Row("30 usage", ALL + U + DONE, usage=True),
    Row("31 choices and usage that are null", A + data({**EMPTY, "choices": None, "usage": None}) + B + C + DONE),
    Row("33 events behind [DONE]", ALL + U + DONE + A + data({**EMPTY, "usage": OTHER}) + DONE, usage=True),
    Row("34 no JSON", A + b"data: {bad json}\n\n" + B + C + DONE, A, "Hé", MALFORMED),
    Row("35 line ends of Unicode", with_text(BARE), with_text(BARE), BARE),
    Row("a close is the end", ALL + DONE, ending="closed"),
    Row("two [DONE]", ALL + DONE + DONE),
    Row("two usages", ALL + data({**EMPTY, "usage": OTHER}) + U + DONE, usage=True),
    Row("usage beside choices", A + B + data(chunk(finish="stop", usage=USAGE)) + DONE, usage=True),
    Row("usage in every chunk", data(chunk("Hé", usage=OTHER)) + B + data(chunk(finish="stop", usage=USAGE)) + U + DONE, usage=True),
    Row("null", A + b"data: null\n\n" + B + C + DONE),
    Row("a number", A + b"data: 123\n\n" + B + C + DONE),
    Row("a NUL in data", A + B.replace(b"llo", b"l\0o") + C + DONE, A, "Hé", MALFORMED),
    Row("NUL by its escape", with_text("a\0b"), with_text("a\0b"), "a\0b"),
    Row("bytes that are no text", A + B.replace(b"llo", b"l\xffo") + C + DONE, A, "Hé", MALFORMED),
    Row("a family of emoji", with_text(FAMILY), with_text(FAMILY), FAMILY),
    Row("a character in two halves", HALF + OTHER_HALF + C + DONE, HALF + OTHER_HALF + C + DONE, "\ud83c\udf0d"),
    Row("a choice that never ends", A + SECOND + B + C + DONE, A + SECOND + B + C, code=TRUNCATED),
    Row("an id that changes", A + B.replace(b'"id":"c"', b'"id":"d"') + C + DONE, A + B.replace(b'"id":"c"', b'"id":"d"') + C + DONE),
    Row("arguments cut in an escape", TOOLS + DONE, TOOLS + DONE, ""),
    Row("an empty first chunk", data({"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": []}) + ALL + DONE,
        data({"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": []}) + ALL + DONE),
    Row("what a filter says behind the finish", ALL + data({**EMPTY, "choices": [{"index": 0, "delta": {}, "finish_reason": None, "content_filter_offsets": {}}]}) + DONE,
        ALL + data({**EMPTY, "choices": [{"index": 0, "delta": {}, "finish_reason": None, "content_filter_offsets": {}}]}) + DONE),
]  # fmt: skip


def event(kind: str, number: int, **more: Any) -> bytes:
    """Return an event of a response."""
    return b"event: %b\n" % kind.encode() + data({"type": kind, "sequence_number": number, **more})


def response(status: str, **more: Any) -> dict[str, Any]:
    text = {"type": "output_text", "text": SAID, "annotations": []}
    item = {
        "type": "message",
        "id": "msg_1",
        "status": status,
        "role": "assistant",
        "content": [text],
    }
    return {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": status, "output": [item], **more}  # fmt: skip


def delta(text: str, number: int) -> bytes:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    return event("response.output_text.delta", number, delta=text, **place)


RESPONSE_USAGE = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
CREATED = event("response.created", 0, response={**response("in_progress"), "output": []})
TOLD = CREATED + delta("Hé", 1)
LAST = event("response.completed", 3, response=response("completed", usage=RESPONSE_USAGE))
ENTIRE = TOLD + delta("llo 🌍", 2) + LAST
SHORT = TOLD + event(
    "response.incomplete", 2, response=response("incomplete", usage=RESPONSE_USAGE)
)
BARE_ERROR = {"code": "server_error", "message": "m", "param": None}

RESPONSES = [
    Row("a response", ENTIRE, ENTIRE, usage=True),
    Row("[DONE] behind a response", ENTIRE + DONE, ENTIRE, usage=True),
    Row("[DONE] within a response", TOLD + DONE + ENTIRE[len(TOLD):], ENTIRE, usage=True),
    Row("26 a flat error", TOLD + event("error", 2, **BARE_ERROR), TOLD, "Hé", "server_error"),
    Row("26 a nested error", TOLD + event("error", 2, error=ERROR), TOLD, "Hé", "server_error"),
    Row("no terminal", TOLD, TOLD, "Hé", TRUNCATED),
    Row("half a terminal", TOLD + LAST[:80], TOLD, "Hé", TRUNCATED),
    Row("cut before its terminal", TOLD, TOLD, "Hé", TRUNCATED, ending="unfinished"),
    Row("reset before its terminal", TOLD, TOLD, "Hé", TRUNCATED, ending="reset"),
    Row("cut behind its terminal", ENTIRE, ENTIRE, usage=True, ending="unfinished"),
    Row("two terminals", ENTIRE + LAST, ENTIRE, usage=True),
    Row("text behind the terminal", ENTIRE + delta("more", 4), ENTIRE, usage=True),
    Row("an incomplete one", SHORT, SHORT, "Hé", usage=True),
    Row("an event that nobody knows", TOLD + event("response.new.thing", 2, x=1) + LAST, TOLD + event("response.new.thing", 2, x=1) + LAST, "Hé", usage=True),
    Row("a gap in its numbers", CREATED + delta("Hé", 5) + LAST, CREATED + delta("Hé", 5) + LAST, "Hé", usage=True),
    Row("null in a response", TOLD + b"data: null\n\n" + delta("llo 🌍", 2) + LAST, ENTIRE, usage=True),
    Row("no JSON in a response", TOLD + b"data: {]\n\n" + LAST, TOLD, "Hé", MALFORMED),
]  # fmt: skip

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
JSON = b"content-type: application/json\r\n"
_MESSAGE = {"role": "assistant", "content": SAID, "refusal": None}
_ANSWER = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": _MESSAGE, "logprobs": None, "finish_reason": "stop"}],
    "usage": USAGE,
}


@dataclass(frozen=True)
class NoStream:
    """What a provider answers in the place of a stream: the text that it is, or status and code."""

    id: str
    answer: bytes
    said: str = ""
    status: int = 200
    code: str | None = ""


NO_STREAMS = [
    NoStream("36 JSON", whole(_json(_ANSWER), fields=JSON), SAID),
    NoStream("37 a page", whole(b"<html>", 502, b"content-type: text/html\r\n"), "", 502, None),
    NoStream("38 an error that claims success", whole(_json({"error": ERROR}), fields=JSON), "", 502, "server_error"),
    NoStream("nothing", HEAD.replace(b"200 OK", b"200") + b"content-length: 0\r\n\r\n", "", 502, TRUNCATED),
    NoStream("a refusal", whole(_json({"error": {**ERROR, "type": "invalid_request_error", "code": "bad"}}), 400, JSON), "", 400, "bad"),
    NoStream("a packed stream", whole(b"\x1f\x8b", 200, b"content-type: text/event-stream\r\ncontent-encoding: gzip\r\n"), "", 502, "upstream_malformed_response"),
    NoStream("its type in capitals", whole(ALL + DONE, 200, b"Content-Type: TEXT/EVENT-STREAM; charset=utf-8\r\n"), SAID),
]  # fmt: skip
_KNOWN: list[Row | NoStream] = [*ROWS, *RESPONSES, *NO_STREAMS]
BY_NAME = {one.id: one for one in _KNOWN}


async def provider(wire: Wire) -> None:
    """Answer as the row says that stands in the request in place of a message."""
    while True:
        fields = json.loads((await wire.request()).partition(b"\r\n\r\n")[2])
        name = fields["messages"][0]["content"] if "messages" in fields else fields["input"]
        row = BY_NAME[name]
        if isinstance(row, NoStream):
            await wire.send(row.answer)
            continue
        await wire.send(HEAD + (b"\r\n" if row.ending == "closed" else b"transfer-encoding: chunked\r\n\r\n"))  # fmt: skip
        await wire.send(row.wire if row.ending == "closed" else b"%x\r\n%b\r\n" % (len(row.wire), row.wire))  # fmt: skip
        if row.ending != "whole":
            if row.ending == "reset":
                wire.reset()
            return
        await wire.send(b"0\r\n\r\n")
