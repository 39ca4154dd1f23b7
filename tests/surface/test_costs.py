"""What each endpoint costs, in whatever it is counted: booked exactly, or flagged, never forgotten."""

import asyncio
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typing_extensions import override

from headworks.core.pricing import Price, Rates, flat_price
from headworks.errors import ConnectionLost, LedgerUnavailable
from headworks.stores.ledger import SqliteLedger
from headworks.stores.verify import verify
from headworks.testing import FakeResponse, MemoryLedger
from headworks.testing.fakes import MemoryRow
from headworks.types import Call, Route, Usage
from tests.stores.books import Book, rows
from tests.upstream.scripted import until
from tests.world import World

pytestmark = pytest.mark.anyio

NANO = 10**9
TOKENS = flat_price(2 * NANO, 8 * NANO)
MEASURED = flat_price(
    0, 0, measures={"second": 10**11, "character": 15 * NANO, "image": 4 * 10**13}
)
FORM = {"content-type": "multipart/form-data; boundary=b"}
SOUND = ((b"content-type", b"audio/mpeg"),)
JSON = ((b"content-type", b"application/json"),)
EVENTS_KIND = ((b"content-type", b"text/event-stream"),)


def form(size: int = 10) -> bytes:
    head = b'--b\r\ncontent-disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
    file = head % (b"file", b'; filename="a"', b"x" * size)
    return head % (b"model", b"", b"m") + file + b"--b--\r\n"


@dataclass(frozen=True)
class Case:
    """One request, what is answered, and what is booked."""

    id: str
    path: str
    cost: int | None
    certainty: str = "exact"
    price: Price | None = MEASURED
    body: Any = None
    answer: bytes = b"{}"
    kind: Any = JSON


