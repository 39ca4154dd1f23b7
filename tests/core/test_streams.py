"""What a stream means: its usage, its text, its end, and how a fault is told."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.endpoints import endpoint
from headworks.core.streams import (
    ChatStream,
    ResponsesStream,
    Stream,
    largest_event,
    open_stream,
)
from headworks.errors import MalformedEvent, Retry, StreamTruncated, UpstreamAnswered
from headworks.types import Request, Usage


def data(value) -> bytes:
    return (
        b"data: " + json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"
    )


def chunk(content=None, finish=None, index=0, **more) -> dict[str, object]:
    delta = {} if content is None else {"content": content}
    return {
        "id": "c",
        "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
        **more,
    }


A, B, C = data(chunk("Hé")), data(chunk("llo 🌍")), data(chunk(finish="stop"))
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
U = data({"id": "c", "choices": [], "usage": USAGE})
DONE = b"data: [DONE]\n\n"


def relay(stream: Stream, wire: bytes, sizes=()) -> bytes:
    """Return what the caller gets, the ending included."""
    out, at = b"", 0
    for size in (*sizes, len(wire)):
        out += stream.feed(wire[at : at + size])
        at += size
    out += stream.finish()
    return out + (stream.ending or b"")


@dataclass(frozen=True)
class Case:
    """What the provider sends, what the caller gets (None: the same), and what broke."""

    id: str
    wire: bytes
    relayed: bytes | None = None
    error: type[Exception] | None = None
    usage: Usage | None = None
    shows_usage: bool = False


CASES = [
    Case("a whole stream", A + B + C + DONE),
    Case("the usage chunk is hidden from who did not ask", A + C + U + DONE, A + C + DONE, None, Usage(3, 4)),
    Case("and shown to who asked", A + C + U + DONE, None, None, Usage(3, 4), shows_usage=True),
    Case("the null usage of other chunks too", data(chunk("x", usage=None)) + C + DONE, data(chunk("x")) + C + DONE),
    Case(
        "wherever in the chunk it stands",
        data({"usage": None, **chunk("x")}) + C + DONE,
        data(chunk("x")) + C + DONE,
    ),
    Case("usage on a chunk with choices", A + data(chunk(finish="stop", usage=USAGE)) + DONE, A + C + DONE, None, Usage(3, 4)),
    Case("the last of two usages counts", C + data({"choices": [], "usage": {**USAGE, "prompt_tokens": 9}}) + U + DONE, C + DONE, None, Usage(3, 4)),
    Case("a missing [DONE] is supplied", A + C, A + C + DONE),
    Case("[DONE] with a trailing space is made exact", C + b"data: [DONE] \n\n", C + DONE),
    Case("what follows [DONE] is ignored", C + DONE + A + DONE, C + DONE),
    Case("a clean close in the middle", A + B, A + B, StreamTruncated),
    Case("[DONE] before the finish", A + DONE, A, StreamTruncated),
    Case("half an event at the end", A + B[:-9], A, StreamTruncated),
    Case("a last event without its blank line", A + C[:-2], A + C + DONE),
    Case("nothing at all", b"", b"", StreamTruncated),
    Case("only [DONE]", DONE, b"", StreamTruncated),
    Case("one of two choices unfinished", A + data(chunk("x", index=1)) + C + DONE, A + data(chunk("x", index=1)) + C, StreamTruncated),
    Case("JSON over two lines", b'data: {"choices":\ndata: []}\n\n' + C + DONE, b'data: {"choices": []}\n\n' + C + DONE),
    Case("JSON cut inside a string", b'data: {"a":"x\ndata: y"}\n\n' + C + DONE, b"", MalformedEvent),
    Case("malformed JSON", A + b"data: {bad}\n\n" + C + DONE, A, MalformedEvent),
    Case("an error event", A + data({"error": {"message": "m", "code": "server_error"}}) + DONE, A, UpstreamAnswered),
    Case("a named error event", A + b'event: error\ndata: {"error":{"message":"m"}}\n\n', A, UpstreamAnswered),
    Case("an error that is only a text", A + data({"error": "oops"}), A, UpstreamAnswered),
    Case("a null error is none", data(chunk("x", error=None)) + C + DONE),
    Case("pings without content", b"event: ping\ndata: {}\n\n" + C + DONE, C + DONE),
    Case("choices: null", data({"choices": None, "usage": None}) + C + DONE, C + DONE),
    Case("Azure's empty first chunk", data({"choices": [], "prompt_filter_results": []}) + C + DONE),
    Case("audio has no finish_reason", data({"choices": [{"index": 0, "delta": {"audio": {"id": "a"}}}]}) + DONE),
    Case("a chunk of another shape is relayed", data({"choices": "odd"}) + C + DONE),
    Case("legacy completions", data({"choices": [{"index": 0, "text": "x", "finish_reason": "stop"}]}) + DONE),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_chat_streams(case):
    """What official clients would take for success is told apart from success."""
    stream = ChatStream(shows_usage=case.shows_usage)

    out = relay(stream, case.wire)

    assert out == (case.wire if case.relayed is None else case.relayed)
    assert type(stream.error) is (case.error or type(None))
    assert stream.reported == (None if case.usage is None else (case.usage, ()))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
@given(sizes=st.lists(st.integers(1, 40), max_size=30))
def test_any_split_of_a_chat_stream_reads_the_same(case, sizes):
    """Packets decide nothing: bytes relayed, errors and usage are those of the whole."""
    whole, split = (ChatStream(shows_usage=case.shows_usage) for _ in range(2))

    assert relay(split, case.wire, sizes) == relay(whole, case.wire)
    assert (type(split.error), split.reported, split.text) == (
        type(whole.error),
        whole.reported,
        whole.text,
    )


@pytest.mark.parametrize(
    ("wire", "is_said"),
    [(A + C, False), (A + C + U, True), (A + U, False), (U, False), (A + U + C, False)],
    ids=[
        "no usage yet",
        "usage at the end",
        "usage before the end",
        "usage alone",
        "usage too soon",
    ],
)
def test_usage_behind_every_finish_says_that_all_is_said(wire, is_said):
    """A provider that then leaves the connection open has nothing more to say than [DONE]."""
    stream = ChatStream(shows_usage=True)
    stream.feed(wire)

    assert stream.is_said is is_said
    assert not stream.is_over


def test_output_is_counted_while_it_passes():
    """A stream that breaks can still be billed for what was seen of it."""
    stream = ChatStream(shows_usage=False)
    relay(stream, A + B)

    assert (stream.pieces, stream.text.decode()) == (2, "Héllo 🌍")


def test_tool_calls_are_counted_as_their_provider_bills_them():
    """Name and arguments are output; the JSON around them is not."""
    stream = ChatStream(shows_usage=False)
    for function in (
        {"name": "level", "arguments": ""},
        {"arguments": '{"x":'},
        {"arguments": "1}"},
    ):
        delta = {"tool_calls": [{"index": 0, "id": "call_1", "function": function}]}
        stream.feed(data({"choices": [{"index": 0, "delta": delta}]}))

    assert (stream.pieces, stream.text.decode()) == (3, 'level{"x":1}')


def event(kind: str, number: int, **more) -> bytes:
    value = {"type": kind, "sequence_number": number, **more}
    return b"event: " + kind.encode() + b"\n" + data(value)


CREATED = event("response.created", 0, response={"id": "resp_1", "status": "in_progress"})
DELTA = event("response.output_text.delta", 1, delta="Hé")
COMPLETED = event(
    "response.completed",
    2,
    response={
        "id": "resp_1",
        "service_tier": "flex",
        "usage": {"input_tokens": 5, "output_tokens": 6},
    },
)


def test_responses_end_with_their_terminal_event():
    """A Responses stream is relayed as it is; its usage and tier stand in its last event."""
    stream = ResponsesStream()

    assert relay(stream, CREATED + DELTA + COMPLETED) == CREATED + DELTA + COMPLETED
    assert stream.reported == (Usage(5, 6, tier="flex"), ())
    assert stream.error is None
    assert stream.text.decode() == "Hé"


def test_responses_without_a_terminal_event_are_truncated():
    """A clean close says nothing about completeness, and [DONE] does not belong there."""
    stream = ResponsesStream()

    assert relay(stream, CREATED + DELTA + DONE) == CREATED + DELTA
    assert isinstance(stream.error, StreamTruncated)


@pytest.mark.parametrize("flat", [True, False])
def test_responses_errors_are_classified(flat):
    """Both forms of the error event are read."""
    fields = {"code": "server_error", "message": "m"}
    stream = ResponsesStream()
    relay(stream, CREATED + event("error", 1, **(fields if flat else {"error": fields})))

    assert stream.error is not None
    assert (stream.error.code, str(stream.error)) == ("server_error", "m")


def test_a_broken_response_is_told_in_both_forms():
    """Python raises on the nested error, Node on the flat one; numbers go on without a gap."""
    stream = ResponsesStream()
    stream.feed(CREATED + DELTA)

    told = stream.encode_error(StreamTruncated("cut"))
    failed, error = (json.loads(line[6:]) for line in told.split(b"\n") if line[:5] == b"data:")

    assert (failed["type"], failed["sequence_number"], failed["response"]["id"]) == (
        "response.failed",
        2,
        "resp_1",
    )
    assert failed["response"]["output"] == []  # frameworks walk through it
    assert (error["type"], error["sequence_number"]) == ("error", 3)
    assert error["code"] == error["error"]["code"] == "upstream_stream_truncated"


def test_an_unknown_stream_is_relayed_and_its_usage_read():
    """Other endpoints' events pass untouched, to their clean end."""
    stream = open_stream("opaque", Request("POST", "/v1/images/generations"))
    wire = (
        event("image.done", 1, usage={"input_tokens": 1, "output_tokens": 2})
        + b'data: x "usage"\n\n'
    )

    assert relay(stream, wire) == event(
        "image.done", 1, usage={"input_tokens": 1, "output_tokens": 2}
    )
    assert stream.reported == (Usage(1, 2), ())


