"""A provider gets what the caller wrote, by the gateway's own credential, and nothing else."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.types import Request, Secret
from headworks.upstream.openai import Credential, render
from tests.upstream.provider import (
    BYTES,
    CHAT,
    FORM,
    JSON,
    STREAM,
    asked,
    provider,
    route,
)
from tests.upstream.scripted import whole

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Body:
    """What a caller wrote, and what the provider reads for it."""

    name: str
    given: bytes
    sent: bytes | None = None
    path: str = CHAT
    model: str = "m"
    headers: tuple[tuple[bytes, bytes], ...] = JSON

    @property
    def expected(self) -> bytes:
        return self.given if self.sent is None else self.sent


INCLUDED = b'"stream_options":{"include_usage":true}'


def form(name: str, value: bytes) -> bytes:
    """Return a form with one field."""
    head = b'Content-Disposition: form-data; name="%b"' % name.encode()
    return b"--x\r\n%b\r\n\r\n%b\r\n--x--\r\n" % (head, value)


BODIES = (
    Body("nothing is edited, white space included", b'{ "messages" : [ ],\n\t"model" : "m" }'),
    Body(
        "only the model is edited",
        b'{"n": 1.0e0, "model":"alias", "user" : "\\u00e9\\/",  "x":[ 1 , {"a" :null} ]}',
        b'{"n":1.0e0,"model":"m","user":"\\u00e9\\/","x":[ 1 , {"a" :null} ]}',
    ),
    Body(
        "a number that no float holds keeps its digits",
        b'{"model":"alias","seed":123456789012345678901234567890,"t":0.10}',
        b'{"model":"m","seed":123456789012345678901234567890,"t":0.10}',
    ),
    Body(
        "a stream is asked for its usage",
        b'{"model":"m",' + STREAM + b"}",
        b'{"model":"m",' + STREAM + b"," + INCLUDED + b"}",
    ),
    Body(
        "the caller's options of a stream stay",
        b'{"model":"m",' + STREAM + b',"stream_options":{"include_obfuscation":false}}',
        b'{"model":"m",'
        + STREAM
        + b',"stream_options":{"include_obfuscation":false,"include_usage":true}}',
    ),
    Body(
        "a caller who wants no usage does not keep it from us",
        b'{"model":"m",' + STREAM + b',"stream_options":{"include_usage":false}}',
        b'{"model":"m",' + STREAM + b"," + INCLUDED + b"}",
    ),
    Body(
        "options of null are none",
        b'{"model":"m",' + STREAM + b',"stream_options":null}',
        b'{"model":"m",' + STREAM + b"," + INCLUDED + b"}",
    ),
    Body(
        "a caller who asks for the usage is not edited",
        b'{ "model":"m",' + STREAM + b', "stream_options": {"include_usage": true} }',
    ),
    *(
        Body(
            f"options that are {odd.decode()} are the provider's to judge",
            b'{ "model":"m",' + STREAM + b',"stream_options":' + odd + b"}",
        )
        for odd in (b"[]", b"0", b'""', b"false", b"true", b'"x"', b"[1]")
    ),
    Body("what is not streamed is not asked for usage", b'{ "model":"m","stream":false}'),
    Body("streams of responses tell it unasked", b'{ "model":"m",' + STREAM + b"}", None, "/v1/responses"),
    Body("no model is invented", b'{ "purpose":"x" }', None, "/v1/batches", "other"),
    Body("a model of null is kept", b'{ "model": null }', None, "/v1/batches", "other"),
    Body("a form without a model is not touched", form("purpose", b"alias"), None, "/v1/files", "m", FORM),
    Body("a form's model is replaced", form("model", b"alias"), form("model", b"m"), "/v1/audio/transcriptions", "m", FORM),
    Body("bytes are bytes", bytes(range(256)), None, "/v1/uploads/u/parts", "m", BYTES),
    Body("JSON of another type is bytes", b'{"model":"a","model":"b"}', None, "/v1/files", "m", BYTES),
)  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.name)
async def test_a_body_arrives_as_it_was_written(body: Body):
    """The provider reads the caller's bytes; the model's name and the wish for usage may differ."""
    seen: list[bytes] = []
    async with provider(seen, whole(b"{}")) as upstream:
        request = asked(body.given, path=body.path, headers=body.headers)
        response = await upstream.send(request, route(body.model), 5.0)
        await response.read(100)
    assert seen[0].partition(b"\r\n\r\n")[2] == body.expected


@given(st.binary(max_size=200))
def test_whatever_is_not_json_is_not_touched(content: bytes):
    """An upload of any bytes at all is sent on byte for byte."""
    request = asked(content, path="/v1/files", headers=BYTES)
    assert render(request, route("other")) == content


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=4), JSON_VALUES, max_size=5))
def test_an_edited_body_means_the_same(fields: dict[str, Any]):
    """Whatever else a body says, it says the same after the model was replaced."""
    fields |= {"model": "alias", "stream": False}
    content = json.dumps(fields, indent=1).encode()
    sent = render(asked(content), route("m"))
    assert json.loads(sent) == fields | {"model": "m"}


# Heads.

OURS = (
    b"authorization: Bearer sk-ours\r\n"
    b"openai-organization: org-ours\r\n"
    b"openai-project: proj_ours\r\n"
    b"accept-encoding: identity\r\n"
)
CALLERS = (
    (b"host", b"gateway"),
    (b"authorization", b"Bearer hw_secret"),
    (b"api-key", b"hw_secret"),
    (b"x-api-key", b"hw_secret"),
    (b"proxy-authorization", b"Basic hw_secret"),
    (b"cookie", b"session=hw_secret"),
    (b"connection", b"keep-alive, x-hop"),
    (b"x-hop", b"hw_secret"),
    (b"te", b"trailers"),
    (b"transfer-encoding", b"chunked"),
    (b"content-length", b"999"),
    (b"accept-encoding", b"gzip"),
    (b"x-forwarded-for", b"10.0.0.1"),
    (b"forwarded", b"for=10.0.0.1"),
    (b"x-real-ip", b"10.0.0.1"),
    (b"openai-organization", b"org-theirs"),
    (b"openai-project", b"proj_theirs"),
    (b"x-headworks-user", b"hw_secret"),
    (b"x-headworks-feature", b"search"),
    (b"x-stainless-retry-count", b"1"),
    (b"x-simulate", b"status=500"),
    (b"content-type", b"application/json"),
    (b"accept", b"application/json"),
    (b"user-agent", b"app/1.0"),
    (b"openai-beta", b"assistants=v2"),
    (b"idempotency-key", b"k-1"),
    (b"x-client-request-id", b"c-1"),
)


async def test_a_head_holds_our_credential_and_nothing_of_the_callers():
    """No key, cookie, address or steering header of a caller reaches the provider."""
    seen: list[bytes] = []
    content = b'{"model":"m"}'
    async with provider(seen, whole(b"{}")) as upstream:
        request = asked(content, query=b"a=1&b=%20%2F", headers=CALLERS)
        await (await upstream.send(request, route(), 5.0)).read(100)
        authority = upstream.server.origin.authority.encode()
    assert seen[0] == (
        b"POST /v1/chat/completions?a=1&b=%20%2F HTTP/1.1\r\n"
        b"host: " + authority + b"\r\n" + OURS + b"content-type: application/json\r\n"
        b"accept: application/json\r\n"
        b"user-agent: app/1.0\r\n"
        b"openai-beta: assistants=v2\r\n"
        b"idempotency-key: k-1\r\n"
        b"x-client-request-id: c-1\r\n"
        b"content-length: 13\r\n\r\n" + content
    )


@dataclass(frozen=True)
class Head:
    method: str
    path: str
    line: bytes
    length: bytes | None = None
    base: str = "/v1"
    query: bytes = b""
    content: bytes = b""


HEADS = (
    Head("GET", "/v1/models", b"GET /v1/models HTTP/1.1"),
    Head("HEAD", "/v1/files/f", b"HEAD /v1/files/f HTTP/1.1"),
    Head("GET", "/v1/files/f", b"GET /v1/files/f HTTP/1.1", b"2", content=b"{}"),
    Head("DELETE", "/v1/files/f", b"DELETE /v1/files/f HTTP/1.1", b"0"),
    Head("POST", "/v1/batches/b/cancel", b"POST /v1/batches/b/cancel HTTP/1.1", b"0"),
    Head("GET", "/v1/x", b"GET /openai/v1/x HTTP/1.1", base="/openai/v1"),
    Head("GET", "/v1/x", b"GET /x HTTP/1.1", base=""),
    Head("GET", "/v1/x%C3%A9", b"GET /v1/x%C3%A9 HTTP/1.1"),
    Head("GET", "/v1/x", b"GET /v1/x?q=%22\"'&&=? HTTP/1.1", query=b"q=%22\"'&&=?"),
    Head("GET", "/v1/v1/x", b"GET /v1/v1/x HTTP/1.1"),
)


@pytest.mark.parametrize("case", HEADS, ids=lambda case: f"{case.method} {case.base} {case.path}")
async def test_the_line_and_the_length_are_right(case: Head):
    """Path and query arrive under the provider's base path; only what has a body has a length."""
    seen: list[bytes] = []
    async with provider(seen, whole(b"{}"), base=case.base) as upstream:
        if case.path == "/v1/x%C3%A9":
            path = Request("GET", case.path)
        else:
            path = asked(
                case.content, method=case.method, path=case.path, query=case.query, headers=BYTES
            )
        await (await upstream.send(path, route(), 5.0)).read(100)
    line, *fields = seen[0].partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert line == case.line
    lengths = [field for field in fields if field.startswith(b"content-length")]
    assert lengths == ([] if case.length is None else [b"content-length: " + case.length])


