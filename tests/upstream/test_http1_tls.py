"""Certificates and proxies."""

import asyncio
import os
import ssl
import subprocess
from pathlib import Path

import pytest

from headworks.errors import ConnectFailed, ConnectTimeout, DeadlineExceeded, StreamTruncated
from headworks.types import Secret, Timeouts
from headworks.upstream.http1 import ClientLimits, HttpClient, Origin, Proxy, tls_context
from tests.upstream.scripted import (
    Script,
    Server,
    Wire,
    answering,
    ask,
    chunked,
    post,
    serve,
    ticks,
    whole,
)

pytestmark = pytest.mark.anyio

LIMITS = ClientLimits(quiet_seconds=0)


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def certify(folder: Path, name: str, host: str, days: str = "30") -> None:
    """Make a key and a certificate for `host`, signed by the folder's authority."""
    openssl(
        folder,
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={host}"),
    )
    (folder / f"{name}.ext").write_text(f"subjectAltName=DNS:{host}\n")
    openssl(
        folder,
        *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
        *("-CAcreateserial", "-days", days, "-out", f"{name}.pem", "-extfile", f"{name}.ext"),
    )


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an authority and the certificates that it signs."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("ca", "stranger"):
        openssl(
            folder,
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "30"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
        )
    certify(folder, "good", "localhost")
    certify(folder, "other", "other.example")
    certify(folder, "expired", "localhost", days="0")
    return folder


