"""What a model's configuration decides about streams and failures, seen through both faces."""

import json
from dataclasses import dataclass

import openai
import pytest

from headworks.errors import FirstByteTimeout, IdleTimeout, StreamTruncated, UpstreamError
from headworks.testing import WHOLE, FakeResponse
from headworks.types import Commit, Route
from tests.policies import (
    BODIES,
    CAREFUL,
    CREATED,
    DONE,
    END,
    FIRST,
    FULL,
    LEGACY,
    RESPONSES,
    ROLE,
    SAID,
    SECOND,
    STREAM,
    TOLD,
    URL,
    WHOLE_RESPONSE,
    WHOLE_TEXT,
    chunk,
    happened,
    refused,
    world_of,
)
from tests.world import CHAT

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["gateway", "inprocess"])
def face(request) -> str:
    return str(request.param)


@dataclass(frozen=True)
class Broken:
    """A stream that breaks after some pieces, and whether the caller never learns of it."""

    id: str
    commit: Commit
    pieces: tuple[bytes, ...]
    is_unseen: bool
    fault: UpstreamError | None = None


AT_ONCE, SIX, LATE, ALL = Commit(), Commit(6), Commit(1000), Commit(None)
BROKEN = [
    Broken("nothing came", AT_ONCE, (), is_unseen=True),
    Broken("only the role", AT_ONCE, (ROLE,), is_unseen=True),
    Broken("the role, then silence", AT_ONCE, (ROLE,), is_unseen=True, fault=FirstByteTimeout("late")),
    Broken("the first word", AT_ONCE, (ROLE, SAID[0]), is_unseen=False),
    Broken("fewer characters than are held", SIX, (ROLE, SAID[0]), is_unseen=True),
    Broken("as many", SIX, (ROLE, *SAID[:2]), is_unseen=False),
    Broken("many of even more", LATE, (ROLE, *SAID), is_unseen=True),
    Broken("almost all of it", ALL, (ROLE, *SAID), is_unseen=True),
    Broken("silence at the end", ALL, (ROLE, *SAID), is_unseen=True, fault=IdleTimeout("silent")),
    Broken("JSON that is none", ALL, (ROLE, *SAID, b"data: {bad}\n\n" + END), is_unseen=True),
    Broken("[DONE] too soon", ALL, (ROLE, *SAID, DONE), is_unseen=True),
    Broken("an error event", ALL, (ROLE, *SAID, b'data: {"error":{"code":"server_error"}}\n\n'), is_unseen=True),
]  # fmt: skip


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.id)
async def test_a_stream_that_breaks_before_its_commit_point_is_repaired_unseen(face, case):
    """Until then another answer takes its place, whole; after it an error ends the stream."""
    world = world_of(commit=case.commit)
    fault = case.fault or (StreamTruncated("cut") if DONE not in b"".join(case.pieces) else None)
    world.upstream.script = [FakeResponse(case.pieces or [b": hi\n\n"], fault=fault)]

    async with world.client(face) as client:
        response = await client.post(URL, json=STREAM)

    if case.is_unseen:
        assert response.content == FULL
        assert [row.closings for row in world.ledger.rows] == [1, 1]
        assert world.ledger.rows[0].usage.output >= len(case.pieces) - 1
    else:
        *events, last, _ = response.content.split(b"\n\n")
        assert b"\n\n".join([*events, b""]) == b"".join(case.pieces)
        assert "error" in json.loads(last.removeprefix(b"data: "))
        assert DONE not in response.content
    world.assert_settled()


@pytest.mark.parametrize("commit", [AT_ONCE, SIX, LATE, ALL])
@pytest.mark.parametrize("cuts", [1, 7, 400])
async def test_what_is_held_reaches_the_caller_unchanged(face, commit, cuts):
    """Whatever the policy, a stream that goes well is the same, byte by byte."""
    wire = ROLE + b"".join(SAID) + END
    pieces = [wire[at : at + cuts] for at in range(0, len(wire), cuts)]
    world = world_of(commit=commit)
    world.upstream.script = [FakeResponse(pieces)]

    async with world.client(face) as client:
        response = await client.post(URL, json=STREAM)

    assert response.content == wire
    world.assert_settled()