async def test_requests_that_differ_in_one_thing_differ_in_that_alone():
    """Whatever is remembered of one request, the next has its own line, fields, body and length."""
    seen: list[bytes] = []
    first = asked(b'{"model":"m"}')
    others = (
        first,
        asked(b'{"model":"m","n":1}'),
        asked(b'{"model":"m"}', query=b"a=1"),
        asked(b'{"model":"m"}', headers=(*JSON, (b"idempotency-key", b"k-2"))),
        asked(b'{"model":"m"}', path="/v1/responses"),
        first,
    )
    async with provider(seen, whole(b"{}")) as upstream:
        for request in others:
            await (await upstream.send(request, route(), 5.0)).read(100)
    base, longer, queried, keyed, moved, again = seen
    assert again == base
    assert longer == base.replace(b": 13\r\n", b": 19\r\n").replace(b"}", b',"n":1}')
    assert queried == base.replace(b"completions HTTP", b"completions?a=1 HTTP")
    assert keyed == base.replace(b"content-length", b"idempotency-key: k-2\r\ncontent-length")
    assert moved == base.replace(b"/chat/completions", b"/responses")


async def test_a_credential_without_organisation_names_none():
    """Only what the operator configured is shown to the provider."""
    fields = Credential(Secret("sk-ours")).fields()
    assert fields == ((b"authorization", b"Bearer sk-ours"),)
    assert "sk-ours" not in repr(Credential(Secret("sk-ours")))