SPEECH = {"model": "m", "input": "x" * 1000, "voice": "alloy"}
IMAGE = {"model": "m", "prompt": "x", "n": 2}
USED = b'"usage":{"input_tokens":50,"output_tokens":1000,"total_tokens":1050}}'
HEARD = "/v1/audio/transcriptions"
CASES = (
    Case("speech by characters", "/v1/audio/speech", 15_000_000, body=SPEECH, kind=SOUND, answer=b"\xff" * 9),
    Case("speech by tokens, guessed", "/v1/audio/speech", 20_000, "estimated", TOKENS, SPEECH, b"\xff" * 9, SOUND),
    Case("speech without a price", "/v1/audio/speech", None, "estimated", None, SPEECH, b"\xff" * 9, SOUND),
    Case("sound by reported seconds", HEARD, 6_000_000, body=form(), answer=b'{"text":"a","usage":{"type":"duration","seconds":60}}'),
    Case("sound by its length", HEARD, 6_000_000, body=form(), answer=b'{"text":"a","duration":59.5}'),
    Case("sound by its bytes", HEARD, 300_000, "estimated", body=form(4000), answer=b'{"text":"a"}'),
    Case("text of sound by its bytes", HEARD, 300_000, "estimated", body=form(4000), answer=b"a", kind=((b"content-type", b"text/plain"),)),
    Case("sound by reported tokens", HEARD, 8_100_000, price=TOKENS, body=form(), answer=b'{"text":"a",' + USED),
    Case("sound in a stream", HEARD, 8_100_000, price=TOKENS, body=form(), answer=b'data: {"type":"transcript.text.done","text":"a",' + USED + b"\n\n", kind=EVENTS_KIND),
    Case("seconds that have no price", HEARD, 444_000, "estimated", TOKENS, form(), b'{"text":"a","usage":{"type":"duration","seconds":60}}'),
    Case("images by tokens", "/v1/images/generations", 8_100_000, price=TOKENS, body=IMAGE, answer=b'{"data":[{},{}],' + USED),
    Case("images by the piece", "/v1/images/generations", 80_000_000, body=IMAGE, answer=b'{"data":[{},{}]}'),
    Case("edited images by the piece", "/v1/images/edits", 40_000_000, body=form(), answer=b'{"data":[{}]}'),
    Case("a video", "/v1/videos", 800_000, body={"model": "m", "seconds": "8"}, answer=b'{"id":"v","seconds":"8"}'),
    Case("moderations", "/v1/moderations", 0, price=TOKENS, body={"model": "m", "input": "x"}, answer=b'{"results":[]}'),
    Case("a file", "/v1/files", 0, price=TOKENS, body=form(), answer=b'{"id":"f"}'),
    Case("a session of an app's own", "/v1/realtime/client_secrets", 0, price=TOKENS, body={"model": "m"}, answer=b'{"value":"ek"}'),
    Case("a count of tokens", "/v1/responses/input_tokens", 0, price=TOKENS, body={"model": "m", "input": "x"}, answer=b'{"input_tokens":3}'),
    Case("an image of the provider's own model", "/v1/images/generations", None, "estimated", body={"prompt": "x"}, answer=b'{"data":[{}]}'),
    Case("such an image that reports its tokens", "/v1/images/generations", None, body={"prompt": "x"}, answer=b'{"data":[{}],' + USED),
    Case("a prompt that the provider keeps", "/v1/responses", None, body={"prompt": {"id": "pmpt_1"}}, answer=b'{"id":"r","object":"response","output":[],' + USED),
    Case("a video made over", "/v1/videos/v/remix", None, "estimated", body={"prompt": "x"}, answer=b'{"id":"v"}'),
    Case("a container", "/v1/containers", None, "estimated", TOKENS, {"name": "x"}, b'{"id":"c"}'),
    Case("a run of a thread", "/v1/threads/t/runs", None, "estimated", TOKENS, {"assistant_id": "a"}, b'{"id":"r","usage":null}'),
    Case("what nobody knows yet", "/v1/brand/new", None, "estimated", TOKENS, {"a": 1}, b'{"id":"r"}'),
    Case("a training", "/v1/fine_tuning/jobs", None, "unknown", TOKENS, {"model": "m", "training_file": "f"}, b'{"id":"j"}'),
    Case("an evaluation", "/v1/evals/e/runs", None, "unknown", TOKENS, {"name": "x"}, b'{"id":"r"}'),
    Case("an assistant", "/v1/assistants", 0, price=TOKENS, body={"model": "m"}, answer=b'{"id":"a"}'),
    Case("a vector store", "/v1/vector_stores", 0, price=TOKENS, body={"name": "x"}, answer=b'{"id":"v"}'),
    Case("a file in a container", "/v1/containers/c/files", 0, price=TOKENS, body=form(), answer=b'{"id":"f"}'),
    Case("a batch that begins", "/v1/batches", 0, price=TOKENS, body={"input_file_id": "f"}, answer=b'{"id":"b"}'),
    Case("a chat's label", "/v1/chat/completions/c", 0, price=TOKENS, body={"metadata": {}}, answer=b'{"id":"c"}'),
    Case("tokens of sound that has a price by the second", HEARD, 6_000_000, body=form(), answer=b'{"text":"a","duration":60,' + USED),
    Case("tokens where nothing else can be counted", "/v1/chat/completions", None, body={"model": "m", "messages": []}, answer=b'{"id":"c","object":"chat.completion","choices":[],"usage":{"prompt_tokens":50,"completion_tokens":1,"total_tokens":51}}'),
    Case("embeddings", "/v1/embeddings", 100_000, price=TOKENS, body={"model": "m", "input": "x"}, answer=b'{"data":[],"usage":{"prompt_tokens":50,"total_tokens":50}}'),
)  # fmt: skip


async def post(world: World, face: str, case: Case) -> None:
    async with world.client(face) as client:
        if isinstance(case.body, bytes):
            await client.post(case.path, content=case.body, headers=FORM)
        else:
            await client.post(case.path, json=case.body)


