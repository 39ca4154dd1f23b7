"""Whatever can be read in two ways is refused, and whatever is served was read as a second reader does."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from random import Random

import pytest

from headworks.gateway.asgi import Gateway
from tests.front.framing import TRAP, cases, manners
from tests.front.mutation import SOUND, mutated
from tests.front.stage import LAST, Recorder, expected_answers, judge, send
from tests.front.strict import read
from tests.gateway.conftest import serving
from tests.world import World

pytestmark = pytest.mark.anyio

SEED = 20261123
CALLERS = 16
Todo = Iterable[tuple[bytes, list[bytes]]]


async def all_judged(app: Recorder, todo: Todo) -> tuple[list[str], Counter[int]]:
    """Send each connection's pieces; return what is wrong, and the statuses of all answers."""
    wrong: list[str] = []
    statuses: Counter[int] = Counter()
    waiting = iter(todo)

    async def go_on(url: str) -> None:
        for sent, pieces in waiting:
            reading = read(sent)
            exchange = await send(url, pieces, expected_answers(reading))
            statuses.update(one.status for one in exchange.answers)
            fault = judge(reading, exchange, app.seen.pop(exchange.port, []))
            if fault:
                wrong.append(f"{fault}: {sent!r} {reading.end} {reading.why}")

    async with serving(app) as server:
        await asyncio.gather(*(go_on(server.url) for _ in range(CALLERS)))
    return wrong, statuses


def framed(manner: str, share: int) -> Todo:
    """Yield every odd message once, or one in `share` of them, cut in a manner."""
    random = Random(SEED)
    for number, sent in enumerate(dict.fromkeys(case.sent for case in cases())):
        if number % share == 0:
            yield sent + LAST, manners(sent + LAST, random)[manner]


@pytest.mark.parametrize(
    ("manner", "share"), [("whole", 1), ("by line", 8), ("by byte", 24), ("in pieces", 4)]
)
async def test_nothing_is_read_in_two_ways(manner: str, share: int, is_whole, figure):
    """Of 11,000 odd messages each is served as it can be read in one way alone, or refused once."""
    app = Recorder()
    wrong, statuses = await all_judged(app, framed(manner, 1 if is_whole else share))
    assert not wrong, "\n".join(wrong[:5])
    assert statuses[400] > 500 // share
    assert statuses[200] > 500 // share
    count = sum(statuses.values())
    figure(f"framing, {manner}: {count} answers, {dict(sorted(statuses.items()))}, 0 misread")


def changed(count: int, seed: int) -> Todo:
    """Yield sound requests with chance changes, cut in chance manners."""
    random = Random(seed)
    ways = ["whole"] * 3 + ["in pieces"] * 3 + ["by line"]
    for _ in range(count):
        sent = mutated(random) + LAST
        yield sent, manners(sent, random)[random.choice(ways)]


async def test_changed_requests_do_no_harm(is_whole, figure, caplog):
    """Requests changed by chance get no more answers than they can be read as, and never a failure.

    A connection that hung, or a traceback in the log, would show as well.
    """
    count = 200_000 if is_whole else 12_000
    world = World()
    app = Recorder(Gateway(lambda: world.engine, lambda: world.max_body))
    wrong, statuses = await all_judged(app, changed(count, SEED))
    assert not wrong, "\n".join(wrong[:5])
    assert {200, 400, 401, 404, 415, 417, 431} <= statuses.keys()
    assert max(statuses) < 500
    assert [one for one in caplog.records if one.exc_info or one.levelname == "ERROR"] == []
    assert world.limits.statistics().in_flight == 0
    figure(f"mutations: {count} with seed {SEED}, answered {dict(sorted(statuses.items()))}")


async def test_the_requests_that_are_changed_are_sound():
    """Before they are changed all of them are read to their end and answered."""
    app = Recorder()
    wrong, statuses = await all_judged(app, ((one + LAST, [one + LAST]) for one in SOUND))
    assert not wrong, "\n".join(wrong[:5])
    assert statuses.keys() == {200}


@pytest.mark.parametrize("between", [b"\n", b"\r\n\r\n", b"\r\r\n", b"\n\n\n", b"\r", b"\r\n\n"])
@pytest.mark.parametrize("cut", range(1, 8))
async def test_nothing_slips_in_behind_a_chunked_body(between: bytes, cut: int):
    """Stray line ends in one packet with a body's end are no gap through which a request is served."""
    sent = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n0\r\n\r\n"
    app = Recorder()
    async with serving(app) as server:
        pieces = [sent[:-cut], sent[-cut:] + between, TRAP + LAST]
        exchange = await send(server.url, pieces, 1)
    assert [one.body for one in app.seen[exchange.port]] == [b"\n"]
    assert [one.status for one in exchange.answers] in ([200], [200, 400])


async def test_nothing_is_said_behind_a_refusal(caplog):
    """Who asks whether its body is wanted, and sends a broken one at once, is refused, and that is all."""
    asked = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    app = Recorder()
    async with serving(app) as server:
        exchange = await send(server.url, [asked + LAST], 1)
    assert [one.status for one in exchange.answers] == [400]
    assert caplog.records == []
