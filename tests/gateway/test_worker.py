"""One task answers the requests of a connection, and none is kept waiting or left behind by that."""

import asyncio
from dataclasses import dataclass, field

import pytest

from headworks.gateway.server import Server
from tests.gateway.conftest import OK, connected, read_answer, respond, serving
from tests.upstream.scripted import ticks, until

pytestmark = pytest.mark.anyio


@dataclass
class Lingering:
    """An app that notes the tasks it runs in, and goes on behind some answers until it is let go."""

    tasks: list["asyncio.Task[object] | None"] = field(default_factory=list)
    free: asyncio.Event = field(default_factory=asyncio.Event)
    ended: list[str] = field(default_factory=list)

    async def __call__(self, scope, _receive, send) -> None:
        self.tasks.append(asyncio.current_task())
        await respond(send, 200, scope["path"].encode())
        if scope["path"] == "/lingers":
            await self.free.wait()
        self.ended.append(scope["path"])


LINGERS = OK.replace(b"/ok", b"/lingers")


def tasks_of(server: Server) -> set["asyncio.Task[None]"]:
    """Return the tasks that answer on the data plane."""
    return server._data._state.tasks


async def idle(app: Lingering, ended: int) -> None:
    """Wait until so many requests are behind the app, and its tasks have gone on."""
    await until(lambda: len(app.ended) >= ended)
    await ticks(3)


async def test_the_requests_of_a_connection_are_answered_by_one_task():
    """My second request costs no second task; another connection has one of its own."""
    app = Lingering()
    async with (
        serving(app) as server,
        connected(server.url) as (reader, writer),
        connected(server.url) as (other_reader, other),
    ):
        for _ in range(3):
            writer.write(OK)
            assert (await read_answer(reader)).body == b"/ok"
            await idle(app, len(app.tasks))
        other.write(OK)
        await read_answer(other_reader)
        assert len(set(app.tasks[:3])) == 1
        assert app.tasks[3] not in app.tasks[:3]
        assert len(tasks_of(server)) == 2


async def test_an_app_that_goes_on_behind_its_answer_keeps_no_request_waiting():
    """My next request is answered at once, whatever is still done for the last one."""
    app = Lingering()
    async with serving(app) as server, connected(server.url) as (reader, writer):
        for request in (LINGERS, OK, OK, LINGERS, OK):
            writer.write(request)
            await read_answer(reader)
        assert app.ended == ["/ok", "/ok", "/ok"]
        app.free.set()
        await idle(app, 5)
        assert len(tasks_of(server)) == 1
        writer.write(OK)
        assert (await read_answer(reader)).body == b"/ok"


@pytest.mark.parametrize("request_", [OK, LINGERS], ids=["idle", "busy"])
async def test_a_connection_that_has_gone_leaves_no_task(request_):
    """Whether a task waited or was at work when its caller left, it ends."""
    app = Lingering()
    async with serving(app) as server:
        async with connected(server.url) as (reader, writer):
            writer.write(request_)
            await read_answer(reader)
            assert len(tasks_of(server)) == 1
        await until(lambda: not server._data._state.connections)
        app.free.set()
        await idle(app, 1)
        assert not tasks_of(server)


async def test_a_task_that_was_cancelled_while_it_waited_is_replaced():
    """What ends a connection's task between two requests does not end the connection."""
    app = Lingering()
    async with serving(app) as server, connected(server.url) as (reader, writer):
        for _ in range(2):
            writer.write(OK)
            assert (await read_answer(reader)).body == b"/ok"
            await idle(app, len(app.tasks))
            for task in tasks_of(server):
                task.cancel()
        assert app.tasks[0] is not app.tasks[1]
