"""Whatever strangers send to the gateway's port: one clear answer, no harm, no secret, no crash."""

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from headworks.simulator import RunningSimulator, SimulatorConfig, running
from tests.corpora import corpus
from tests.faults.processes import (
    KEY,
    UPSTREAM_KEY,
    Process,
    Reply,
    ask,
    chat,
    configuration,
    gateway_process,
    line_to,
    request,
)

pytestmark = pytest.mark.anyio

STRANGER = "sk-stranger-5555555555-5555555555"
DOCUMENTED = {501: "websocket_not_supported"}
"""The one answer of 500 or above that a caller alone can cause."""

MESSAGES = '"messages":[{"role":"user","content":"Hello"}]'


def post(body: str | bytes, **headers: str) -> bytes:
    """Return a chat completions request with this body."""
    content = body.encode() if isinstance(body, str) else body
    return request(content, headers={name.replace("_", "-"): v for name, v in headers.items()})


def nested(depth: int) -> str:
    return f'{{"model":"assistant",{MESSAGES},"metadata":{"[" * depth}{"]" * depth}}}'


def bare(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")


def at(target: str, method: str = "GET") -> bytes:
    return request(b"", line=f"{method} {target} HTTP/1.1")


@dataclass(frozen=True)
class Case:
    """Bytes that a caller may send, and how they are refused."""

    name: str
    content: bytes
    status: int
    code: str


GOOD = '{"model":"assistant",' + MESSAGES + "}"
BODIES = [
    Case("cut off", post(GOOD[:-1]), 400, "invalid_json"),
    Case("trailing text", post(GOOD + "x"), 400, "invalid_json"),
    Case("two documents", post(GOOD + GOOD), 400, "invalid_json"),
    Case("an array", post("[1]"), 400, "invalid_json"),
    Case("a word", post("null"), 400, "invalid_json"),
    Case("NaN", post(GOOD[:-1] + ',"seed":NaN}'), 400, "invalid_json"),
    Case("infinity", post(GOOD[:-1] + ',"seed":-Infinity}'), 400, "invalid_json"),
    Case("many digits", post(GOOD[:-1] + f',"seed":{"9" * 5000}}}'), 400, "invalid_json"),
    Case("lone surrogate", post(GOOD[:-1] + ',"user":"\\ud800"}'), 400, "invalid_json"),
    Case("bad UTF-8", post(GOOD[:-1].encode() + b',"user":"\xff"}'), 400, "invalid_json"),
    Case("double key", post('{"model":"single","model":"assistant"}'), 400, "invalid_json"),
    Case("escaped double key", post('{"model":"single","\\u006dodel":"a"}'), 400, "invalid_json"),
    Case("inner double key", post(GOOD[:-1] + ',"a":[{"b":1,"b":2}]}'), 400, "invalid_json"),
    Case("deep", post(nested(100)), 400, "invalid_json"),
    Case("very deep", post(nested(100_000)), 400, "invalid_json"),
    Case("never closed", post('{"a":' * 50_000), 400, "invalid_json"),
    Case("empty", post(""), 400, "invalid_json"),
    Case("blank", post(" \n "), 400, "invalid_json"),
    Case("byte order mark", post("\ufeff" + GOOD), 400, "invalid_json"),
    Case("UTF-16", post(GOOD.encode("utf-16")), 400, "invalid_json"),
    Case("UTF-32", post(GOOD.encode("utf-32-le")), 400, "invalid_json"),
    Case("gzip unsaid", post(gzip.compress(GOOD.encode())), 400, "invalid_json"),
    Case("gzip", post(gzip.compress(b"1"), content_encoding="gzip"), 415, "unsupported_media_type"),
    Case("no model", post("{" + MESSAGES + "}"), 400, "invalid_request"),
    Case("model null", post('{"model":null}'), 400, "invalid_request"),
    Case("model no text", post('{"model":["assistant"]}'), 400, "invalid_request"),
    Case("stream no truth", post('{"model":"assistant","stream":"yes"}'), 400, "invalid_request"),
    Case("plain text", post(GOOD, content_type="text/plain"), 415, "unsupported_media_type"),
    Case("a form", post(GOOD, content_type="multipart/form-data"), 415, "unsupported_media_type"),
    Case("type no type", post(GOOD, content_type=";;"), 415, "unsupported_media_type"),
    Case("large", post(GOOD[:-1] + f',"a":"{"x" * 1_000_000}"}}'), 413, "body_too_large"),
    Case("a priority", post(GOOD, x_headworks_priority="first"), 400, "invalid_request"),
    Case("a deadline", post(GOOD, x_headworks_deadline="soon"), 400, "invalid_request"),
]
ADDRESSES = [
    Case("no key", request(GOOD.encode(), headers={"authorization": ""}), 401, "invalid_api_key"),
    Case("basic", post(GOOD, authorization="Basic eDp5"), 401, "invalid_api_key"),
    Case("a stranger's key", chat(key=STRANGER), 401, "invalid_api_key"),
    Case("a key and more", chat(key=KEY + "x"), 401, "invalid_api_key"),
    Case("half a key", chat(key=KEY[:-1]), 401, "invalid_api_key"),
    Case("the upstream's key", chat(key=UPSTREAM_KEY), 401, "invalid_api_key"),
    Case("a key with odd bytes", chat(key="k\xe9y\xff"), 401, "invalid_api_key"),
    Case("another model", chat(key=f"narrow-{KEY}", model="single"), 403, "model_not_allowed"),
    Case("no such model", chat(model="no-such-model"), 404, "model_not_found"),
    Case("PUT", at("/v1/chat/completions", "PUT"), 405, "method_not_allowed"),
    Case("DELETE", at("/v1/models", "DELETE"), 405, "method_not_allowed"),
    Case("an odd method", at("/v1/files", "BREW"), 400, "bad_request"),
    Case("TRACE", at("/v1/files", "TRACE"), 405, "method_not_allowed"),
    Case("lower-case method", at("/v1/models", "get"), 400, "bad_request"),
    Case("CONNECT", at("api.openai.com:443", "CONNECT"), 400, "bad_request"),
    Case("asterisk", at("*", "OPTIONS"), 400, "bad_request"),
    Case("absolute", at("http://gateway/v1/models"), 400, "bad_request"),
    Case("root", at("/"), 404, "path_not_found"),
    Case("only v1", at("/v1"), 404, "path_not_found"),
    Case("v1 and a slash", at("/v1/"), 404, "path_not_found"),
    Case("v2", at("/v2/models"), 404, "path_not_found"),
    Case("no v1", at("/chat/completions"), 404, "path_not_found"),
    Case("two slashes", at("/v1//models"), 404, "path_not_found"),
    Case("slashes first", at("//v1/models"), 404, "path_not_found"),
    Case("dots", at("/v1/../v1/models"), 404, "path_not_found"),
    Case("encoded dots", at("/v1/%2e%2e/v1/models"), 404, "path_not_found"),
    Case("dots with a parameter", at("/v1/..;/models"), 404, "path_not_found"),
    Case("encoded slash", at("/v1/chat%2fcompletions"), 404, "path_not_found"),
    Case("backslash", at("/v1\\models"), 404, "path_not_found"),
    Case("encoded NUL", at("/v1/models%00"), 404, "path_not_found"),
    Case("encoded line end", at("/v1/models%0d%0ax:%20y"), 404, "path_not_found"),
    Case("an administrator's", at("/v1/organization/users"), 403, "path_not_allowed"),
    Case("in capitals", at("/V1/models"), 404, "path_not_found"),
    Case("WebSocket", bare(
        "GET /v1/chat/completions HTTP/1.1", "host: a", "connection: upgrade", "upgrade: websocket",
        "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==", "sec-websocket-version: 13",
    ), 501, "websocket_not_supported"),
]  # fmt: skip
MESSAGES_OF_HTTP = [
    Case("no HTTP", b"hello there\r\n\r\n", 400, "bad_request"),
    Case("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "bad_request"),
    Case("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad_request"),
    Case("HTTP/1.2", bare("GET /v1/models HTTP/1.2", "host: a"), 400, "bad_request"),
    Case("no host", bare("GET /v1/models HTTP/1.1"), 400, "bad_request"),
    Case("two hosts", bare("GET /v1/models HTTP/1.1", "host: a", "host: b"), 400, "bad_request"),
    Case("a strange host", bare("GET /v1/models HTTP/1.1", "host: a b"), 400, "bad_request"),
    Case("two lengths", post(GOOD, host="a\r\ncontent-length: 3"), 400, "bad_request"),
    Case("both framings", post(GOOD, transfer_encoding="chunked"), 400, "bad_request"),
    Case("a strange length", post(GOOD, content_length="+5"), 400, "bad_request"),
    Case("a negative length", post(GOOD, content_length="-5"), 400, "bad_request"),
    Case("an endless length", post(GOOD, content_length="9" * 30), 400, "bad_request"),
    Case("bare line ends", b"GET /v1/models HTTP/1.1\nhost: a\n\n\r\n\r\n", 400, "bad_request"),
    Case("a folded field", bare("GET /v1/a HTTP/1.1", "host: a", " b"), 400, "bad_request"),
    Case("a space first", bare("GET /v1/a HTTP/1.1", "host : a"), 400, "bad_request"),
    Case("a NUL", bare("GET /v1/a HTTP/1.1", "host: a", "x: \0"), 400, "bad_request"),
    Case("other expectations", post(GOOD, expect="miracles"), 417, "expectation_failed"),
    Case("a long target", at("/v1/" + "a" * 9000), 414, "uri_too_long"),
    Case("a large field", post(GOOD, x="y" * 70_000), 431, "header_fields_too_large"),
    Case("many fields", bare("GET /v1/a HTTP/1.1", "host: a", *["x: y"] * 5000), 431,
         "header_fields_too_large"),
    Case("broken chunks", bare(
        "POST /v1/chat/completions HTTP/1.1", "host: a", "transfer-encoding: chunked", "", "zz",
    ), 400, "bad_request"),
]  # fmt: skip


@dataclass
class Door:
    """A gateway process, and the provider behind it."""

    gateway: Process
    provider: RunningSimulator
    folder: Path
    replies: Counter[int]

    async def knock(self, content: bytes) -> Reply:
        """Send bytes on a connection of their own and return the reply, which is sound."""
        reply = await asyncio.wait_for(ask(self.gateway.port, content), 5)
        self.judge(reply)
        return reply

    def judge(self, reply: Reply) -> None:
        """A reply came, no secret in it; one that refuses says why in OpenAI's words."""
        assert reply.has_ended, reply
        assert reply.headers["x-request-id"]
        self.replies[reply.status] += 1
        assert reply.status < 500 or DOCUMENTED[reply.status] == reply.error["code"], reply
        for secret in (KEY, UPSTREAM_KEY):
            assert secret not in f"{reply.headers}"
            assert secret.encode() not in reply.body
        if reply.status < 400:
            return
        assert reply.headers["content-type"] == "application/json"
        assert list(json.loads(reply.body)) == ["error"]
        assert set(reply.error) == {"message", "type", "param", "code"}
        assert isinstance(reply.error["message"], str)
        assert isinstance(reply.error["type"], str)


def port_of(provider: RunningSimulator) -> int:
    return int(provider.base_url.split(":")[2].partition("/")[0])


@asynccontextmanager
async def door(folder: Path) -> AsyncGenerator[Door]:
    """Open a gateway to strangers; afterwards it must still serve, and have told nobody a secret."""
    log = folder / "log"
    with running(SimulatorConfig(credentials={"main": UPSTREAM_KEY})) as provider:
        configuration(folder, port_of(provider), level="debug")
        async with gateway_process(folder, log) as gateway:
            opened = Door(gateway, provider, folder, Counter())
            yield opened
            assert (await opened.knock(chat())).status == 200
            health = bare("GET /healthz HTTP/1.1", "host: localhost")
            assert (await ask(gateway.admin, health)).status == 200
            assert await gateway.stop() == 0
    assert_discreet(folder, log.read_text())


def assert_discreet(folder: Path, log: str) -> None:
    """No secret and no traceback in what the process wrote, anywhere."""
    assert "Traceback" not in log
    assert '"level": "error"' not in log
    for path in folder.iterdir():
        content = b"" if path.name == "headworks.yaml" else path.read_bytes()
        for secret in (KEY, UPSTREAM_KEY, STRANGER):
            assert secret.encode() not in content, (path, secret)


@pytest.mark.parametrize(
    "cases", [BODIES, ADDRESSES, MESSAGES_OF_HTTP], ids=["bodies", "addresses", "messages"]
)
async def test_every_bad_request_is_told_why(tmp_path, cases):
    """Each mistake has its own status and code, and costs nothing at the provider."""
    async with door(tmp_path) as opened:
        wrong = []
        for case in cases:
            reply = await opened.knock(case.content)
            if (reply.status, reply.error["code"]) != (case.status, case.code):
                wrong.append((case.name, reply.status, reply.error))
        assert wrong == []
        assert {one["status"] for one in opened.provider.attempts()} <= {404}


async def test_bodies_that_are_too_large_are_not_waited_for(tmp_path):
    """A body that is too large is refused when that is known: by its length, or on the way."""
    async with door(tmp_path) as opened:
        declared = post("", content_length=str(10**12))
        reply = await opened.knock(declared)
        assert (reply.status, reply.error["code"]) == (413, "body_too_large")

        head = request(b"", headers={"transfer-encoding": "chunked"})
        async with line_to(opened.gateway.port) as line:
            line.writer.write(head.replace(b"content-length: 0\r\n", b""))
            for _ in range(17):
                line.writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
            reply = await asyncio.wait_for(line.reply(), 5)
        opened.judge(reply)
        assert (reply.status, reply.error["code"]) == (413, "body_too_large")
        assert opened.provider.attempts() == []


def suite(prefix: str) -> list[Path]:
    """Return the texts of the JSONTestSuite whose names begin so."""
    return sorted((corpus("JSONTestSuite") / "test_parsing").glob(f"{prefix}*.json"))


async def test_no_invalid_json_is_accepted(tmp_path, figure):
    """Nothing that is not JSON passes, as a body or as a value in one."""
    async with door(tmp_path) as opened:
        for path in suite("n_"):
            text = path.read_bytes()
            inner = GOOD[:-1].encode() + b',"metadata":' + text + b"}"
            for content in (text, inner):
                reply = await opened.knock(post(content))
                assert (reply.status, reply.error["code"]) == (400, "invalid_json"), path.name
        assert opened.provider.attempts() == []
        figure(f"bad input: {opened.replies[400]} texts that are no JSON refused, 0 accepted")


async def test_every_other_json_is_decided(tmp_path):
    """What is JSON, or might be, is passed on or refused by name; never a failure of ours."""
    async with door(tmp_path) as opened:
        for path in (*suite("y_"), *suite("i_")):
            inner = GOOD[:-1].encode() + b',"metadata":{"v":' + path.read_bytes() + b"}}"
            reply = await opened.knock(post(inner))
            assert reply.status in {200, 400}, (path.name, reply)
        assert len(opened.provider.attempts()) > 90  # accepted here; the provider may refuse it


def naughty() -> list[str]:
    """Return the big list of naughty strings."""
    file = corpus("big-list-of-naughty-strings") / "blns.json"
    listed: list[str] = json.loads(file.read_text())
    return [text for text in listed if text]


def as_value(text: str) -> str:
    """Return the text's UTF-8 bytes as they may stand in a header field."""
    raw = text.encode().translate(bytes.maketrans(b"\r\n\0", b"   "))
    return raw.decode("latin-1").strip()


def naughty_requests() -> Iterable[bytes]:
    """Yield requests with each string in each place."""
    names = (
        "x-headworks-feature",
        "x-headworks-user",
        "x-headworks-tags",
        "user-agent",
        "x-client-request-id",
    )
    for text in naughty():
        value = as_value(text)
        yield chat(headers=dict.fromkeys(names, value))
        yield chat(model=text)
        yield chat(key=f"narrow-{KEY}", model=text)
        yield chat(key=as_value(text))
        yield at("/v1/" + quote(text, safe=""))
        yield at("/v1/files/" + quote(text) + "?q=" + quote(text))
        yield at("/v1/" + text.encode().decode("latin-1"))
        yield chat(headers={"x-headworks-deadline": value, "x-headworks-priority": value})


async def test_naughty_strings_do_no_harm(tmp_path, figure):
    """As field values, model names, keys, paths and queries they are only strings."""
    async with door(tmp_path) as opened:
        waiting = list(naughty_requests())
        count = len(waiting)

        async def knock_on() -> None:
            while waiting:
                await opened.knock(waiting.pop())

        await asyncio.gather(*(knock_on() for _ in range(8)))
        statuses = dict(sorted(opened.replies.items()))
        figure(f"bad input: {count} requests with naughty strings, answered {statuses}")


async def test_a_refused_credential_is_not_shown(tmp_path):
    """When the provider refuses the gateway's own key, neither caller nor log learns what it is."""
    log = tmp_path / "log"
    with running(SimulatorConfig(credentials={"main": STRANGER})) as provider:
        configuration(tmp_path, port_of(provider), level="debug")
        async with gateway_process(tmp_path, log) as gateway:
            reply = await ask(gateway.port, chat(model="single"))
            assert await gateway.stop() == 0

    assert (reply.status, reply.error["code"]) == (502, "upstream_auth_failed")
    assert b"sk-upstream" not in reply.body
    assert_discreet(tmp_path, log.read_text())