@pytest.mark.parametrize(
    ("path", "fields", "most"),
    [
        ("/v1/chat/completions", {}, 1_000),
        ("/v1/chat/completions", {"modalities": ["text", "audio"]}, 1_000),
        ("/v1/chat/completions", {"modalities": ["text", "image"]}, 99_000),
        ("/v1/completions", {}, 1_000),
        ("/v1/responses", {}, 8_000 + 3 * 7),
        ("/v1/responses", {"tools": [{"type": "function"}, {"type": "custom"}]}, 8_000 + 3 * 7),
        ("/v1/responses", {"tools": [{"type": "function"}, {"type": "image_generation"}]}, 99_000),
        ("/v1/responses", {"tools": ["odd"]}, 99_000),
        ("/v1/responses", {"prompt": {"id": "p"}}, 99_000),
        ("/v1/images/generations", {}, 99_000),
        ("/v1/unknown", {}, 99_000),
    ],
)
def test_what_may_be_a_picture_may_be_large(path, fields, most):
    """A usual event has a small bound; one that may hold a file that of a whole answer."""
    request = Request("POST", path, content=b"1234567", fields=fields)
    dialect = endpoint("POST", path).dialect

    assert largest_event(dialect, request, 1_000, 99_000) == most
    assert largest_event(dialect, request, 1_000_000, 99_000) == 99_000


