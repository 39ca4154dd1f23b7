"""The official Node client on every form of stream: it hears all of it, or raises its own error."""

import asyncio
from typing import Any

import pytest

from tests.clients.elsewhere import node_with_packages, report
from tests.clients.matrix.clients import HERE
from tests.faults.processes import KEY, configuration, gateway_of
from tests.streams.rows import NO_STREAMS, RESPONSES, ROWS, NoStream, Row, provider
from tests.upstream.scripted import serve

pytestmark = pytest.mark.timeout(900)  # the first run installs

PLAN = {
    "model": "single",
    "rows": {
        "chat": [*(one.id for one in ROWS), *(one.id for one in NO_STREAMS)],
        "responses": [one.id for one in RESPONSES],
    },
}


@pytest.fixture(scope="module")
def heard(tmp_path_factory) -> dict[str, Any]:
    """Let the client read every row through a gateway; return what it heard."""
    command = [node_with_packages(), str(HERE / "rows_on_node.mjs")]
    folder = tmp_path_factory.mktemp("gateway")

    async def listen() -> dict[str, Any]:
        async with serve(provider) as server, gateway_of(configuration(folder, server.port)) as gateway:  # fmt: skip
            told = {"OPENAI_BASE_URL": f"http://127.0.0.1:{gateway.port}/v1", "OPENAI_API_KEY": KEY}
            return await asyncio.to_thread(lambda: report(command, PLAN, **told))

    rows: dict[str, Any] = asyncio.run(listen())["rows"]
    return rows


@pytest.mark.parametrize("row", ROWS + RESPONSES, ids=lambda row: row.id)
def test_node_hears_every_row(heard, row: Row):
    """All that was said, and the client's own error with its code where not all of it came."""
    seen = heard[row.id]

    assert seen["said"] == row.said.encode("utf-16", "surrogatepass").decode("utf-16")
    if row.code == "":
        assert seen["error"] is None
    else:
        assert seen["error"] == {"class": "APIError", "status": None, "code": row.code}


@pytest.mark.parametrize("row", NO_STREAMS, ids=lambda row: row.id)
def test_node_takes_no_error_for_an_empty_stream(heard, row: NoStream):
    """A whole answer is streamed as it would have been; an error is one, with its status."""
    seen = heard[row.id]

    assert seen["said"] == row.said
    if row.code == "":
        assert seen["error"] is None
    else:
        assert (seen["error"]["status"], seen["error"]["code"]) == (row.status, row.code)
