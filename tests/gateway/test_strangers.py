"""Callers without a key: nothing of what they send is read."""

import asyncio
import json

import pytest

from headworks.observe.exposition import Exposition
from tests.faults.processes import Reply, line_to, request
from tests.gateway.browsers import PLAIN, Site, site

pytestmark = pytest.mark.anyio

_JSON, _FORM = "application/json", "multipart/form-data; boundary=x"


async def answered(it: Site, path: str, key: str, **fields: str) -> Reply:
    """Send a head, and return the answer that comes although nothing of the body does."""
    fields = {"host": "a", "authorization": f"Bearer {key}", **fields}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    async with line_to(it.port) as line:
        line.writer.write(f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode())
        reply = Reply()
        async with asyncio.timeout(5):
            await line.head(reply)
            reply.body = await line.reader.read(4096)
        return reply


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", {"content_type": _JSON, "content_length": "19000000"}),
        ("/v1/chat/completions", {"content_type": _JSON, "transfer_encoding": "chunked"}),
        ("/v1/files", {"content_type": _FORM, "content_length": "500000000"}),
        ("/v1/files", {"content_type": _FORM, "content_length": "300000", "expect": "100-continue"}),
        ("/v1/of-tomorrow", {"transfer_encoding": "chunked"}),
    ],
    ids=str,
)  # fmt: skip
async def test_a_stranger_is_refused_before_its_body(tmp_path, path, fields):
    """Who has no key cannot make us hold, or wait for, what it sends; and it is counted."""
    async with site(tmp_path) as it:
        reply = await answered(it, path, "hw_nobody", **fields)
        told = Exposition(it.station.assembly.metrics).render().decode()
    assert reply.status == 401
    assert b"invalid_api_key" in reply.body
    assert reply.headers["connection"] == "close"
    assert reply.call.startswith("call_")
    assert 'headworks_calls_total{key=""' in told


async def test_a_stranger_is_refused_again_where_its_head_is_known(tmp_path):
    """A head that came before, with a short body, opens nothing for a long one."""
    fields = json.dumps({"messages": [], "model": "assistant"}).encode()
    async with site(tmp_path) as it, line_to(it.port) as line:
        for body in (fields, b"no JSON" * 5_000, b"no JSON" * 5_000):
            reply = await line.ask(request(body, key="hw_nobody"))
            assert (reply.status, reply.has_ended) == (401, True)
            assert b"invalid_api_key" in reply.body


async def test_a_strangers_path_is_still_judged_first(tmp_path):
    """What is no path of ours is not found, with a key and without one."""
    async with site(tmp_path) as it:
        long = {"content_type": _JSON, "content_length": "100000"}
        assert (await answered(it, "/v1/a%2fb", "hw_nobody", **long)).status == 404


async def test_who_has_a_key_is_read(tmp_path):
    """A long body of somebody known is taken as ever."""
    async with site(tmp_path) as it:
        fields = {"messages": [{"role": "user", "content": "x" * 50_000}], "model": "assistant"}
        reply = await it.send(
            "POST /v1/chat/completions",
            json.dumps(fields).encode(),
            PLAIN,
            content_type=_JSON,
            connection="close",
        )
        assert reply.status == 200
