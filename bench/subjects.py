"""What is measured, what it is asked, and what it must answer before it is timed."""

import contextlib
import http.client
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Literal

from process import LOAD_CPU, free_port, running, wait_for_port

HERE = Path(__file__).resolve().parent
KEY = "sk-bench-0123456789abcdef"
MODEL = "gpt-5.4-mini"
EMBEDDING_MODEL = "text-embedding-3-small"
CHUNKS = 100
EVENTS = CHUNKS + 3  # finish_reason, usage, [DONE]

Kind = Literal["json", "stream", "embeddings"]

_TEXT = "The customer wrote about an order, which was shipped on Monday and has not arrived. "


@dataclass(frozen=True)
class Subject:
    """A running thing to measure.

    Attributes:
        pid: Root of the process tree whose CPU counts; 0 for the mock upstream itself.
        ready: Seconds from the start of the process to its first good answer.
        base: What stands before `/chat/completions`.
        prefixes: What its names of chat and embedding models begin with.
        kinds: What it answered correctly; only that is timed.
        events: Of a stream of `CHUNKS` chunks; some gateways leave one out or add one.
        slow: How many times longer than the others it is measured.
        every: It is measured in each so-many-th round only.
        ours: Whether a wrong answer ends the program, as of headworks and nginx.
    """

    name: str
    version: str
    port: int
    pid: int = 0
    ready: float = 0.0
    base: str = "/v1"
    headers: tuple[str, ...] = ()
    prefixes: tuple[str, str] = ("", "")
    kinds: frozenset[Kind] = frozenset({"json", "stream", "embeddings"})
    events: int = EVENTS
    slow: float = 1.0
    every: int = 1
    ours: bool = True
    checks_key: bool = True


def body(behaviour: str = "", *, size: int = 1024, prefix: str = "") -> bytes:
    """Return a chat completion request of `size` bytes; `behaviour` is mockllm's, as "s100-p20"."""
    fields: dict[str, object] = {"model": prefix + MODEL}
    if behaviour.startswith("s"):
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    start = f"mock-{behaviour} " if behaviour else ""
    fields |= {"temperature": 0.2, "messages": [{"role": "user", "content": start}]}
    missing = size - len(json.dumps(fields))
    text = start + (_TEXT * (missing // len(_TEXT) + 1))[:missing]
    fields["messages"] = [{"role": "user", "content": text}]
    return json.dumps(fields).encode()


def embeddings_body(inputs: int = 100, *, prefix: str = "") -> bytes:
    """Return a request for so many embeddings."""
    texts = [f"mock-v{inputs}", *(f"{number}: {_TEXT}" for number in range(1, inputs))]
    return json.dumps({"model": prefix + EMBEDDING_MODEL, "input": texts}).encode()


def request(kind: Kind, subject: Subject, behaviour: str = "", size: int = 1024) -> bytes:
    """Return the request of a kind as the subject wants it."""
    chat, embedding = subject.prefixes
    if kind == "embeddings":
        return embeddings_body(prefix=embedding)
    return body(behaviour, size=size, prefix=chat)


def path(kind: Kind, subject: Subject) -> str:
    """Return where requests of a kind go."""
    return subject.base + ("/embeddings" if kind == "embeddings" else "/chat/completions")


def post(subject: Subject, kind: Kind, content: bytes, key: str = KEY) -> tuple[int, bytes]:
    """Make one call; return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", subject.port, timeout=10)
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    headers |= dict(line.split(": ", 1) for line in subject.headers)
    with contextlib.closing(connection):
        connection.request("POST", path(kind, subject), content, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def hang_up(subject: Subject) -> None:
    """Begin a stream and leave it, so that what it used must be counted."""
    connection = http.client.HTTPConnection("127.0.0.1", subject.port, timeout=10)
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    with contextlib.closing(connection):
        connection.request("POST", "/v1/chat/completions", body("s100-p20"), headers)
        connection.getresponse().read(300)


def answers(subject: Subject) -> bool:
    """Say whether a plain call gets a plain answer."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        status, answer = post(subject, "json", request("json", subject))
        return status == HTTPStatus.OK and b"That is enough." in answer
    return False


def checked(subject: Subject) -> Subject:
    """Return the subject with what it answers correctly: the speed of anything else says nothing.

    One of ours that answers wrongly ends the program; a peer is told, and not timed in that.
    """
    good: set[Kind] = set()
    if answers(subject):
        good.add("json")
    else:
        _complain(subject, "plain calls", post(subject, "json", request("json", subject)))
    status, answer = post(subject, "stream", request("stream", subject, "s100-p0"))
    if (
        status == HTTPStatus.OK
        and answer.count(b" @@") == CHUNKS
        and answer.rstrip().endswith(b"data: [DONE]")
    ):
        good.add("stream")
    else:
        _complain(subject, "streams", (status, answer))
    events = answer.count(b"data: ")
    status, answer = post(subject, "embeddings", request("embeddings", subject))
    if status == HTTPStatus.OK and answer.count(b'"index"') == 100:
        good.add("embeddings")
    else:
        _complain(subject, "embeddings", (status, answer))
    _check_key(subject)
    return replace(subject, kinds=frozenset(good), events=events)


def _check_key(subject: Subject) -> None:
    refused = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
    wrong = "sk-wrong-0123456789abcdef"
    content = request("json", subject)
    if subject.pid and subject.checks_key:
        status, answer = post(subject, "json", content, wrong)
        if status not in refused:
            _complain(subject, "a wrong key", (status, answer))


def _complain(subject: Subject, what: str, answer: tuple[int, bytes]) -> None:
    said = f"{subject.name} answered {what} wrongly: {answer[0]}, {answer[1][:200]!r}"
    if subject.ours:
        raise SystemExit(said)
    print(f"{said}; not timed in that", file=sys.stderr)


@contextlib.contextmanager
def direct(folder: Path) -> Iterator[Subject]:
    """Run the mock upstream, the subject that nothing can beat."""
    port = free_port(21100)
    with running([str(HERE / "tools/mockllm"), str(port)], LOAD_CPU, folder / "mockllm.log"):
        wait_for_port(port)
        yield Subject("direct", "", port)
