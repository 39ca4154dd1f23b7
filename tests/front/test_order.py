"""Answers come in the order of their requests, and a body that nobody read is never taken for one."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest

from headworks.gateway.asgi import Gateway
from headworks.types import Caller, RateLimits
from headworks.uploads import HELD
from tests.front.framing import TRAP, cases
from tests.front.mutation import BODY, STREAM
from tests.front.stage import LAST, PATIENCE, Recorder, connect, expected_answers, judge, send
from tests.front.strict import read
from tests.gateway.conftest import answers, serving
from tests.world import World

pytestmark = pytest.mark.anyio

SEED = 20261124
DEPTH = 100


def pipeline(random: Random, odd: list[bytes]) -> bytes:
    """Return a hundred requests in one go, some of them odd."""
    good = (
        b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 36\r\n\r\n" + TRAP + b"12345",
        b"\r\nPUT /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    )
    sent = [random.choice(good) % number for number in range(DEPTH)]
    for _ in range(random.randrange(3)):
        sent[random.randrange(DEPTH)] = random.choice(odd)
    return b"".join(sent) + LAST


async def test_a_hundred_at_once_good_and_bad(is_whole, figure):
    """Of a hundred requests in one packet each is answered in its turn, up to the first that is bad."""
    random, app = Random(SEED), Recorder()
    odd = [case.sent for case in cases() if b"chunked" not in case.sent.lower()]
    served: Counter[str] = Counter()
    async with serving(app) as server:
        for _ in range(1000 if is_whole else 60):
            sent = pipeline(random, odd)
            reading = read(sent)
            exchange = await send(server.url, [sent], expected_answers(reading))
            assert judge(reading, exchange, app.seen.pop(exchange.port, [])) == ""
            served[reading.end] += len(reading.messages)
    assert served["clean"] > DEPTH < served["refused"]
    figure(f"pipelines of {DEPTH}: {served.total()} requests served in their order")


FORM = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
KINDS = (
    (b"/v1/files", b"Bearer nobody", b"multipart/form-data; boundary=b", FORM),
    (b"/v1/files", b"Bearer spent", b"multipart/form-data; boundary=b", FORM),
    (b"/v1/chat/completions", b"Bearer open", b"application/json", STREAM),
    (b"/v1/chat/completions", b"Bearer nobody", b"text/plain", b""),
    (b"/nowhere", b"Bearer open", b"application/octet-stream", b""),
)
LENGTHS = (100, 5_000, HELD + 1, HELD + 70_000, 3 * HELD)


def refused(random: Random, count: int) -> Iterator[tuple[bytes, list[bytes]]]:
    """Yield heads that will be refused, and in pieces the bodies, which are full of requests."""
    for _ in range(count):
        path, key, kind, begun = random.choice(KINDS)
        end = b"\r\n--b--\r\n" if b"form" in kind else b""
        body = begun + TRAP * (random.choice(LENGTHS) // len(TRAP)) + end
        framing = b"Content-Length: %d" % len(body)
        if random.random() < 0.3:
            framing = b"Transfer-Encoding: chunked"
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        fields = b"\r\n".join((b"Authorization: " + key, b"Content-Type: " + kind, framing))
        cut = random.randrange(len(body))
        head = b"POST " + path + b" HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n\r\n"
        yield head, [body[:cut], body[cut:]]


async def leave_unread(url: str, head: bytes, body: list[bytes]) -> tuple[int, list[int], bool]:
    """Send a head, then its body, then another request; the port, the statuses, and if it was early."""
    transport, line = await connect(int(url.rpartition(":")[2]))
    is_early = False
    async with asyncio.timeout(PATIENCE):
        for piece in (head, *body, LAST):
            is_early = is_early or (bool(line.received) and piece in body)
            transport.write(piece)
            for _ in range(4):
                await asyncio.sleep(0)
        await line.ended.wait()
    transport.abort()
    return line.port, [one.status for one in answers(bytes(line.received))], is_early


async def test_a_body_that_nobody_read_is_never_a_request(is_whole, figure):
    """Whatever a refusal left unread is thrown away, or the connection is closed: no trap is served."""
    count = 10_000 if is_whole else 2_000
    world = World(max_body=10_000)
    spent = Caller("spent", "k9", limits=RateLimits(rpm=1))
    world.keys.callers = {**world.keys.callers, "spent": spent}
    app = Recorder(Gateway(lambda: world.engine, lambda: world.max_body))
    random, tally, answered = Random(SEED), Counter[str](), Counter[int]()
    async with serving(app) as server:
        port, *_ = await leave_unread(server.url, *next(spend()))
        app.seen.pop(port)
        for head, body in refused(random, count):
            port, statuses, is_early = await leave_unread(server.url, head, body)
            targets = [one.target for one in app.seen.pop(port)]
            assert statuses[1:] in ([], [404])
            answered[statuses[0]] += 1
            assert targets[1:] in ([], [b"/last"]), targets
            assert len(statuses) == len(targets)
            tally["refused before the body was sent"] += is_early
            tally["closed behind the refusal"] += len(targets) == 1
            tally["drained, and the next one served"] += len(targets) == 2
    assert len(tally) == 3
    assert min(tally.values()) > count // 20, tally
    assert {400, 401, 404, 413, 415, 429} == answered.keys()
    figure(f"unread bodies: {count} with seed {SEED}, 0 traps served, {dict(tally)}")


def spend() -> Iterator[tuple[bytes, list[bytes]]]:
    """Yield the one request that a key has."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer spent\r\n"
    told = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    yield head + told, [BODY]