@contextmanager
def booking(path: Path, price: Price | None) -> Generator[tuple[World, SqliteLedger]]:
    """Run a world that books in a real ledger, with this price of its model."""
    world = World()
    prices = Book({"big": price} if price else {})
    with closing(SqliteLedger(path, prices, world.clock, checkpointing=False)) as ledger:
        world.ledger = ledger  # type: ignore[assignment]  # the real one in its place
        world.engine = world.make_engine()
        yield world, ledger


@pytest.mark.parametrize("face", ["gateway", "inprocess"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_what_is_booked(tmp_path: Path, case: Case, face: str):
    """The sum is what the price says of what was counted; a guess is called one."""
    path = tmp_path / "ledger.db"
    with booking(path, case.price) as (world, _):
        world.upstream.script.append(FakeResponse(case.answer, headers=case.kind))
        await post(world, face, case)
    (row,) = rows(path, "cost_nano, certainty")
    assert row == {"cost_nano": case.cost, "certainty": case.certainty}
    assert not verify(path).findings


@pytest.mark.parametrize("face", ["gateway", "inprocess"])
async def test_what_is_lost_is_booked_as_what_it_may_have_been(tmp_path: Path, face: str):
    """An attempt of which nobody knows what became of it is not free."""
    path = tmp_path / "ledger.db"
    with booking(path, MEASURED) as (world, _):
        world.upstream.script.append(ConnectionLost())
        await post(world, face, CASES[0])
    (row,) = rows(path, "cost_nano, estimate_nano, certainty")
    assert row == {"cost_nano": 15_000_000, "estimate_nano": 15_000_000, "certainty": "unknown"}
    assert not verify(path).findings


# Batches.

HALF = Price({**TOKENS.tiers, "batch": Rates(NANO, 4 * NANO, NANO, NANO, NANO)})
COUNTS = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}


def batch(status: str = "completed", id_: str = "batch_1", **more: Any) -> dict[str, Any]:
    told = {"id": id_, "object": "batch", "status": status, "model": "big", "usage": COUNTS}
    return told | more


@pytest.mark.parametrize("face", ["gateway", "inprocess"])
async def test_a_batch_is_booked_once_when_it_is_over(tmp_path: Path, face: str):
    """However often it is looked at, and after a restart, a batch costs once, at half the price."""
    path = tmp_path / "ledger.db"
    shown = [
        batch("in_progress"),
        batch(),
        batch(),
        {"object": "list", "data": [batch(), batch("expired", "batch_2")]},
    ]
    for _ in range(2):
        with booking(path, HALF) as (world, ledger):
            for _ in rows(path):
                world.random.call_id()  # those of the first life are taken
            async with world.client(face) as client:
                for number, told in enumerate(shown):
                    world.upstream.script.append(
                        FakeResponse(msgspec.json.encode(told), headers=JSON)
                    )
                    answer = await client.get("/v1/batches" + ("" if number > 2 else "/batch_1"))
                    assert answer.json() == told
            assert ledger.statistics().failures == 0
    booked = [row for row in rows(path) if row["cost_nano"]]
    assert [(row["call"], row["cost_nano"], row["certainty"]) for row in booked] == [
        ("up/batch_1", 1000 * 1000 + 100 * 4000, "exact"),
        ("up/batch_2", 1000 * 1000 + 100 * 4000, "exact"),
    ]
    assert {
        (row["endpoint"], row["tier"], row["model_sent"], row["key_name"]) for row in booked
    } == {("batches", "batch", "big", "open")}
    assert not verify(path).findings


@pytest.mark.parametrize("face", ["gateway", "inprocess"])
async def test_a_batch_is_booked_once_by_many_who_look_at_once(tmp_path: Path, face: str):
    """Twenty who ask in the same moment get their answers, and the batch one row."""
    path = tmp_path / "ledger.db"
    with booking(path, HALF) as (world, ledger):
        told = FakeResponse(msgspec.json.encode(batch()), headers=JSON)
        world.upstream.script += [replace(told) for _ in range(20)]
        async with world.client(face) as client:
            answers = await asyncio.gather(*(client.get("/v1/batches/batch_1") for _ in range(20)))
        assert [answer.status_code for answer in answers] == [200] * 20
        assert ledger.statistics().failures == 0
    assert len([row for row in rows(path) if row["call"] == "up/batch_1"]) == 1
    assert not verify(path).findings


@pytest.mark.parametrize(
    ("told", "count", "certainty", "odd"),
    [
        (batch(usage=None), 1, "unknown", "unpriced batch_without_usage"),
        (batch(usage=None, request_counts={"completed": 2}), 1, "unknown", "unpriced"),
        (batch("cancelled", usage=None, request_counts={"completed": 0}), 1, "exact", ""),
        (batch(model=None), 1, "exact", "unpriced"),
        (batch(usage=COUNTS | {"input_tokens": -1}), 1, "estimated", "input_implausible"),
        (batch("failed"), 0, "", ""),
        (batch(id=7), 0, "", ""),
        (batch(object="file"), 0, "", ""),
    ],
)
async def test_a_batch_that_tells_little(
    tmp_path: Path, told: dict[str, Any], count: int, certainty: str, odd: str
):
    """What is not known of a batch that is over is flagged; what is no such batch is not booked."""
    path = tmp_path / "ledger.db"
    with booking(path, HALF) as (world, _):
        world.upstream.script.append(FakeResponse(msgspec.json.encode(told), headers=JSON))
        async with world.client("gateway") as client:
            assert (await client.get("/v1/batches/batch_1")).json() == told
    found = [row for row in rows(path) if row["call"].startswith("up/")]
    assert len(found) == count
    for row in found:
        assert row["certainty"] == certainty
        assert odd in (row["anomalies"] or "")
        assert (row["cost_nano"] is None) is ("unpriced" in odd)
        assert row["model_asked"] == (told["model"] or "")


class Failing(MemoryLedger):
    """A ledger that cannot take the row of a batch, once."""

    is_failing = True

    @override
    async def hold(self, call: Call, route: Route, estimate: Usage) -> MemoryRow:
        if call.id.startswith("up/") and self.is_failing:
            self.is_failing = False
            raise LedgerUnavailable
        return await super().hold(call, route, estimate)


async def test_a_ledger_that_fails_does_not_keep_a_batch_from_its_caller():
    """The answer is passed on; the batch is booked when it is looked at again."""
    world = World(ledger=Failing())
    async with world.client("gateway") as client:
        for booked in (0, 1, 1):
            world.upstream.script.append(FakeResponse(msgspec.json.encode(batch()), headers=JSON))
            assert (await client.get("/v1/batches/batch_1")).status_code == 200
            assert [row.call_id for row in world.ledger.rows].count("up/batch_1") == booked


class Waiting(MemoryLedger):
    """A ledger whose row of a batch takes as long as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked, self.may_go_on = asyncio.Event(), asyncio.Event()

    @override
    async def hold(self, call: Call, route: Route, estimate: Usage) -> MemoryRow:
        row = await super().hold(call, route, estimate)
        if call.id.startswith("up/"):
            self.is_asked.set()
            try:
                await self.may_go_on.wait()
            except asyncio.CancelledError:
                row.release("abandoned")
                raise
        return row


@pytest.mark.parametrize("face", ["gateway", "inprocess"])
async def test_who_leaves_while_a_batch_is_booked_takes_nothing_along(face: str):
    """A batch is not forgotten because its caller went in the moment in which it was booked."""
    ledger = Waiting()
    world = World(ledger=ledger)
    world.upstream.script.append(FakeResponse(msgspec.json.encode(batch()), headers=JSON))
    async with world.client(face) as client:
        asking = asyncio.ensure_future(client.get("/v1/batches/batch_1"))
        await ledger.is_asked.wait()
        asking.cancel()
        await asyncio.wait([asking], timeout=0.05)
        ledger.may_go_on.set()
        await until(lambda: len(world.journal.calls) == 1)
    (row,) = (row for row in ledger.rows if row.call_id == "up/batch_1")
    assert (row.outcome, row.cost, row.closings) == ("batch", 1100, 1)
