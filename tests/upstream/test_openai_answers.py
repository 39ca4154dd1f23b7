"""What a provider answers is understood for what it is, and leaves its connection clean."""

import asyncio
from dataclasses import dataclass, field

import pytest

from headworks.errors import (
    CallError,
    ConnectFailed,
    CredentialRefused,
    DeadlineExceeded,
    FirstByteTimeout,
    MalformedResponse,
    Retry,
    UpstreamAnswered,
    UpstreamError,
)
from headworks.types import Timeouts
from headworks.upstream.http1 import HttpClient, Origin
from tests.upstream.provider import STREAM, asked, provider, providers, route
from tests.upstream.scripted import Wire, answering, chunked, client_of, serve, whole

pytestmark = pytest.mark.anyio

ERROR = b'{"error":{"message":"Too many.","type":"requests","code":"rate_limit_exceeded"}}'
HUGE = b'{"error":{"message":"' + b"x" * 200_000 + b'"}}'


@dataclass(frozen=True)
class Refusal:
    """What a provider answered, and what the engine makes of it."""

    name: str
    answer: bytes
    kind: type[UpstreamError]
    status: int
    code: str
    retry: Retry
    content: bytes | None = None
    retry_after: float | None = None
    keeps: bool = True
    is_answer: bool = field(default=True)


def redirect(status: int) -> Refusal:
    answer = whole(b"", status, b"location: https://elsewhere.example/v1\r\n")
    code = "upstream_malformed_response"
    return Refusal(f"{status}", answer, MalformedResponse, 502, code, Retry.OTHER_ROUTE)


REFUSALS = (
    *(redirect(status) for status in (300, 301, 302, 303, 307, 308)),
    Refusal("a rate limit", whole(ERROR, 429, b"retry-after-ms: 250\r\n"), UpstreamAnswered, 429, "rate_limit_exceeded", Retry.SAME_ROUTE, ERROR, 0.25),
    Refusal("in chunks", chunked(ERROR).replace(b"200 OK", b"429 X"), UpstreamAnswered, 429, "rate_limit_exceeded", Retry.SAME_ROUTE, ERROR),
    Refusal("an HTML page", whole(b"<html>Bad Gateway</html>", 502), UpstreamAnswered, 502, "", Retry.SAME_ROUTE),
    Refusal("nothing at all", whole(b"", 500), UpstreamAnswered, 500, "", Retry.SAME_ROUTE),
    Refusal("not UTF-8", whole(b'{"error":"\xff"}', 400), UpstreamAnswered, 400, "", Retry.NEVER),
    Refusal("JSON of another shape", whole(b"[1]", 404), UpstreamAnswered, 404, "", Retry.NEVER),
    Refusal("our credential refused", whole(b'{"error":{"code":"invalid_api_key"}}', 401), CredentialRefused, 502, "upstream_auth_failed", Retry.OTHER_ROUTE),
    Refusal("a body without end", whole(HUGE, 500), UpstreamAnswered, 500, "", Retry.SAME_ROUTE, keeps=False),
    Refusal("endless chunks", chunked(HUGE).replace(b"200 OK", b"400 X"), UpstreamAnswered, 400, "", Retry.NEVER, keeps=False),
)  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.name)
async def test_a_refusal_is_understood_and_its_connection_is_clean(case: Refusal):
    """Each answer has its status, code and advice; what was read whole is used again, else closed."""
    seen: list[bytes] = []
    async with provider(seen, case.answer) as upstream:
        with pytest.raises(case.kind):
            await upstream.send(asked(b'{"model":"m"}'), route(), 5.0)
        with pytest.raises(case.kind) as caught:
            await upstream.send(asked(b'{"model":"m"}'), route(), 5.0)
        accepted = upstream.server.accepted
    error = caught.value
    assert (error.status, error.code, error.retry) == (case.status, case.code, case.retry)
    assert (error.retry_after, error.is_answer) == (case.retry_after, case.is_answer)
    assert getattr(error, "content", None) == case.content
    assert accepted == (1 if case.keeps else 2)


async def test_a_redirect_is_never_followed():
    """Our credential goes to the configured address alone, whatever a provider says."""
    seen: list[bytes] = []
    async with provider(seen, whole(b"", 307, b"location: /v1/elsewhere\r\n")) as upstream:
        with pytest.raises(MalformedResponse, match="redirect"):
            await upstream.send(asked(b'{"model":"m"}'), route(), 5.0)
    assert len(seen) == 1


