"""A server starts whole or not at all, and ends without breaking what it carries."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from headworks.errors import ConfigurationError
from headworks.gateway.admin import AdminSources, admin_app
from headworks.gateway.lifecycle import Lifecycle
from headworks.gateway.server import Hooks, Server, ServerOptions, running
from tests.gateway.conftest import (
    LAST,
    OK,
    Echo,
    absent,
    answers,
    connected,
    everything,
    read_answer,
    talk,
)

pytestmark = pytest.mark.anyio

READY = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture
def anyio_backend():
    return "asyncio", {"use_uvloop": True}


def path(name: str) -> bytes:
    return b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % name.encode()


@asynccontextmanager
async def started(app, hooks: Hooks | None = None, **options: float):
    """Run a server with the real admin plane."""
    lifecycle = Lifecycle()
    sources = AdminSources(lifecycle=lifecycle, version="1", environment="testing")
    chosen = ServerOptions(listen="127.0.0.1:0", admin="127.0.0.1:0", **options)  # type: ignore[arg-type] # times only
    admin = admin_app(sources, "127.0.0.1:0")
    async with running(
        app, admin, lifecycle, chosen, hooks or Hooks(announce=lambda _: None)
    ) as it:
        yield it


async def is_ready(server: Server) -> bool:
    return answers(await talk(server.admin_url, [READY]))[0].status == 200


async def test_a_server_serves_both_planes():
    """The data plane and the admin plane answer on their own ports."""
    async with started(Echo()) as server:
        assert answers(await talk(server.url, [LAST]))[0].body == b"/last "
        assert await is_ready(server)
        assert server.lifecycle.statistics().finished == 1


async def test_readiness_ends_with_the_signal_and_service_goes_on():
    """From the moment of a stop the probe says no, while what is in flight is served to the end."""
    app = Echo()
    async with started(app) as server, connected(server.url) as (reader, writer):
        writer.write(path("stream"))
        await app.entered.wait()
        server.stop()
        assert server.lifecycle.is_ready is False
        assert await is_ready(server) is False
        assert server.lifecycle.in_flight == 1
        app.gate.set()
        received = await everything(reader)
    assert answers(received)[0].body == b"first last"
    assert server.lifecycle.in_flight == 0
    assert app.ended == ["done"]


async def test_new_callers_are_served_while_load_balancers_look_away():
    """During the lame-duck time new connections are served, and told to go elsewhere next time."""
    app = Echo()
    async with started(app, lame_duck_seconds=30.0) as server:
        server.stop()
        answer = answers(await talk(server.url, [OK]))[0]
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await is_ready(server) is False
        server.stop()


async def test_after_a_stop_nothing_new_is_accepted():
    """Without a lame-duck time the port is closed at once, idle connections with it."""
    app = Echo()
    async with (
        started(app) as server,
        connected(server.url) as (idle, writer),
        connected(server.url) as (_, busy),
    ):
        writer.write(OK)
        await read_answer(idle)
        app.entered.clear()
        busy.write(path("gate"))
        await app.entered.wait()
        server.stop()
        assert await everything(idle) == b""
        with pytest.raises(ConnectionRefusedError):
            await talk(server.url, [OK])
        app.gate.set()


@pytest.mark.parametrize("how", ["deadline", "second signal"])
async def test_what_outlasts_the_drain_is_cancelled_and_told(how: str):
    """At the deadline, or at a second signal, the app is cancelled and its caller gets a 503."""
    app = Echo()
    drain = 0.05 if how == "deadline" else 600.0
    async with (
        started(app, drain_seconds=drain) as server,
        connected(server.url) as (reader, writer),
    ):
        writer.write(path("gate"))
        await app.entered.wait()
        server.stop()
        if how == "second signal":
            server.stop()
        answer = answers(await everything(reader))[0]
    assert (answer.status, answer.code) == (503, "shutting_down")
    assert app.ended == ["cancelled"]


async def test_a_stream_that_outlasts_the_drain_is_broken_off_honestly():
    """A stream that is cut has no proper end, so that nobody takes it for complete."""
    app = Echo()
    async with (
        started(app, drain_seconds=0.05) as server,
        connected(server.url) as (reader, writer),
    ):
        writer.write(path("stream"))
        await app.entered.wait()
        server.stop()
        received = await everything(reader)
    assert received.endswith(b"6\r\nfirst \r\n")
    assert app.ended == ["cancelled"]


async def test_a_reader_that_takes_nothing_cannot_hold_the_process():
    """After the cut, answers that nobody reads are dropped within a second or so."""
    app = Echo()
    async with started(app) as server:
        with socket.create_connection(("127.0.0.1", urlsplit(server.url).port)) as plug:
            plug.sendall(path("flood"))
            await app.entered.wait()
            server.stop()
            server.stop()
            async with asyncio.timeout(4):
                await server.ended.wait()


async def test_hooks_run_in_order_around_the_service():
    """Start is awaited before the first request, stop after the last."""
    seen: list[str] = []

    async def on_start() -> None:
        seen.append("start")

    async def on_stop() -> None:
        seen.append("stop")

    hooks = Hooks(on_start=on_start, on_stop=on_stop, announce=seen.append)
    async with started(Echo(), hooks) as server:
        await talk(server.url, [LAST])
    ready = f"headworks is ready: API {server.url}/v1, admin {server.admin_url}"
    assert seen == ["start", ready, "stop"]


async def test_a_start_that_fails_leaves_nothing_running():
    """When the start hook fails its error comes out, and both ports are free again."""

    async def on_start() -> None:
        raise OSError("no ledger")

    stopped: list[bool] = []

    async def on_stop() -> None:
        stopped.append(True)

    server = Server(
        Echo(),
        absent,
        Lifecycle(),
        ServerOptions(listen="127.0.0.1:0", admin="127.0.0.1:0"),
        Hooks(on_start=on_start, on_stop=on_stop),
    )
    with pytest.raises(OSError, match="no ledger"):
        await server.run()
    assert stopped == [True]
    for url in (server.url, server.admin_url):
        with pytest.raises(ConnectionRefusedError):
            await talk(url, [OK])


async def test_a_stop_during_the_start_is_obeyed():
    """A server that is told to stop before it has started never opens its port."""
    server: Server
    entered = asyncio.Event()

    async def on_start() -> None:
        entered.set()
        await asyncio.Event().wait()

    hooks = Hooks(on_start=on_start, announce=lambda _: None)
    options = ServerOptions(listen="127.0.0.1:0", admin="127.0.0.1:0")
    server = Server(Echo(), absent, Lifecycle(), options, hooks)
    life = asyncio.ensure_future(server.run())
    await entered.wait()
    server.stop(at_once=True)
    await life
    assert server.lifecycle.started is False


@pytest.mark.parametrize("setting", ["server.listen", "server.admin"])
async def test_a_busy_port_is_named(setting: str):
    """A port in use is told with its setting and address, before anything has started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = f"127.0.0.1:{taken.getsockname()[1]}"
        listen, admin = (busy, "127.0.0.1:0") if "listen" in setting else ("127.0.0.1:0", busy)
        options = ServerOptions(listen=listen, admin=admin)
        with pytest.raises(ConfigurationError) as caught:
            Server(Echo(), absent, Lifecycle(), options)
    assert setting in str(caught.value)
    assert busy in str(caught.value)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    "address", ["", "4000", "a:b", "127.0.0.1:99999", "no.such.host.invalid:1"]
)
async def test_an_address_that_makes_no_sense_is_named(address: str):
    """An address that cannot be used is told as it stands in the configuration."""
    with pytest.raises(ConfigurationError, match=r"server\.listen"):
        Server(Echo(), absent, Lifecycle(), ServerOptions(listen=address))


