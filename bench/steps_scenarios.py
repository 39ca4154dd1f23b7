"""The calls that are counted: what the caller sends, and the provider, piece by piece."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from headworks_settings import HEADERS
from subjects import CHUNKS, EMBEDDING_MODEL, KEY, MODEL, body, embeddings_body

_DIMENSIONS = 256


@dataclass(frozen=True)
class Piece:
    """What the provider sends at once, and the last of what the caller has of it by then."""

    content: bytes
    seen: bytes


@dataclass(frozen=True)
class Scenario:
    """A call, said in bytes; `pieces` is empty where no provider is asked.

    Attributes:
        calls: How many are counted together: as many as take a tenth of a second, counted.
        inside: Whether it is made in process, by the program `steps_inside.py`.
    """

    name: str
    title: str
    request: bytes
    pieces: tuple[Piece, ...]
    calls: int
    inside: bool = False


def _request(
    content: bytes, path: str = "/v1/chat/completions", key: str = KEY, *more: str
) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "host: 127.0.0.1",
        f"authorization: Bearer {key}",
        "content-type: application/json",
        "accept: application/json",
        "user-agent: AsyncOpenAI/Python",
        *HEADERS,
        *more,
        f"content-length: {len(content)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def _whole(answer: dict[str, object]) -> tuple[Piece, ...]:
    content = json.dumps(answer).encode()
    head = [
        "HTTP/1.1 200 OK",
        "content-type: application/json",
        *_PROVIDERS_FIELDS,
        f"content-length: {len(content)}",
    ]
    return (Piece("\r\n".join(head).encode() + b"\r\n\r\n" + content, content[-20:]),)


_PROVIDERS_FIELDS = (
    "date: Tue, 02 Jan 2024 00:00:00 GMT",
    "openai-organization: org-bench",
    "openai-processing-ms: 321",
    "openai-version: 2020-10-01",
    "x-ratelimit-limit-requests: 30000",
    "x-ratelimit-limit-tokens: 150000000",
    "x-ratelimit-remaining-requests: 29999",
    "x-ratelimit-remaining-tokens: 149999000",
    "x-ratelimit-reset-requests: 2ms",
    "x-ratelimit-reset-tokens: 0s",
    "x-request-id: req_0123456789abcdef0123456789abcdef",
)
_USAGE = {"prompt_tokens": 219, "completion_tokens": 48, "total_tokens": 267}
_CHAT = {
    "id": "chatcmpl-0123456789",
    "object": "chat.completion",
    "created": 1704153600,
    "model": MODEL,
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "It was shipped on Monday. " * 8},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": _USAGE,
    "system_fingerprint": "fp_bench",
}
_EMBEDDINGS = {
    "object": "list",
    "data": [
        {
            "object": "embedding",
            "index": index,
            "embedding": [(index * number % 1999 - 999) / 7919 for number in range(_DIMENSIONS)],
        }
        for index in range(100)
    ],
    "model": EMBEDDING_MODEL,
    "usage": {"prompt_tokens": 1900, "total_tokens": 1900},
}


def _event(choices: list[object], usage: object = None) -> bytes:
    fields = {name: _CHAT[name] for name in ("id", "created", "model", "system_fingerprint")}
    fields |= {"object": "chat.completion.chunk", "choices": choices, "usage": usage}
    return (
        b"data: " + json.dumps(fields, separators=(",", ":")).encode() + b"\n\n"
    )  # as OpenAI does


def _delta(delta: dict[str, str], finish: str | None = None) -> bytes:
    return _event([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}])


def _chunk(*events: bytes) -> bytes:
    content = b"".join(events)
    return b"%x\r\n%b\r\n" % (len(content), content)


def _stream(chunks: int = CHUNKS, *, is_held: bool = False) -> Iterator[Piece]:
    """Yield a stream of so many chunks of text; what waits for whole words comes one behind."""
    head = ["HTTP/1.1 200 OK", "content-type: text/event-stream; charset=utf-8"]
    head += [*_PROVIDERS_FIELDS, "transfer-encoding: chunked", "", ""]
    first = "\r\n".join(head).encode() + _chunk(_delta({"role": "assistant", "content": ""}))
    words = [f" word{number:03}" for number in range(chunks)]
    seen = [" word000", *words[:-1]] if is_held else words
    for word, last in zip(words, seen, strict=True):
        first += _chunk(_delta({"content": word}))
        if is_held and word == words[0]:
            continue  # nobody sees the first word before the second has begun
        yield Piece(first, last.strip().encode())
        first = b""
    end = (_delta({}, "stop"), _event([], _USAGE), b"data: [DONE]\n\n")
    yield Piece(b"".join(map(_chunk, end)) + b"0\r\n\r\n", b"[DONE]")


_JSON = _request(body())
_STREAMED = body("stream")
_WORDS = "x-headworks-buffer: words; max_delay=10s"

SCENARIOS = (
    Scenario("json", "a chat completion of 1 KB", _JSON, _whole(_CHAT), 8),
    Scenario("stream", "a stream of 100 chunks", _request(_STREAMED), tuple(_stream()), 2),
    Scenario(
        "words",
        "a stream of 100 chunks, cut anew at whole words",
        _request(_STREAMED, "/v1/chat/completions", KEY, _WORDS),
        tuple(_stream(is_held=True)),
        2,
    ),
    Scenario(
        "embeddings",
        "100 embeddings in a call",
        _request(embeddings_body(), "/v1/embeddings"),
        _whole(_EMBEDDINGS),
        2,
    ),
    Scenario(
        "refused",
        "a call with a wrong key",
        _request(body(), "/v1/chat/completions", "sk-wrong-0123456789abcdef"),
        (),
        20,
    ),
    Scenario(
        "inside", "a chat completion of 1 KB in process", body(), _whole(_CHAT), 8, inside=True
    ),
)

SHORT_CHUNKS = 20
SHORT = Scenario("short", "a shorter stream", _request(_STREAMED), tuple(_stream(SHORT_CHUNKS)), 4)
"""A stream less another is what its chunks cost, without what a call costs."""