async def test_our_key_is_not_handed_to_the_caller():
    """A provider that repeats what it was sent in its error repeats it without our key."""
    echo = b'{"error":{"message":"cannot serve: authorization: Bearer sk-ours"}}'
    async with provider([], whole(echo, 400)) as upstream:
        with pytest.raises(UpstreamAnswered) as caught:
            await upstream.send(asked(b'{"model":"m"}'), route(), 5.0)

    assert caught.value.content is not None
    assert b"sk-ours" not in caught.value.content
    assert "sk-ours" not in str(caught.value)


async def test_an_error_that_breaks_off_keeps_its_status():
    """When the body of an error is cut, its status still says what to do."""

    async def cut(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 503 X\r\ncontent-length: 100\r\n\r\n{")

    async with serve(cut) as server, client_of(server) as client:
        with pytest.raises(UpstreamAnswered) as caught:
            await providers(client).send(asked(b'{"model":"m"}'), route(), 5.0)
    assert (caught.value.status, caught.value.retry) == (503, Retry.SAME_ROUTE)


@pytest.mark.parametrize("begun", [b"", b'{"error":{'], ids=["nothing", "a part"])
async def test_an_error_that_never_ends_keeps_its_status(begun, monkeypatch):
    """A provider that says 503 and then nothing more does not cost the call all of its time."""
    monkeypatch.setattr("headworks.upstream.openai.ERROR_WAIT", 0.1)

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 503 X\r\ncontent-length: 99\r\n\r\n" + begun)
        await wire.request()

    async with serve(script) as server, client_of(server) as client, asyncio.timeout(5.0):
        with pytest.raises(UpstreamAnswered) as caught:
            await providers(client).send(asked(b'{"model":"m"}'), route(), 60.0)

    assert (caught.value.status, caught.value.retry) == (503, Retry.SAME_ROUTE)


async def test_not_modified_is_an_answer():
    """304 is what a caller asked for with if-none-match: it passes."""
    async with provider([], b"HTTP/1.1 304 X\r\netag: x\r\n\r\n") as upstream:
        response = await upstream.send(asked(method="GET", path="/v1/files/f"), route(), 5.0)
        assert (response.status, await response.read(10)) == (304, b"")


async def test_an_answer_to_head_has_no_body():
    """The length that a HEAD's answer tells is not waited for."""
    async with provider([], b"HTTP/1.1 200 X\r\ncontent-length: 9\r\n\r\n") as upstream:
        for _ in range(2):
            response = await upstream.send(asked(method="HEAD", path="/v1/files/f"), route(), 5.0)
            assert await response.read(10) == b""
        assert upstream.server.accepted == 1


async def test_a_provider_that_is_not_there_is_told_as_such():
    """Nothing was sent, nothing can be billed, and the caller reads upstream_unreachable."""
    async with serve(answering()) as server:
        port = server.port
    client = HttpClient(Origin("http", "127.0.0.1", port))
    with pytest.raises(ConnectFailed) as caught:
        await providers(client).send(asked(b'{"model":"m"}'), route(), 5.0)
    await client.aclose()
    assert (caught.value.status, caught.value.code) == (502, "upstream_unreachable")
    assert not caught.value.sent


@pytest.mark.parametrize(
    ("content", "whole", "error"),
    [
        (b'{"model":"m",' + STREAM + b"}", None, FirstByteTimeout),
        (b'{"model":"m"}', None, DeadlineExceeded),
        (b'{"model":"m"}', 0.02, FirstByteTimeout),
    ],
    ids=["stream", "whole", "whole and bounded"],
)
async def test_only_streams_wait_for_a_first_byte(
    content: bytes, whole: float | None, error: type[CallError]
):
    """A silent stream is given up early; a whole answer may take all the time, or what I say."""

    async def silent(wire: Wire) -> None:
        await wire.request()
        await wire.gone()

    async with serve(silent) as server, client_of(server) as client:
        with pytest.raises(error):
            await providers(client).send(
                asked(content),
                route(timeouts=Timeouts(first_byte=0.02, first_byte_whole=whole)),
                0.1,
            )
