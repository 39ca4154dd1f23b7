"""The data plane: every request gets exactly one answer."""

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from headworks.errors import ConnectionLost
from headworks.testing import EVENTS, FakeResponse
from headworks.types import Caller, Request
from tests.faults.processes import chat, line_to, request
from tests.gateway.conftest import serving
from tests.gateway.peer import (
    BODY,
    BYTES,
    JSON,
    KEY,
    PATH,
    STREAMED,
    Peer,
    ask,
    gateway,
    part,
    peer,
    scope,
)
from tests.world import World

pytestmark = pytest.mark.anyio


async def test_a_call_is_answered():
    """The plain case: the provider's answer, with its length and our fields."""
    world = World()
    answer = await ask(world)
    assert answer.status == 200
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.headers["x-request-id"] == answer.headers["x-headworks-call"]
    world.assert_settled()


async def test_a_body_may_come_in_pieces():
    """However the network cuts a request, it is one request."""
    world = World()
    pieces = [part(BODY[at : at + 1], more=True) for at in range(len(BODY))]
    answer = await ask(world, *pieces, part())
    assert answer.status == 200
    assert world.upstream.sent[0].request.content == BODY


async def test_a_stream_is_sent_event_by_event():
    """Each piece leaves by itself; a stream has no length."""
    world = World()
    server = peer(part(STREAMED))
    await gateway(world)(scope(), server.receive, server.send)
    assert "content-length" not in server.answer.headers
    assert len(server.sent) > len(EVENTS)
    assert server.answer.body.endswith(b"data: [DONE]\n\n")


async def test_a_server_that_knows_no_raw_path_is_served_too():
    """Another ASGI server may tell the decoded path alone."""
    world = World()
    at = scope()
    del at["raw_path"]
    assert (await ask(world, at=at)).status == 200


class _Broken:
    """A guard with a defect."""

    async def inspect(self, request: Request, caller: Caller) -> None:
        raise LookupError("a defect with a secret in it")


async def test_what_nobody_foresaw_has_an_id_that_the_log_knows(caplog):
    """The caller reads no detail, only the id by which the operator finds it."""
    answer = await ask(World(guards=(_Broken(),)))
    assert (answer.status, answer.code) == (500, "internal_error")
    assert b"secret" not in answer.body
    assert answer.headers["x-request-id"] in caplog.text
    assert "a defect with a secret in it" in caplog.text


@dataclass(frozen=True)
class Case:
    """A request that is answered without a provider, or by its refusal."""

    name: str
    status: int
    code: str
    messages: tuple[dict[str, Any], ...] = (part(BODY),)
    method: str = "POST"
    path: str = PATH
    headers: tuple[tuple[bytes, bytes], ...] = (KEY, JSON)
    script: tuple[FakeResponse | BaseException, ...] = ()


WEBSOCKET = ((b"upgrade", b"WebSocket"), (b"connection", b"upgrade"), KEY)
CASES = (
    Case("no key", 401, "invalid_api_key", headers=(JSON,)),
    Case("no such path", 404, "path_not_found", path="/v2/x"),
    Case("no JSON", 400, "invalid_json", (part(b"{"),)),
    Case("another type", 415, "unsupported_media_type", headers=(KEY,)),
    Case("too large", 413, "body_too_large", (part(b"x" * 10_001),)),
    Case("too large by its word", 413, "body_too_large", headers=(KEY, JSON, (b"content-length", b"10001"))),
    Case("too large at last", 413, "body_too_large", (part(b"x" * 10_000, more=True), part(b"x"))),
    Case("too large without end", 413, "body_too_large", (part(b"x" * 9_000, more=True),) * 2),
    *(
        Case(f"a length of {length!r}", 400, "invalid_request", headers=(KEY, JSON, (b"content-length", length)))
        for length in (b"", b"x", b"-1", b"1_0", b" 5", b"9" * 5000)
    ),
    Case("a WebSocket", 501, "websocket_not_supported", method="GET", path="/v1/realtime", headers=WEBSOCKET),
    Case("the provider's error", 502, "all_routes_failed", script=(ConnectionLost(), ConnectionLost(), ConnectionLost())),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_refusal_has_the_apis_shape_and_one_id(case: Case):
    """Whatever is refused is told as OpenAI would tell it, with exactly one request id."""
    world = World()
    world.upstream.script.extend(case.script)
    at = scope(case.method, case.path, case.headers)
    answer = await ask(world, *case.messages, at=at)
    assert (answer.status, answer.code) == (case.status, case.code)
    error = msgspec.json.decode(answer.body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert answer.headers["content-type"] == "application/json"


async def test_a_body_that_says_it_is_too_large_is_not_read():
    """A refusal comes before the upload, so that nobody sends 20 MB for an error."""
    server = Peer([])
    at = scope(headers=(KEY, JSON, (b"content-length", b"10001")))
    await gateway(World())(at, server.receive, server.send)
    assert server.answer.status == 413


async def test_the_largest_body_is_taken():
    """The limit itself is allowed, declared or not."""
    world = World(max_body=len(BODY))
    length = (b"content-length", b"%d" % len(BODY))
    assert (await ask(world, headers=(KEY, JSON, length))).status == 200


@pytest.mark.parametrize("kind", [BYTES, (JSON,)], ids=["bytes", "JSON"])
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304), ("DELETE", 204)])
async def test_an_answer_without_content_tells_no_length(method: str, status: int, kind: Any):
    """Where HTTP allows no body, a length of 0 would be a lie about the document."""
    world = World()
    world.upstream.script.append(FakeResponse(b"", status, kind))
    answer = await ask(world, part(), method=method, path="/v1/files/f")
    assert (answer.status, answer.body) == (status, b"")
    assert "content-length" not in answer.headers


async def test_no_other_protocol_is_served():
    """A server that tries another protocol is told at once, and no engine is asked."""
    with pytest.raises(RuntimeError, match="lifespan"):
        await gateway(World())({"type": "lifespan"}, peer().receive, peer().send)


# On real sockets.


@asynccontextmanager
async def line(world: World):
    """Open a connection to a gateway on our own server."""
    async with serving(gateway(world)) as server, line_to(int(server.url.rpartition(":")[2])) as to:
        yield to


async def test_a_websocket_is_refused_in_plain_http():
    """An upgrade is answered 501 with the API's error shape, and the connection goes on."""
    handshake = {"upgrade": "websocket", "connection": "upgrade", "sec-websocket-version": "13"}
    async with line(World()) as to:
        refused = await to.ask(request(b"", line="GET /v1/realtime HTTP/1.1", headers=handshake))
    assert (refused.status, refused.error["code"]) == (501, "websocket_not_supported")


async def test_head_sends_no_body():
    """After a HEAD the connection is in step: the next answer is the next request's."""
    async with line(World()) as to:
        to.writer.write(request(b"", line="HEAD /v1/models HTTP/1.1", key="open"))
        head = await to.reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head
        assert (await to.ask(chat(key="open", model="m"))).status == 200


@pytest.mark.parametrize("declared", [True, False])
async def test_what_is_too_large_is_refused_on_the_wire(*, declared: bool):
    """413 arrives while the caller still sends, with the length told or in chunks."""
    async with line(World()) as to:
        head, _, body = request(b"x" * 20_000, key="open").partition(b"\r\n\r\n")
        if not declared:
            head = head.replace(b"content-length: 20000", b"transfer-encoding: chunked")
            body = b"%x\r\n%b\r\n" % (len(body), body)
        refused = await to.ask(head + b"\r\n\r\n" + body)
    assert (refused.status, refused.error["code"]) == (413, "body_too_large")