async def test_a_stream_held_whole_is_bounded(face):
    """A stream that is held to its end may be no larger than any whole answer."""
    world = world_of(FIRST, commit=ALL)
    large = [chunk({"content": "x" * 100_000}) for _ in range(11)]
    world.upstream.script = [FakeResponse([ROLE, *large, END]) for _ in range(3)]

    async with world.client(face) as client:
        response = await client.post(URL, json=STREAM)

    assert response.status_code == 502
    assert response.json()["error"]["code"] == "upstream_malformed_response"
    world.assert_settled()


async def test_a_stream_held_for_characters_is_bounded(face):
    """Beyond 256 KiB a stream is passed on, however much was to be held."""
    world = world_of(FIRST, commit=Commit(100_000))
    silent = [chunk({"content": "", "padding": "x" * 100_000}) for _ in range(3)]
    world.upstream.script = [FakeResponse([ROLE, *silent], fault=StreamTruncated("cut"))]

    async with world.client(face) as client:
        response = await client.post(URL, json=STREAM)

    assert response.content.startswith(ROLE + b"".join(silent))
    assert b"upstream_stream_truncated" in response.content


async def test_a_response_that_fails_before_its_content_is_repaired_unseen(face):
    """The Responses API's own failure event is no answer while another attempt may go well."""
    world = world_of()
    error = {"code": "server_error", "message": "m"}
    failed = happened("response.failed", 1, response={"id": "r", "error": error})
    whole = {"id": "r2", "output": [], "status": "completed", "usage": {"input_tokens": 1, "output_tokens": 1}}  # fmt: skip
    completed = happened("response.completed", 1, response=whole)
    world.upstream.script = [FakeResponse([CREATED + failed]), FakeResponse([CREATED, completed])]

    async with world.client(face) as client:
        response = await client.post(RESPONSES, json={**BODIES[RESPONSES], "stream": True})

    assert response.content == CREATED + completed
    assert len(world.routes) == 2
    world.assert_settled()


async def test_a_response_that_breaks_after_its_content_gets_both_forms(face):
    """After the commit point the Responses API's failure pair ends the stream."""
    world = world_of()
    world.upstream.script = [FakeResponse([CREATED + TOLD], fault=StreamTruncated("cut"))]

    async with world.client(face) as client:
        response = await client.post(RESPONSES, json={**BODIES[RESPONSES], "stream": True})

    assert response.content.startswith(CREATED + TOLD + b"event: response.failed\n")
    assert b"\nevent: error\n" in response.content
    assert len(world.routes) == 1


@pytest.mark.parametrize(
    ("url", "whole", "end"),
    [
        (URL, WHOLE, b'"finish_reason":"stop"}]}\n\n' + DONE),
        (LEGACY, WHOLE_TEXT, b'"finish_reason":"stop","logprobs":null}]}\n\n' + DONE),
        (RESPONSES, WHOLE_RESPONSE, b'"sequence_number":8}\n\n'),
    ],
)
async def test_a_json_answer_to_a_stream_request_is_made_a_stream(face, url, whole, end):
    """Clients would take it for an empty stream; what it says and costs is not lost."""
    world = world_of()
    world.upstream.script = [FakeResponse(whole)]

    async with world.client(face) as client:
        response = await client.post(url, json={**BODIES[url], "stream": True})

    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert b"Hello!" in response.content
    assert response.content.endswith(end)
    assert [(row.certainty, row.cost) for row in world.ledger.rows] == [("exact", 7)]
    world.assert_settled()


async def test_the_official_client_reads_a_made_stream(face):
    """The text and the usage arrive as if the provider had streamed."""
    world = world_of()
    world.upstream.script = [FakeResponse(WHOLE)]
    said, usages = "", []

    async with (
        world.client(face) as http,
        openai.AsyncOpenAI(api_key="open", base_url="http://headworks/v1", http_client=http) as client,
    ):  # fmt: skip
        stream = await client.chat.completions.create(
            model="m", messages=[], stream=True, stream_options={"include_usage": True}
        )
        async for part in stream:
            said += "".join(one.delta.content or "" for one in part.choices)
            usages += [part.usage.total_tokens] if part.usage else []

    assert (said, usages) == ("Hello!", [7])