def test_an_event_that_is_too_large_ends_its_stream():
    """Those before it still go out; also where it is the last one, without an end."""
    for wire in (A + B + C + b"data: " + b"x" * 500, A + b"data: " + b"x" * 500 + b"\n\n" + B):
        stream = ChatStream(200, shows_usage=False)

        assert stream.feed(wire) + stream.finish() in {A, A + B + C}
        assert isinstance(stream.error, MalformedEvent)


def test_a_chat_error_is_the_event_that_clients_raise():
    """After the first byte an error can only be an event; official clients raise this form."""
    told = ChatStream(shows_usage=False).encode_error(StreamTruncated("cut"))

    assert json.loads(told.removeprefix(b"data: ")) == {
        "error": {
            "message": "cut",
            "type": "upstream_error",
            "param": None,
            "code": "upstream_stream_truncated",
        }
    }


CALL = [{"index": 0, "id": "call_1", "function": {"name": "level", "arguments": ""}}]
SILENT = [
    {"role": "assistant", "content": "", "refusal": None},
    {"role": "assistant", "content": None, "tool_calls": []},
    {"content": ""},
    {},
    None,
]
SPEAKING = [{"content": "x"}, {"refusal": "x"}, {"tool_calls": CALL}, {"reasoning_content": "x"}]