def presenting(folder: Path, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def secure(server: Server, folder: Path, proxy: Proxy | None = None) -> HttpClient:
    trust = tls_context(str(folder / "ca.pem"))
    origin = Origin("https", "localhost", server.port)
    return HttpClient(origin, ssl_context=trust, proxy=proxy, limits=LIMITS)


@pytest.mark.parametrize("answer", [whole(b"ok"), chunked(b"o", b"k")])
async def test_a_trusted_server_is_talked_to(authority: Path, answer: bytes) -> None:
    """Calls over TLS work, speak HTTP/1.1 and share a connection."""
    async with serve(answering(answer), tls=presenting(authority, "good")) as server:
        client = secure(server, authority)
        for _ in range(5):
            assert await ask(client) == b"ok"
        assert server.accepted == 1
        chosen = server.wires[0].writer.get_extra_info("ssl_object").selected_alpn_protocol()
        assert chosen == "http/1.1"
        await client.aclose()


async def test_large_bodies_pass_over_tls(authority: Path) -> None:
    """A large body arrives whole in both directions."""
    body = bytes(range(256)) * 8_000

    async def script(wire: Wire) -> None:
        while True:
            await wire.send(whole((await wire.request()).partition(b"\r\n\r\n")[2]))

    async with serve(script, tls=presenting(authority, "good")) as server:
        client = secure(server, authority)
        for _ in range(3):
            assert await ask(client, body) == body
        await client.aclose()


ALERT = b"\x15\x03\x03\x00\x02\x02\x28"
"""A fatal alert (RFC 8446, section 6), as nobody may send it once both sides encrypt."""


@pytest.mark.parametrize(
    "end", [b"", ALERT, b"\x17\x03\x03\x00\x20" + b"x" * 32, b"HTTP/1.1 200 OK\r\n"]
)
async def test_an_answer_whose_encryption_breaks_is_cut_off(authority: Path, end: bytes) -> None:
    """An end without farewell, an alert or forged bytes in an answer: never a whole answer, at once."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(chunked(b"begun")[:-5])
        await asyncio.sleep(0.05)
        if end:
            os.write(wire.writer.get_extra_info("socket").fileno(), end)
            await wire.gone()
        else:
            wire.reset()

    async with serve(script, tls=presenting(authority, "good")) as server:
        client = secure(server, authority)
        response = await post(client)
        chunks = response.chunks()
        assert await anext(chunks) == b"begun"
        with pytest.raises(StreamTruncated):
            await asyncio.wait_for(anext(chunks), 1.0)
        assert client.statistics().open == 0
        await client.aclose()


@pytest.mark.parametrize("surplus", [b"x", whole(b"EVIL"), b"x" * 65_536])
async def test_surplus_bytes_over_tls_reach_no_other_call(authority: Path, surplus: bytes) -> None:
    """What comes encrypted behind an answer is nobody's either."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(whole(b"ok") + surplus)
        await wire.gone()

    async with serve(script, tls=presenting(authority, "good")) as server:
        client = secure(server, authority)
        for _ in range(4):
            assert await ask(client) == b"ok"
        assert server.accepted == 4
        await client.aclose()


@pytest.mark.parametrize(
    ("name", "says"),
    [("stranger", "self-signed"), ("other", "localhost"), ("expired", "expired")],
)
async def test_a_server_that_is_not_who_it_says_gets_nothing(
    authority: Path, name: str, says: str
) -> None:
    """An unknown, wrong or expired certificate ends the call before a byte of it is sent."""
    requests: list[bytes] = []

    async def script(wire: Wire) -> None:
        requests.append(await wire.request())

    async with serve(script, tls=presenting(authority, name)) as server:
        client = secure(server, authority)
        with pytest.raises(ConnectFailed, match=says) as caught:
            await post(client)
        assert not caught.value.sent
        assert client.statistics().open == 0
        await client.aclose()
    assert requests == []


async def test_the_systems_authorities_are_asked_by_default(authority: Path) -> None:
    """Without a file of my own, only the system's authorities count."""
    async with serve(answering(whole(b"ok")), tls=presenting(authority, "good")) as server:
        client = HttpClient(Origin("https", "localhost", server.port))
        with pytest.raises(ConnectFailed, match="not trusted"):
            await post(client)
        await client.aclose()


async def test_a_server_without_tls_cannot_be_mistaken(authority: Path) -> None:
    """Plain HTTP on a TLS port is an error, and one that hangs costs the connect timeout."""

    async def plain(wire: Wire) -> None:
        await wire.send(whole(b"ok"))

    async def silent(wire: Wire) -> None:
        await wire.gone()

    async with serve(plain) as server:
        client = secure(server, authority)
        with pytest.raises(ConnectFailed):
            await post(client)
        await client.aclose()
    async with serve(silent) as server:
        client = secure(server, authority)
        with pytest.raises(ConnectTimeout):
            await post(client, timeouts=Timeouts(connect=0.1))
        with pytest.raises(DeadlineExceeded):
            await post(client, total=0.1)
        assert client.statistics().open == 0
        await client.aclose()


async def test_a_handshake_cancelled_anywhere_leaves_nothing_behind(authority: Path) -> None:
    """However early a call over TLS is cancelled, its connection is freed."""
    async with serve(answering(whole(b"ok")), tls=presenting(authority, "good")) as server:
        client = secure(server, authority)
        for turns in range(40):
            task = asyncio.ensure_future(ask(client))
            await ticks(turns)
            task.cancel()
            await ticks(1)
            task.cancel()
            result = (await asyncio.gather(task, return_exceptions=True))[0]
            assert result == b"ok" or isinstance(result, asyncio.CancelledError)
            assert client.statistics().busy == 0
        await client.aclose()


def tunnelling(target: Server, asked: list[bytes], answer: bytes) -> Script:
    """Return the script of a proxy that leads to `target`."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
        finally:
            writer.transport.abort()

    async def script(wire: Wire) -> None:
        asked.append(await wire.reader.readuntil(b"\r\n\r\n"))
        await wire.send(answer)
        if b" 200" not in answer:
            return
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
        await asyncio.gather(pump(wire.reader, writer), pump(reader, wire.writer))

    return script


OPENED = b"HTTP/1.1 200 Connection established\r\nvia: p\r\n\r\n"


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_tunnels_both_schemes(authority: Path, scheme: str) -> None:
    """Through my proxy I reach the same server, with its own certificate, and reuse the tunnel."""
    asked: list[bytes] = []
    tls = presenting(authority, "good") if scheme == "https" else None
    async with (
        serve(answering(whole(b"ok")), tls=tls) as server,
        serve(tunnelling(server, asked, OPENED)) as middle,
    ):
        proxy = Proxy("127.0.0.1", middle.port, Secret("Basic eDp5"))
        client = secure(server, authority, proxy)
        if scheme == "http":
            client = HttpClient(
                Origin("http", "localhost", server.port), proxy=proxy, limits=LIMITS
            )
        for _ in range(3):
            assert await ask(client) == b"ok"
        await client.aclose()
        target = b"localhost:%d" % server.port
    assert asked == [
        b"CONNECT %b HTTP/1.1\r\nhost: %b\r\nproxy-authorization: Basic eDp5\r\n\r\n"
        % (target, target)
    ]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407"),
        (b"HTTP/1.1 502 Bad\r\ncontent-length: 0\r\n\r\n", "502"),
        (b"HTTP/1.1 2000 X\r\n\r\n", "refused"),
        (b"nonsense\r\n\r\n", "not HTTP"),
        (OPENED + b"x", "bytes of its own"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000, "too large"),
        (b"HTTP/1.1 200 OK\r\n", "closed"),
    ],
    ids=lambda value: repr(value[:40]),
)
async def test_a_proxy_that_refuses_is_named_as_the_cause(
    authority: Path, answer: bytes, says: str
) -> None:
    """When the proxy does not open a tunnel, I read what it said, and nothing was sent."""

    async def script(wire: Wire) -> None:
        await wire.reader.readuntil(b"\r\n\r\n")
        await wire.send(answer)
        if says != "closed":
            await wire.gone()

    async with serve(script) as middle:
        origin = Origin("https", "localhost", 9)
        client = HttpClient(
            origin,
            ssl_context=tls_context(str(authority / "ca.pem")),
            proxy=Proxy("127.0.0.1", middle.port),
        )
        with pytest.raises(ConnectFailed, match=says) as caught:
            await post(client)
        assert not caught.value.sent
        assert client.statistics().open == 0
        await client.aclose()


async def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a configured proxy is used, whatever the environment says."""

    async def script(wire: Wire) -> None:
        await wire.gone()

    async with serve(script) as middle, serve(answering(whole(b"ok"))) as server:
        for name in ("http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, str(middle.origin))
        client = HttpClient(server.origin)
        assert await ask(client) == b"ok"
        await client.aclose()
        assert middle.accepted == 0


async def test_a_proxys_password_cannot_smuggle_a_line(authority: Path) -> None:
    """Odd characters in the proxy's credentials are refused, and not shown."""
    async with serve(answering(whole(b"ok"))) as middle:
        proxy = Proxy("127.0.0.1", middle.port, Secret("Basic x\r\nevil: 1"))
        client = secure(middle, authority, proxy)
        with pytest.raises(ConnectFailed, match="characters") as caught:
            await post(client)
        assert "evil" not in str(caught.value)
        await client.aclose()
