"""Whether a middleware stands around the gateway or not, its callers see the same."""

import re
from copy import deepcopy
from dataclasses import dataclass

import pytest

from headworks.errors import ConnectionLost
from headworks.testing import EVENTS, FakeResponse
from tests.faults.processes import chat, request
from tests.gateway.conftest import LAST, connected, everything, serving
from tests.gateway.peer import gateway
from tests.world import World

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Case:
    """Requests on one connection."""

    name: str
    requests: tuple[bytes, ...]
    script: tuple[FakeResponse | BaseException, ...] = ()


CALL = chat(key="open", model="m")
STREAM = chat(key="open", model="m", stream=True)
CHUNKED = re.sub(rb"content-length: \d+", b"transfer-encoding: chunked\r\nconnection: close", CALL)
CHUNKS = CHUNKED.partition(b"\r\n\r\n")[0]
END = LAST.replace(b"/last", b"/v1/last")
BODY = CALL.partition(b"\r\n\r\n")[2]
CASES = (
    Case("a call", (CALL,)),
    Case("three calls with one head", (CALL, chat(key="open", model="m", n=1), CALL)),
    Case("a stream behind a call", (CALL, STREAM, CALL), (FakeResponse(), FakeResponse(EVENTS))),
    Case("in chunks", (CALL, CHUNKS + b"\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY))),
    Case("no JSON behind a call", (CALL, request(b"{", key="open"), CALL)),
    Case("too large behind a call", (CALL, request(b"x" * 20_000, key="open"))),
    Case("a wrong key behind a call", (CALL, chat(key="wrong", model="m"), CALL)),
    Case("HEAD", (request(b"", line="HEAD /v1/models HTTP/1.1", key="open"), CALL)),
    Case("no such path", (request(b"{}", line="POST /v2/x HTTP/1.1", key="open"), CALL)),
    Case("a failure", (CALL,), (ConnectionLost(), ConnectionLost(), ConnectionLost())),
    Case("bytes", (request(b"", line="GET /v1/files/f/content HTTP/1.1", key="open"),)),
    Case("the last", (CALL.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1), CALL)),
)  # fmt: skip

VARYING = re.compile(
    rb"(date|x-request-id|x-headworks-call|x-headworks-overhead-ms): [^\r]*|(?<=content-length: )\d+"
)


async def answered(case: Case, *, wrapped: bool) -> tuple[bytes, list[str]]:
    """Return what came back, and how the calls ended."""
    world = World()
    world.upstream.script.extend(deepcopy(case.script))
    inner = gateway(world)

    async def around(scope, receive, send) -> None:
        await inner(scope, receive, send)

    async with (
        serving(around if wrapped else inner) as server,
        connected(server.url) as (reader, writer),
    ):
        writer.write(b"".join(case.requests) + END)
        got = await everything(reader)
    world.assert_settled()
    return VARYING.sub(b"~", got), world.journal.outcomes


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_middleware_changes_nothing_that_callers_see(case: Case):
    """Statuses, fields, bodies and their framing are the same, to the byte and in order."""
    direct = await answered(case, wrapped=False)
    assert b"HTTP/1.1 " in direct[0]
    assert await answered(case, wrapped=True) == direct


async def test_a_middleware_sees_every_message():
    """What stands around the gateway can change what comes and what goes, as in any ASGI server."""
    world = World()
    inner = gateway(world)

    async def around(scope, receive, send) -> None:
        async def sending(message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-seen", b"1"))
            await send(message)

        scope["headers"].append((b"authorization", b"Bearer open"))
        await inner(scope, receive, sending)

    without_key = re.sub(rb"authorization: [^\r]*\r\n", b"", CALL)
    async with serving(around) as server, connected(server.url) as (reader, writer):
        writer.write(without_key * 2 + END)
        got = await everything(reader)
    assert got.count(b" 200 OK\r\n") == got.count(b"x-seen: 1\r\n") == 3