async def test_an_ipv6_address_is_served():
    """Brackets around an IPv6 address are understood."""
    options = ServerOptions(listen="[::1]:0", admin="127.0.0.1:0")
    async with running(Echo(), absent, options=options) as server:
        assert server.url.startswith("http://[::1]:")
        assert answers(await talk(server.url, [LAST]))[0].status == 200


PROGRAM = """
import asyncio, sys
from headworks.gateway.admin import AdminSources, admin_app
from headworks.gateway.lifecycle import Lifecycle
from headworks.gateway.server import Hooks, ServerOptions, run, serve
from tests.gateway.conftest import Echo
def reload():
    app.gate.set()
    print("reloaded", file=sys.stderr, flush=True)
async def stopped():
    print("stopped", file=sys.stderr, flush=True)
app, lifecycle = Echo(), Lifecycle()
admin = admin_app(AdminSources(lifecycle=lifecycle, version="1", environment="x"), "127.0.0.1:0")
options = ServerOptions(listen=sys.argv[1], admin="127.0.0.1:0")
sys.exit(run(serve(app, admin, lifecycle, options, Hooks(on_reload=reload, on_stop=stopped))))
"""


class Program:
    """A server in a process of its own."""

    def __init__(self, listen: str = "127.0.0.1:0") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, listen],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )

    def line(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline().strip()

    def rest(self) -> str:
        _, text = self.process.communicate(timeout=10)
        return text


@pytest.fixture
def program():
    programs: list[Program] = []

    def start(listen: str = "127.0.0.1:0") -> Program:
        programs.append(Program(listen))
        return programs[-1]

    yield start
    for each in programs:
        each.process.kill()
        each.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_process_in_order(program, number: signal.Signals):
    """The process says where it is, finishes what it carries, settles, and exits with 0."""
    running_program = program()
    url = running_program.line().split()[4].removesuffix("/v1,")
    async with connected(url) as (reader, writer):
        writer.write(path("stream"))
        await reader.readuntil(b"first \r\n")
        running_program.process.send_signal(number)
        assert "1 in flight" in running_program.line()
        running_program.process.send_signal(signal.SIGHUP)
        assert b"last" in await everything(reader)
    assert running_program.rest().split() == ["reloaded", "stopped"]
    assert running_program.process.returncode == 0


async def test_a_second_signal_ends_the_drain(program):
    """Who asks twice does not have to wait for a stream that never ends."""
    running_program = program()
    url = running_program.line().split()[4].removesuffix("/v1,")
    async with connected(url) as (reader, writer):
        writer.write(path("stream"))
        await reader.readuntil(b"first \r\n")
        running_program.process.send_signal(signal.SIGTERM)
        assert "1 in flight" in running_program.line()
        running_program.process.send_signal(signal.SIGTERM)
        assert b"last" not in await everything(reader)
    assert running_program.rest().split() == ["stopped"]
    assert running_program.process.returncode == 0


async def test_a_busy_port_ends_the_process_with_one_line(program):
    """The operator reads one line with the address and what to do; the exit code is 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        running_program = program(address)
        text = running_program.rest()
    assert text.count("\n") == 1
    assert address in text
    assert "server.listen" in text
    assert running_program.process.returncode == 1
