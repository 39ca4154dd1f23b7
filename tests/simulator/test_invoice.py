"""The invoice: what the provider would charge, counted apart from headworks' own ledger."""

from datetime import UTC, datetime
from decimal import Decimal

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.catalog import load
from headworks.core.pricing import cost
from headworks.simulator import Latency, SimulatedPrice, Simulator, SimulatorConfig
from headworks.simulator.invoice import charge
from headworks.simulator.models import Models
from headworks.testing import FakeClock
from headworks.types import Usage
from tests.simulator.conftest import CONFIG, PRICES, Visit

pytestmark = pytest.mark.anyio
HELLO = [{"role": "user", "content": "Hello"}]
CHAT = "/v1/chat/completions"
PACED = SimulatorConfig(
    prices=PRICES, latency=Latency(first_token=1.0, tokens_per_second=4), speed=2, seed=7
)


def test_a_bill_is_tokens_times_prices(client, simulator):
    """The invoice adds up, by model and by credential, and answers over HTTP as well."""
    chat = client.chat.completions.create(model="gpt-4o", messages=HELLO).usage
    flex = client.chat.completions.create(model="gpt-4o", messages=HELLO, service_tier="flex").usage
    client.embeddings.create(model="text-embedding-3-small", input="Hello there")
    client.chat.completions.create(model="house-model", messages=HELLO)

    root = simulator.base_url.removesuffix("/v1")
    invoice = httpx.get(f"{root}/_simulator/invoice?attempts=1").json()

    spent = 8 * 2500 + chat.completion_tokens * 10_000
    spent_flex = 8 * 1250 + flex.completion_tokens * 5_000
    assert invoice["models"]["gpt-4o"]["nano_usd"] == spent + spent_flex
    assert invoice["models"]["text-embedding-3-small"]["nano_usd"] == 2 * 20
    assert invoice["nano_usd"] == spent + spent_flex + 40
    assert (invoice["attempts"], invoice["unpriced"], invoice["open"]) == (4, 1, 0)
    assert invoice["credentials"]["simulator"]["nano_usd"] == invoice["nano_usd"]
    assert invoice["tiers"]["flex"]["nano_usd"] == spent_flex
    assert sum(line["nano_usd"] for line in invoice["tiers"].values()) == invoice["nano_usd"]
    assert [attempt["n"] for attempt in invoice["listed"]] == [1, 2, 3, 4]
    assert all(attempt["ended"] >= attempt["time"] > 0 for attempt in invoice["listed"])


def test_an_attempt_is_found_by_the_name_that_its_client_gave_it(client, simulator):
    """Whoever compares the invoice with books of their own knows which line is whose."""
    named = {"x-client-request-id": "order-17"}
    client.chat.completions.create(model="gpt-4o", messages=HELLO, extra_headers=named)
    client.chat.completions.create(model="gpt-4o", messages=HELLO)

    assert [one["client_request_id"] for one in simulator.attempts()] == ["order-17", ""]


def test_a_reset_forgets_everything(client, simulator):
    """After a reset the books are empty and numbers start again."""
    client.chat.completions.create(model="gpt-4o", messages=HELLO)
    root = simulator.base_url.removesuffix("/v1")
    httpx.post(f"{root}/_simulator/reset")
    client.chat.completions.create(model="gpt-4o", messages=HELLO)

    assert [attempt["n"] for attempt in simulator.attempts()] == [1]
    assert simulator.invoice()["attempts"] == 1


counts = st.integers(0, 2_000_000)


@given(whole=counts, cached=counts, output=counts, model=st.sampled_from(["gpt-6-sol", "gpt-4o"]))
def test_two_ways_of_reckoning_agree(whole, cached, output, model):
    """The simulator's own arithmetic and headworks' ledger come to the same nano-dollar."""
    usage = Usage(max(whole, cached), output, cached)
    clock = FakeClock()
    models = Models(SimulatorConfig(), clock)
    known = load().price(model, datetime.fromtimestamp(clock.time(), UTC).date())
    mine = models.price(model, "default", usage.input)

    assert known is not None
    assert mine is not None
    assert charge(mine, usage) == cost(known, usage)


def test_a_fraction_of_a_nano_dollar_counts_as_a_whole_one():
    """Providers do not round down."""
    price = SimulatedPrice(Decimal("0.5"), Decimal("1.5"), 0)

    assert [charge(price, Usage(n)) for n in (0, 1, 2, 3)] == [0, 1, 1, 2]
    assert charge(price, Usage(3, 1, cached=2)) == 2


def test_the_catalogue_is_served_when_nothing_else_is_said():
    """Without a price list every model of the catalogue is there, with its window."""
    models = Models(SimulatorConfig(), FakeClock())

    assert models.is_served("gpt-4o-mini")
    assert not models.is_served("gpt-0")
    assert models.window("gpt-4o-mini").context == 128_000
    assert {"gpt-6-sol", "gpt-4o-mini", "text-embedding-3-small"} <= set(models.names())


@pytest.fixture
def simulator_in_time(clock):
    """A simulator whose model takes half a second to the first token, then eight a second."""
    return Simulator(PACED, clock)


async def settle():
    """Let everything run that can run now."""
    for _ in range(30):
        await anyio.lowlevel.checkpoint()


async def advance(clock, seconds):
    """Let time pass a little at a time."""
    for _ in range(round(seconds / 0.125)):
        clock.advance(0.125)
        await settle()


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_takes_its_time(simulator_in_time, clock, stream):
    """The first token comes after the first wait, each further one after its own."""
    visit = Visit(CHAT, {"model": "gpt-4o", "messages": HELLO, "max_tokens": 4, "stream": stream})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(visit.run, simulator_in_time)
        await settle()
        assert (visit.status, visit.body) == (0, b"")
        await advance(clock, 0.75)
        assert visit.body.count(b"\n\n") == (3 if stream else 0)
        assert not visit.ended
        await advance(clock, 0.25)
        assert visit.ended


@pytest.mark.parametrize(
    ("stream", "seconds", "output", "status"),
    [
        (True, 0.25, 0, 0),
        (True, 0.5, 0, 200),
        (True, 0.875, 3, 200),
        (False, 0.25, 0, 0),
        (False, 0.875, 3, 0),
    ],
)
async def test_whoever_leaves_early_pays_for_what_was_made(
    simulator_in_time, clock, stream, seconds, output, status
):
    """A client that goes stops the model at once, and is billed up to there; before the first token, not."""
    visit = Visit(CHAT, {"model": "gpt-4o", "messages": HELLO, "stream": stream})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(visit.run, simulator_in_time)
        await settle()
        await advance(clock, seconds)
        visit.leave()
        await settle()
        [attempt] = simulator_in_time.books.attempts()

    usage = attempt["usage"]
    billed = output * 10_000 + (8 * 2_500 if usage["input"] else 0)
    assert (usage["output"], attempt["outcome"], attempt["status"]) == (output, "gone", status)
    assert attempt["cost"] == billed
    assert bool(billed) is (seconds >= 0.5)


async def test_a_slow_first_token_shows_its_head_at_once(clock):
    """The head comes in time, the first event late: two timeouts to tell apart."""
    slow = Visit(
        CHAT,
        {"model": "gpt-4o", "messages": HELLO, "stream": True},
        {"x-simulator-fault": "slow_first_token=2"},
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slow.run, Simulator(CONFIG, clock))
        await settle()
        clock.advance(0)
        await settle()
        assert (slow.status, slow.body) == (200, b"")
        await advance(clock, 1.75)
        assert slow.body == b""
        await advance(clock, 0.5)
        assert slow.body
        slow.leave()
