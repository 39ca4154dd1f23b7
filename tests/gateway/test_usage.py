"""Operators and dashboards read what was spent from the admin plane."""

import asyncio
import json
from contextlib import closing
from urllib.parse import urlencode

import pytest
from typing_extensions import override

from headworks.gateway import usage as module
from headworks.gateway.admin import AdminSources, admin_app
from headworks.gateway.lifecycle import Lifecycle
from headworks.gateway.usage import usage_routes
from headworks.stores.usage_bounds import UsageTooWide
from headworks.testing import FakeClock
from headworks.types import Usage
from tests.gateway.conftest import Answer
from tests.stores.books import call, open_ledger, route

pytestmark = pytest.mark.anyio

DAY = 86_400.0


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def ledger(tmp_path, clock):
    """Three calls a day for ten days."""
    with closing(open_ledger(tmp_path / "l.db", clock)) as ledger:
        for number in range(30):
            made = call(f"c{number}", user=f"u{number % 3}", feature="=x")
            ledger.hold_now(made, route(), Usage(9)).settle(Usage(10 + number), "exact", "done")
            clock.advance(DAY / 3)
        yield ledger.path


@pytest.fixture
def ask(ledger, clock):
    """Call the admin plane as a server would."""
    api = usage_routes(ledger, clock)

    async def asking(path="/api/usage", method="GET", **query) -> Answer:
        sources = AdminSources(lifecycle=Lifecycle(), version="1", environment="e", api=api)
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "root_path": "",
            "query_string": urlencode(query, doseq=True).encode(),
            "headers": [(b"host", b"localhost")],
        }
        sent = []

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            sent.append(message)

        await admin_app(sources, "127.0.0.1:4001")(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], headers, b"".join(part["body"] for part in sent[1:]))

    return asking


async def test_what_was_spent(ask):
    """By default the last day by model; with options whatever `headworks usage` can tell."""
    found = json.loads((await ask()).body)
    assert found["by"] == ["model"]
    assert found["total"]["calls"] == 3

    answer = await ask(by="user,day", since="3d", where=["user=u1", "user=u2"], tz="Asia/Tokyo")
    found = json.loads(answer.body)
    assert answer.status == 200
    assert found["total"]["calls"] == 6
    assert {line["group"]["user"] for line in found["lines"]} == {"u1", "u2"}

    found = json.loads((await ask(by="user", since="all", top="1", per="user")).body)
    assert (len(found["lines"]), found["others"]["calls"], found["total"]["users"]) == (1, 20, 3)


async def test_csv_for_spreadsheets(ask):
    """format=csv is the command's CSV, as safe for spreadsheets."""
    answer = await ask(by="feature", since="all", format="csv", per="call")

    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    head, line = answer.body.decode().splitlines()
    assert head.split(",")[0] == "feature"
    assert head.endswith("usd_per_call")
    assert line.startswith("'=x,30,30,")


async def test_what_drives_it(ask):
    """The last days against the days before, as parts that sum to the change."""
    found = json.loads((await ask("/api/usage/drivers", compare="3d")).body)
    assert found["change_nano"] == found["drivers"]["tokens_nano"] == 9 * 9 * 2000

    same = await ask("/api/usage/drivers", since="3d")
    assert json.loads(same.body) == found


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        ("/api/usage", {"by": "moon"}, "by: 'moon' is none of model"),
        ("/api/usage", {"since": "soon"}, "since: 'soon' is not a time"),
        ("/api/usage", {"top": "-1"}, "top: '-1' is not a number"),
        ("/api/usage", {"top": "9" * 30}, "is not a number"),
        ("/api/usage", {"top": "10001"}, "top: 10001 is more than 10000"),
        ("/api/usage", {"format": "xml"}, "format: 'xml' is none of json, csv"),
        ("/api/usage", {"group": "x"}, "'group' is none of by, format"),
        ("/api/usage/drivers", {"by": "model"}, "'by' is none of compare"),
        ("/api/usage/drivers", {"since": "all"}, "both periods need bounds"),
    ],
)
async def test_mistakes_are_explained(ask, path, query, message):
    """What cannot be answered is 400 in the API's shape, with the parameter and what is right."""
    answer = await ask(path, **query)

    assert (answer.status, answer.code) == (400, "invalid_request")
    assert message in json.loads(answer.body)["error"]["message"]


class Impatient(FakeClock):
    """A clock by which a report's time is up before it is half read."""

    @override
    def now(self) -> float:
        self.advance(30.0)
        return super().now()


@pytest.mark.parametrize("path", ["/api/usage", "/api/usage/drivers"])
@pytest.mark.parametrize("clock", [Impatient()])
async def test_a_report_does_not_take_for_ever(ask, path):
    """One that takes too long is given up, and says what to ask for instead."""
    answer = await ask(path, since="20d")

    assert (answer.status, answer.code) == (400, "usage_too_wide")
    assert "narrow since and until" in json.loads(answer.body)["error"]["message"]


async def test_the_gateway_goes_on_meanwhile(ask, monkeypatch):
    """Reports are read beside the loop, two at a time; one that nobody waits for is given up."""
    loop, reading, ended = asyncio.get_running_loop(), asyncio.Semaphore(0), asyncio.Semaphore(0)
    asked = []

    def read(ledger, query, bounds):
        asked.append(query)
        loop.call_soon_threadsafe(reading.release)
        while not bounds.is_over():
            pass
        loop.call_soon_threadsafe(ended.release)
        raise UsageTooWide(["enough"])

    monkeypatch.setattr(module, "usage", read)
    waiting = [asyncio.ensure_future(ask()) for _ in range(3)]
    for _ in range(2):
        await reading.acquire()
    for one in reversed(waiting):
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    for _ in range(2):
        await ended.acquire()
    assert len(asked) == 2


async def test_a_report_says_what_it_read(ask):
    """How many rows had to be read, since no sums were kept of them."""
    assert json.loads((await ask(since="all")).body)["rows_read"] == 30
    assert json.loads((await ask("/api/usage/drivers", compare="3d")).body)["rows_read"] == 30


async def test_reports_change_nothing(ask):
    """There is nothing to write to."""
    assert (await ask(method="POST")).status == 405