@pytest.mark.parametrize("delta", SILENT, ids=str)
def test_a_role_is_no_content(delta):
    """A stream that has only announced itself can still be taken back unseen."""
    stream = ChatStream(shows_usage=False)
    azure = data({"id": "", "choices": [], "prompt_filter_results": []})

    assert stream.feed(azure + data({"choices": [{"index": 0, "delta": delta}]}))
    assert not stream.begun


@pytest.mark.parametrize("delta", SPEAKING, ids=str)
def test_whatever_a_model_says_is_content(delta):
    """Text, refusals, calls of tools and shown thoughts are all the caller's to see."""
    stream = ChatStream(shows_usage=False)
    stream.feed(data({"choices": [{"index": 0, "delta": {"role": "assistant", **delta}}]}))

    assert stream.begun


@pytest.mark.parametrize(
    ("wire", "begun"),
    [
        (data({"choices": [{"index": 0, "text": "x"}]}), True),
        (data({"choices": [{"index": 0, "text": ""}]}), False),
        (data({"choices": "odd"}), True),
        (C, True),
        (b": keepalive\n\n", False),
    ],
)
def test_content_of_other_chunks(wire, begun):
    """Legacy text, an end and what we cannot read are content; a comment is not."""
    stream = ChatStream(shows_usage=False)
    stream.feed(wire)

    assert stream.begun == begun


def added(kind: str) -> bytes:
    return event("response.output_item.added", 1, item={"type": kind, "id": "i"})


@pytest.mark.parametrize(
    ("wire", "begun"),
    [
        (CREATED, False),
        (event("response.in_progress", 1, response={"id": "resp_1"}), False),
        (event("response.queued", 1, response={"id": "resp_1"}), False),
        (event("keepalive", 1), False),
        (added("message"), False),
        (added("reasoning"), False),
        (event("response.content_part.added", 1, part={"type": "output_text"}), False),
        (event("response.output_text.delta", 1, delta=""), False),
        (DELTA, True),
        (added("function_call"), True),
        (added("web_search_call"), True),
        (event("response.web_search_call.searching", 1), True),
        (event("response.invented", 1), True),
    ],
)
def test_content_of_a_response(wire, begun):
    """A response that was only created can still be taken back unseen."""
    stream = ResponsesStream()

    assert stream.feed(wire)
    assert stream.begun == begun


def test_a_filtered_stream_is_known():
    """Whichever dialect says that the provider's content filter stopped it."""
    chat, response = ChatStream(shows_usage=False), ResponsesStream()
    relay(chat, A + data(chunk(finish="content_filter")) + DONE)
    details = {"reason": "content_filter"}
    relay(response, event("response.incomplete", 0, response={"incomplete_details": details}))

    assert (chat.filtered, chat.error) == (True, None)
    assert (response.filtered, response.error) == (True, None)


@pytest.mark.parametrize(
    ("code", "filtered", "retry"),
    [("server_error", False, Retry.SAME_ROUTE), ("bio_policy", True, Retry.NEVER)],
)
def test_a_failed_response_says_why(code, filtered, retry):
    """The provider's own last event tells whether another attempt may go well."""
    stream = ResponsesStream()
    error = {"code": code, "message": "m"}
    wire = CREATED + event("response.failed", 1, response={"id": "resp_1", "error": error})

    assert relay(stream, wire) == wire
    assert (stream.error, stream.filtered) == (None, filtered)
    assert stream.failure is not None
    assert stream.failure.retry is retry
