"""A request at the door: what is read of it, what goes on, and what is refused."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.intake import presented_key, read_request
from headworks.errors import (
    CallerError,
    InvalidJSON,
    InvalidRequest,
    MethodNotAllowed,
    PathNotFound,
    UnsupportedMediaType,
)
from headworks.types import Tags

JSON = (b"content-type", b"application/json; charset=utf-8")
CHAT = "/v1/chat/completions"
BODY = b'{"model":"m","messages":[]}'


def read(path=CHAT, *, method="POST", headers=(JSON,), content=BODY):
    return read_request(method, path, b"", headers, content)


def test_a_chat_request_is_read():
    """Model and stream are known, the bytes are the caller's own."""
    request = read(content=b'{"model":"m", "stream": true}')

    assert (request.model, request.stream, request.content) == (
        "m",
        True,
        b'{"model":"m", "stream": true}',
    )


@dataclass(frozen=True)
class Case:
    id: str
    error: type[Exception]
    path: str = CHAT
    method: str = "POST"
    headers: tuple[tuple[bytes, bytes], ...] = (JSON,)
    content: bytes = BODY


CASES = [
    Case("no JSON", InvalidJSON, content=b"{"),
    Case("an empty body", InvalidJSON, content=b""),
    Case("no object", InvalidJSON, content=b"[1]"),
    Case("no model", InvalidRequest, content=b"{}"),
    Case("a model that is no text", InvalidRequest, content=b'{"model":1}'),
    Case("a stream that is no switch", InvalidRequest, content=b'{"model":"m","stream":"true"}'),
    Case("another content type", UnsupportedMediaType, headers=((b"content-type", b"text/plain"),)),
    Case("no content type", UnsupportedMediaType, headers=()),
    Case("a compressed body", UnsupportedMediaType, headers=(JSON, (b"content-encoding", b"gzip"))),
    Case("the wrong method", MethodNotAllowed, method="PUT"),
    Case("a method of no API", MethodNotAllowed, "/v1/files", "TRACE"),
    Case("a path outside", PathNotFound, "/v2/chat/completions"),
    Case("the bare root", PathNotFound, "/v1"),
    Case("an empty segment", PathNotFound, "/v1//chat/completions"),
    Case("a trailing slash", PathNotFound, "/v1/chat/completions/"),
    Case("a dotted path", PathNotFound, "/v1/x/../chat/completions"),
    Case("an encoded dotted path", PathNotFound, "/v1/x/%2e%2e/chat/completions"),
    Case("an encoded slash", PathNotFound, "/v1/chat%2fcompletions"),
    Case("a path parameter", PathNotFound, "/v1/chat;x/completions"),
    Case("a backslash", PathNotFound, "/v1/chat\\completions"),
    Case("a control character", PathNotFound, "/v1/files/%0d%0a"),
    Case("an encoded percent sign", PathNotFound, "/v1/%2563hat/completions"),
    Case("a model's name that is none", InvalidRequest, content=b'{"model": "%s"}' % (b"x" * 257)),
    Case("a bad deadline", InvalidRequest, headers=(JSON, (b"x-headworks-deadline", b"soon"))),
    Case("no time at all", InvalidRequest, headers=(JSON, (b"x-headworks-deadline", b"0s"))),
    Case("a priority of no kind", InvalidRequest, headers=(JSON, (b"x-headworks-priority", b"vip"))),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_is_not_right_is_refused(case):
    """Each refusal says what to do, with its own code."""
    with pytest.raises(case.error) as caught:
        read(case.path, method=case.method, headers=case.headers, content=case.content)

    assert isinstance(caught.value, CallerError)
    assert len(str(caught.value)) > 10


@pytest.mark.parametrize("path", ["/v1/%63hat/completions", "/v1/chat/%63ompletions"])
def test_every_spelling_of_a_path_is_one_path(path):
    """No rule about a path is passed by writing it differently."""
    assert read(path).path == CHAT


def test_ids_keep_their_signs():
    """Identifiers with colons and the like reach the provider as they are."""
    request = read("/v1/models/ft:gpt-4o:org%3Ax", method="GET", content=b"", headers=())

    assert request.path == "/v1/models/ft:gpt-4o:org:x"


def test_only_what_matters_goes_on():
    """No credential, cookie or client address leaves with the request."""
    headers = [JSON, (b"authorization", b"Bearer k"), (b"cookie", b"c"), (b"x-forwarded-for", b"1"),
               (b"openai-organization", b"o"), (b"openai-beta", b"b"), (b"accept-encoding", b"gzip")]  # fmt: skip

    assert read(headers=headers).headers == (JSON, (b"openai-beta", b"b"))


def test_tags_are_read_and_bounded():
    """What a call is for, in the caller's words, cut to a sane length."""
    headers = [JSON, (b"x-headworks-feature", b"search"), (b"x-headworks-user", b"u" * 999),
               (b"x-headworks-tags", b"a, b,,"), (b"x-headworks-priority", b"batch")]  # fmt: skip

    assert read(headers=headers).tags == Tags("search", "u" * 256, "", ("a", "b"), "batch")


@pytest.mark.parametrize(
    ("headers", "content", "timeout"),
    [
        ([(b"x-stainless-read-timeout", b"600")], BODY, 599),
        ([(b"x-stainless-timeout", b"12.5")], BODY, 11.875),
        ([(b"x-headworks-deadline", b"20s"), (b"x-stainless-read-timeout", b"600")], BODY, 20),
        ([(b"x-stainless-read-timeout", b"600")], b'{"model":"m","stream":true}', None),
        ([(b"x-stainless-read-timeout", b"NOT_GIVEN")], BODY, None),
    ],
)
def test_deadlines(headers, content, timeout):
    """Our header goes before the client's own timeout, which bounds only whole answers."""
    assert read(headers=(JSON, *headers), content=content).timeout == timeout


@pytest.mark.parametrize(
    ("field", "key"),
    [
        ((b"authorization", b"Bearer abc"), "abc"),
        ((b"authorization", b"bearer  abc "), "abc"),
        ((b"api-key", b"abc"), "abc"),
        ((b"authorization", b"Basic abc"), None),
        ((b"x-api-key", b"abc"), None),
    ],
)
def test_the_key_is_found(field, key):
    """OpenAI's and Azure's way to show a key are both understood."""
    found = presented_key([field])

    assert (found and found.reveal()) == key
    assert "abc" not in repr(found)


@given(st.text(max_size=30), st.sampled_from(["GET", "POST"]), st.binary(max_size=30))
def test_no_path_or_body_breaks_us(path, method, content):
    """Whatever is sent, it is read or refused."""
    try:
        request = read_request(method, "/v1/" + path, b"", [JSON], content)
    except CallerError:
        return
    assert request.path.startswith("/v1/")
    assert read_request(method, request.path, b"", [JSON], content).path == request.path


@pytest.mark.parametrize(
    "path", ["/v1/organization/projects", "/v1/%6frganization", "/v1/projects/p/roles"]
)
def test_administration_is_known_however_it_is_spelled(path: str):
    """What administers the provider's account is never taken for anything else."""
    for method, body in (("GET", b""), ("POST", b'{"model":"m"}'), ("DELETE", b"")):
        assert read_request(method, path, b"", [JSON], body).is_admin
    assert not read_request("GET", "/v1/files", b"", [JSON], b"").is_admin