@pytest.mark.parametrize(
    ("whole", "status", "code"),
    [
        (b'{"error":{"message":"m","code":"invalid_prompt"}}', 400, "invalid_prompt"),
        (b'{"error":{"message":"m","code":"insufficient_quota"}}', 429, "insufficient_quota"),
        (b'{"id":"r","status":"queued","output":[]}', 502, "upstream_malformed_response"),
        (b'{"hello":1}', 502, "upstream_malformed_response"),
        (b"<html>", 502, "upstream_malformed_response"),
    ],
)
async def test_json_that_is_no_answer_gets_a_real_status(face, whole, status, code):
    """An error that claims success is told as what it is, before any stream begins."""
    world = world_of(FIRST)
    world.upstream.script = [FakeResponse(whole) for _ in range(3)]

    async with world.client(face) as client:
        response = await client.post(URL, json=STREAM)

    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    world.assert_settled()


@dataclass(frozen=True)
class Chain:
    """Failures, and where the call goes after them."""

    id: str
    script: tuple[UpstreamError, ...]
    on: dict[str, tuple[Route, ...]]
    routes: tuple[Route, ...]
    status: int = 200


LONG, BUSY = refused(400, "context_length_exceeded"), refused(429, "rate_limit_exceeded")
BUSY_LONG = refused(429, "rate_limit_exceeded")
BUSY_LONG.retry_after = 30.0
STUCK = FirstByteTimeout()
CHAINS = [
    Chain("nothing is named", (LONG,), {}, (FIRST,), 400),
    Chain("a longer window", (LONG,), {"context_length": (CAREFUL,)}, (FIRST, CAREFUL)),
    Chain("which fails as well", (LONG, LONG), {"context_length": (CAREFUL,)}, (FIRST, CAREFUL), 400),
    Chain("and is not asked in vain", (LONG,), {"rate_limit": (CAREFUL,)}, (FIRST,), 400),
    Chain("instead of the order", (STUCK,), {"timeout": (CAREFUL,)}, (FIRST, CAREFUL)),
    Chain("before the order", (STUCK, STUCK), {"timeout": (CAREFUL,)}, (FIRST, CAREFUL, SECOND)),
    Chain("patience comes first", (BUSY,), {"rate_limit": (CAREFUL,)}, (FIRST, FIRST)),
    Chain("a wait that is too long", (BUSY_LONG,), {"rate_limit": (CAREFUL,)}, (FIRST, CAREFUL)),
    Chain("for a class of its own", (refused(429, "insufficient_quota"),), {"quota": (CAREFUL,)}, (FIRST, CAREFUL)),
    Chain("three attempts are all", (STUCK,) * 3, {"timeout": (CAREFUL,)}, (FIRST, CAREFUL, SECOND), 504),
]  # fmt: skip


@pytest.mark.parametrize("case", CHAINS, ids=lambda case: case.id)
async def test_each_kind_of_failure_may_have_routes_of_its_own(face, case):
    """What helps against one kind of failure is tried first where the operator says so."""
    world = world_of(on=case.on)
    world.upstream.script = [*case.script]

    async with world.client(face) as client:
        response = await client.post(URL, json=CHAT)

    assert world.routes == [str(route) for route in case.routes]
    assert response.status_code == case.status
    failed = response.headers.get("x-headworks-trail", "").split("; ")
    assert [step.split()[:2] for step in failed if step] == [
        [str(route), error.failure] for route, error in zip(case.routes, case.script, strict=False)
    ]
    world.assert_settled()


async def test_the_trail_says_what_was_decided_and_why(face):
    """A call's record shows each failed attempt, where it went on, why, and after which wait."""
    world = world_of(on={"context_length": (CAREFUL,)})
    world.upstream.script = [BUSY, refused(404, "a provider's secret"), LONG]

    async with world.client(face) as client:
        await client.post(URL, json=CHAT)

    trail = world.journal.calls[0].trail
    assert [(str(one.route), one.failure, one.code, one.next, one.why) for one in trail] == [
        ("first/big", "rate_limit", "rate_limit_exceeded", "same route", "worth the wait"),
        ("first/big", "request", "404", "nothing", "final"),
    ]
    assert [one.wait for one in trail] == [world.clock.slept[0], 0.0]
