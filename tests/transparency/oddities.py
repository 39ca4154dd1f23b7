"""What is odd and is put right, or refused: one case each, with what comes of it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.transparency.answering import EVENTS, Answered
from tests.transparency.asking import FORM, JSON, Asked, form
from tests.transparency.description import Operation
from tests.transparency.differences import Difference
from tests.transparency.faces import MODEL
from tests.transparency.observing import Observer
from tests.transparency.streaming import DONE

CHAT, RESPONSES, FILES = "/v1/chat/completions", "/v1/responses", "/v1/files/file-1/content"
_FIELDS = b'"model":"%b","messages":[]' % MODEL.encode()
_WHOLE = b"{%b}" % _FIELDS
_STREAMED = b'{%b,"stream":true,"stream_options":{"include_usage":true}}' % _FIELDS
_RESPONSE = b'{"model":"%b","input":"","stream":true}' % MODEL.encode()
_ANSWER = b'{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}]}'
_A = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
_Z = b'data: {"id":"x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
_GOOD = _A + _Z + DONE
_GATHERED = (
    b'{"id":"x","object":"chat.completion","choices":[{"index":0,"finish_reason":"stop",'
    b'"message":{"role":"assistant","content":"a","refusal":null,"annotations":[]}}]}'
)
_MADE = b'data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{%b},"logprobs":null,"finish_reason":%b}]}\n\n'
_MADE_OF_ANSWER = (
    _MADE % (b'"role":"assistant","content":""', b"null")
    + _MADE % (b'"content":"a"', b"null")
    + _MADE % (b"", b'"stop"')
    + DONE
)
_SAID = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"a","sequence_number":0}\n\n'
_ENDED = b'event: response.completed\ndata: {"type":"response.completed","sequence_number":1,"response":{"id":"r"}}\n\n'
_FLAT = b'event: error\ndata: {"type":"error","code":"server_error","message":"m","param":null,"sequence_number":1}\n\n'
_NESTED = (
    b'event: error\ndata: {"type":"error","code":"server_error","message":"m","param":null,"sequence_number":1,'
    b'"error":{"message":"m","type":"server_error","param":null,"code":"server_error"}}\n\n'
)
_ERROR = b'{"error":{"message":"m","type":"server_error","param":null,"code":"server_error","x_unknown":[1.0]},"x":1e3}'
_SHAPED = b'{"error":{"message":"%b","type":"%b","param":null,"code":%b}}'
_UNREAD = b"The provider answered %b without an error that can be read."


@dataclass(frozen=True)
class Odd:
    """A request or an answer that does not pass as it is.

    Attributes:
        status: The status that the caller gets; `got` is the body, None where any error will do.
        arrives: The path that the provider is asked for, "" if it is not asked at all.
    """

    where: str
    what: str
    becomes: str
    answered: Answered
    got: bytes | None
    status: int = 200
    sent: bytes = _WHOLE
    path: str = CHAT
    fields: tuple[tuple[str, str], ...] = ()
    arrives: str | None = None
    method: str = "POST"
    media: str = JSON


def _stream(
    what: str, becomes: str, sent: bytes, got: bytes = _GOOD, *, of_responses: bool = False
) -> Odd:
    answered = Answered(200, EVENTS, sent)
    asked, path = (_RESPONSE, RESPONSES) if of_responses else (_STREAMED, CHAT)
    return Odd("stream", what, becomes, answered, got, sent=asked, path=path)


def _refused(what: str, sent: bytes, status: int = 400) -> Odd:
    answered = Answered(200, JSON, _ANSWER)
    return Odd(
        "request body", what, "refused", answered, None, status=status, sent=sent, arrives=""
    )


def _answer(what: str, status: int, got: bytes | None, answered: Answered) -> Odd:
    return Odd("answer", what, "replaced", answered, got, status)


def _error(what: str, answered: Answered, got: bytes, status: int = 0) -> Odd:
    return Odd("error", what, "replaced", answered, got, status or answered.status)


def _path(what: str, becomes: str, path: str, arrives: str) -> Odd:
    got, status = (b"as it is", 200) if arrives else (None, 404)
    answered = Answered(200, "text/plain", b"as it is")
    return Odd("request path", what, becomes, answered, got, status, b"", path, (), arrives, "GET")


def _streams() -> Iterator[Odd]:
    comments = b": ping\n\n" + _A + b": OPENROUTER PROCESSING\n\n:\n" + _Z + DONE
    yield _stream("a byte order mark", "dropped", b"\xef\xbb\xbf" + _GOOD)
    yield _stream("comments", "dropped", comments)
    yield _stream("lines of `id` and `retry`", "dropped", b"retry: 3\n\nid: 1\n" + _GOOD)
    yield _stream("events without data", "dropped", b"event: ping\n\ndata:\n\n" + _GOOD)
    no_chunks = b"event: ping\ndata: {}\n\ndata: null\n\n" + _GOOD
    yield _stream("events of a chat or a response that are no JSON object, and a chat's pings", "dropped", no_chunks)  # fmt: skip
    ends = _GOOD.replace(b"\n", b"\r\n").replace(b"data: ", b"data:")
    yield _stream("line ends, and the space behind `data:`", "changed", ends)
    yield _stream("line ends, and the space behind `data:`", "changed", _GOOD.replace(b"\n", b"\r"))
    lines = _GOOD.replace(b'"x",', b'"x",\ndata:', 1)
    yield _stream("JSON on several lines", "changed", lines, _GOOD.replace(b'"x",', b'"x", ', 1))
    yield _stream("what follows `[DONE]`", "dropped", _GOOD + _A)
    yield _stream("a missing `[DONE]`", "added", _A + _Z)
    yield _stream("a missing last empty line", "added", (_A + _Z)[:-2])
    yield _stream("a `[DONE]` after a response", "dropped", _SAID + _ENDED + DONE, _SAID + _ENDED, of_responses=True)  # fmt: skip
    yield _stream("an event of an error", "changed", _A + b"event: error\ndata: " + _ERROR + b"\n\n" + DONE, _A + b"data: " + _ERROR[:-9] + b"}\n\n")  # fmt: skip
    yield _stream("an event of an error", "changed", _SAID + _FLAT, _SAID + _NESTED, of_responses=True)  # fmt: skip
    whole = Answered(200, JSON, _ANSWER)
    yield Odd("stream", "an answer in one piece", "changed", whole, _MADE_OF_ANSWER, sent=_STREAMED)


def _bodies() -> Iterator[Odd]:
    yield _refused("a name that stands twice in one object", b'{%b,"a":{"b":1,"\\u0062":2}}' % _FIELDS)  # fmt: skip
    yield _refused("NaN and Infinity", b'{%b,"a":NaN}' % _FIELDS)
    yield _refused("half of a surrogate pair", b'{%b,"a":"\\ud83d"}' % _FIELDS)
    yield _refused("more than 100 levels", b'{%b,"a":%b}' % (_FIELDS, b"[" * 100 + b"]" * 100))
    yield _refused("a byte order mark, or text behind the object", b"\xef\xbb\xbf" + _WHOLE)
    yield _refused("a byte order mark, or text behind the object", _WHOLE + b" {}")
    yield _refused("a `model` or `stream` of another type", b'{"model":1,"messages":[]}')
    yield _refused("a `model` or `stream` of another type", b'{%b,"stream":1}' % _FIELDS)
    for preamble in (b"a preamble\r\n", b"\r\n"):
        yield replace(_refused("a form that can be read in two ways", preamble + form([('name="model"', MODEL.encode())])), media=FORM, path="/v1/images/edits")  # fmt: skip
    yield replace(_refused("two models", _WHOLE), path="/v1/models/another")
    yield Odd(
        "request header", "content-encoding", "refused", Answered(200, JSON, _ANSWER), None,
        status=415, fields=(("Content-Encoding", "gzip"),), arrives="",
    )  # fmt: skip


def _answers() -> Iterator[Odd]:
    yield _answer("an error that claims success", 502, _ERROR, Answered(200, JSON, _ERROR))
    gzipped = Answered(200, JSON, b"\x1f\x8b", (("Content-Encoding", "gzip"),))
    yield _answer("compressed JSON that has to be read", 502, None, gzipped)
    yield _answer("a model's answer that is no JSON", 502, None, Answered(200, JSON, b"<html>"))
    moved = Answered(302, "", b"", (("Location", "https://elsewhere.example/"),))
    yield _answer("a redirect", 502, None, moved)
    yield Odd("answer", "events where one piece was asked for", "changed", Answered(200, EVENTS, _GOOD), _GATHERED)  # fmt: skip
    shaped = _SHAPED % (_UNREAD % b"502", b"server_error", b"null")
    yield _error("a body that has not OpenAI's shape", Answered(502, "text/html", b"<html>"), shaped)  # fmt: skip
    flat = Answered(400, JSON, b'{"object":"error","message":"m","type":"BadRequest","code":40}')
    yield _error("a body that has not OpenAI's shape", flat, _SHAPED % (b"m", b"BadRequest", b'"40"'))  # fmt: skip
    text = Answered(400, JSON, b'{"error":"m"}')
    yield _error("a body that has not OpenAI's shape", text, _SHAPED % (b"m", b"invalid_request_error", b"null"))  # fmt: skip


def _paths() -> Iterator[Odd]:
    named = "letters that are percent-encoded without need"
    yield _path(named, "changed", "/v1/%66iles/f%2Da/content", "/v1/files/f-a/content")
    for path in ("/v1/files//x", "/v1/files/%2e%2E/x", "/v1/files/a%2Fb", "/v1/files/a%20b", "/v1/files/%c3%a9"):  # fmt: skip
        yield _path("empty and dotted parts; encoded slashes, spaces and letters beyond ASCII", "refused", path, "")  # fmt: skip
    for path in ("/v1/Files/x", "/v1/%46iles/x", "/v1/chat/Completions"):
        yield _path("one of the API's in capitals", "refused", path, "")


async def observe_oddities(observer: Observer) -> None:
    """Send what is odd, and note what became of it if that is what is said of it."""
    for odd in (*_streams(), *_bodies(), *_answers(), *_paths()):
        operation = Operation(odd.method, odd.path, (), {}, {})
        asked = Asked(operation, odd.path, odd.media if odd.sent else "", odd.sent or None)
        _, arrived, got = await observer.carry(asked, odd.answered, odd.fields)
        becomes = odd.becomes
        if got.status != odd.status or odd.got not in {None, got.body}:
            becomes = "not as it should be"
        if odd.arrives is not None and (arrived.target if arrived else "") != odd.arrives:
            becomes = "not where it should be"
        shown = f"{odd.answered.body!r} should become {odd.got!r}, and is {got.status} {got.body!r}"
        observer.seen.note(asked.line, [Difference(odd.where, odd.what, becomes, shown)])
