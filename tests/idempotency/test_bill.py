"""The provider's own invoice says whether a repeated call was made, and paid, once."""

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import httpx2
import pytest

from headworks.build import Assembly
from headworks.gateway.asgi import Gateway
from headworks.simulator import SimulatorConfig
from headworks.simulator.server import running
from headworks.stores.ledger_schema import ledger_path
from headworks.stores.verify import verify
from tests.ground import KEY, changed, config

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def provider():
    """A practice OpenAI with an invoice."""
    with running(SimulatorConfig(seed=3)) as simulator:
        yield simulator


@pytest.fixture
def bill(provider):
    """The provider, with its books empty."""
    provider.reset()
    return provider


def assembly(folder, provider):
    return Assembly(changed(config(folder), "up", base_url=provider.base_url, allow_http=True))


def client(it):
    gateway = Gateway(lambda: it.engine, lambda: 1_000_000)
    headers = {"authorization": f"Bearer {KEY}", "idempotency-key": "order-17"}
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=gateway), base_url="http://headworks", headers=headers
    )


BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "assistant", "messages": [{"role": "user", "content": "Hi"}]},
    "/v1/responses": {"model": "assistant", "input": "Hi"},
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", BODIES)
async def test_retries_with_a_key_are_one_call_and_one_charge(tmp_path, bill, path, stream):
    """In flight, afterwards and after a restart: one line on the invoice, one row, equal money."""
    body = BODIES[path] | {"stream": stream}
    answers = []
    for _ in range(2):  # the second time after a restart
        it = assembly(tmp_path, bill)
        try:
            async with client(it) as http:
                answers += await asyncio.gather(*(http.post(path, json=body) for _ in range(5)))
                answers.append(await http.post(path, json=body))
                other = await http.post(path, json=body | {"temperature": 0.5})
        finally:
            await it.aclose()
        assert other.status_code == 422

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert bill.wait_settled()
    ledger = ledger_path(tmp_path / "store.db")
    with closing(sqlite3.connect(ledger)) as db:
        booked = db.execute("SELECT state, certainty, cost_nano FROM attempts").fetchall()
    assert bill.invoice()["attempts"] == 1
    assert booked == [("settled", "exact", bill.invoice()["nano_usd"])]
    assert verify(ledger).is_sound
