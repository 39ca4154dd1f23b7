"""The promises of idempotency keys: one call, one charge, the same answer; or a clear refusal."""

import asyncio
import os
from contextlib import closing
from dataclasses import replace

import pytest

from headworks.core.idempotency import IdempotencyKeyInUse
from headworks.core.intake import read_request
from headworks.errors import ConnectFailed, StreamTruncated
from headworks.stores import idempotency as module
from headworks.stores.idempotency import SqliteIdempotency
from headworks.testing import EVENTS, FakeClock, FakeResponse
from headworks.types import Caller, Presence, Secret
from tests.world import CHAT

pytestmark = pytest.mark.anyio

PATH = "/v1/chat/completions"
STREAM = {**CHAT, "stream": True}


def keyed(key="order-17", **more):
    return {"headers": {"idempotency-key": key, **more}}


async def turns(count=30):
    for _ in range(count):
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "stream"])
async def test_a_repeated_call_gets_the_same_answer_and_is_not_charged(world, face, body):
    """Same key, same body: one upstream call, one row, the same bytes, and the first call's id."""
    async with world.client(face) as client:
        first = await client.post(PATH, json=body, **keyed())
        again = await client.post(PATH, json=body, **keyed())

    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["x-headworks-replay-of"] == first.headers["x-headworks-call"]
    assert again.headers["x-headworks-call"] != first.headers["x-headworks-call"]
    assert "x-headworks-replay-of" not in first.headers
    assert len(world.upstream.sent) == len(world.ledger.rows) == 1
    assert b"idempotency-key" not in dict(world.upstream.sent[0].request.headers)
    assert world.journal.outcomes == ["completed"] * 2
    assert world.journal.calls[1].cost == world.journal.calls[1].attempts == 0
    world.assert_settled()


async def test_another_body_is_refused(world, face):
    """A key that comes back with another request is a mistake of the caller's, and told as one."""
    async with world.client(face) as client:
        await client.post(PATH, json=CHAT, **keyed())
        other = await client.post(PATH, json={**CHAT, "temperature": 1}, **keyed())

    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert other.headers["x-should-retry"] == "false"
    assert len(world.upstream.sent) == 1


def filed(boundary, size):
    """Return a form, and the fields that tell of it."""
    part = b'--%b\r\ncontent-disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
    purpose = part % (boundary, b"purpose", b"", b"batch")
    file = part % (boundary, b"file", b'; filename="a"', b"x" * size)
    told = {"content-type": f"multipart/form-data; boundary={boundary.decode()}"}
    return {"content": purpose + file + b"--" + boundary + b"--\r\n", **keyed(**told)}


@pytest.mark.parametrize("size", [10, 700_000], ids=["held", "kept"])
async def test_a_form_is_the_same_with_another_boundary(world, face, size):
    """Clients draw a new boundary for each attempt, so that no two forms have the same bytes."""
    async with world.client(face) as client:
        first = await client.post("/v1/files", **filed(b"first-one", size))
        again = await client.post("/v1/files", **filed(b"another", size))
        other = await client.post("/v1/files", **filed(b"another", size + 1))

    assert again.headers["x-headworks-replay-of"] == first.headers["x-headworks-call"]
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert len(world.upstream.sent) == 1


async def test_keys_belong_to_their_caller(world, face):
    """Nobody gets the answer to somebody else's call, whatever key they guess."""
    async with world.client(face) as one, world.client(face, "other") as two:
        await one.post(PATH, json=CHAT, **keyed())
        answer = await two.post(PATH, json=CHAT, **keyed())

    assert "x-headworks-replay-of" not in answer.headers
    assert len(world.upstream.sent) == 2


async def test_without_a_key_every_call_is_made(world, face, path):
    """Who does not ask for it gets nothing kept: there is not even a file."""
    async with world.client(face) as client:
        for _ in range(2):
            await client.post(PATH, json=CHAT)

    assert len(world.upstream.sent) == 2
    assert not path.exists()


@pytest.mark.parametrize("key", ["", "x" * 256, "with space", "née"])
async def test_a_key_that_is_none_is_refused(world, face, key):
    """A key that could be confused with another one is told before anything is sent."""
    async with world.client(face) as client:
        answer = await client.post(PATH, json=CHAT, headers={"idempotency-key": key.encode()})

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
    assert world.upstream.sent == []


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "stream"])
async def test_who_comes_while_the_call_is_under_way_waits_for_its_answer(world, face, body):
    """Ten impatient clients with one key are one call."""
    async with world.client(face) as client:
        calls = (client.post(PATH, json=body, **keyed()) for _ in range(10))
        answers = await asyncio.gather(*calls)

    assert len({answer.content for answer in answers}) == 1
    assert {answer.status_code for answer in answers} == {200}
    assert sum("x-headworks-replay-of" in answer.headers for answer in answers) == 9
    assert len(world.upstream.sent) == len(world.ledger.rows) == 1
    assert world.engine.idempotency.statistics().claimed == 0


async def test_another_body_is_refused_while_the_first_is_under_way(world, face):
    """A mistake is told at once, not after the wait."""
    async with world.client(face) as client:
        answers = await asyncio.gather(
            client.post(PATH, json=CHAT, **keyed()),
            client.post(PATH, json={**CHAT, "n": 1}, **keyed()),
        )

    assert [answer.status_code for answer in answers] == [200, 422]


async def test_a_call_that_failed_frees_its_key(world, face):
    """What was not answered may be tried again with the same key."""
    world.upstream.script = [ConnectFailed() for _ in range(6)]
    async with world.client(face) as client:
        failed = await client.post(PATH, json=CHAT, **keyed())
        world.upstream.script.clear()
        again = await client.post(PATH, json=CHAT, **keyed())

    assert failed.status_code >= 500
    assert again.status_code == 200
    assert "x-headworks-replay-of" not in again.headers


async def test_a_stream_that_broke_frees_its_key(world, face):
    """Half an answer is not replayed as if it were one."""
    world.upstream.script = [FakeResponse(EVENTS, fault=StreamTruncated(), fault_after=2)]
    async with world.client(face) as client:
        broken = await client.post(PATH, json=STREAM, **keyed())
        again = await client.post(PATH, json=STREAM, **keyed())

    assert b"error" in broken.content
    assert b"[DONE]" in again.content
    assert "x-headworks-replay-of" not in again.headers


async def test_the_next_one_in_line_takes_over_when_the_first_fails(world, face):
    """A failure is its own call's: whoever waited for it tries for itself."""
    refusals = [ConnectFailed() for _ in range(3)]
    world.upstream.script = [*refusals]
    async with world.client(face) as client:
        answers = await asyncio.gather(*(client.post(PATH, json=CHAT, **keyed()) for _ in range(4)))

    assert sorted(answer.status_code for answer in answers)[:3] == [200] * 3
    assert sum("x-headworks-replay-of" in answer.headers for answer in answers) == 2
    world.assert_settled()


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "stream"])
async def test_an_answer_that_is_too_large_is_not_kept_nor_made_again(world, face, body):
    """Of a large answer only the fact is kept: the second call is refused, not charged."""
    world.engine.idempotency.max_body = 100
    async with world.client(face) as client:
        await client.post(PATH, json=body, **keyed())
        again = await client.post(PATH, json=body, **keyed())

    assert (again.status_code, again.json()["error"]["code"]) == (409, "idempotent_answer_not_kept")
    assert again.headers["x-should-retry"] == "false"
    assert len(world.upstream.sent) == 1


async def test_a_replay_uses_up_no_limit(world, face):
    """It costs the provider nothing, so it costs the key nothing, nor does it tell of old limits."""
    limits = world.keys.callers["open"].limits
    world.keys.callers = {"open": Caller("open", "k1", limits=replace(limits, rpm=1))}
    async with world.client(face) as client:
        answers = [await client.post(PATH, json=CHAT, **keyed()) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200] * 3
    told = ["x-ratelimit-remaining-requests" in answer.headers for answer in answers]
    assert told == [True, False, False]


async def test_answers_survive_a_restart(world, face, path, kept):
    """A gateway that was started anew knows what the old one answered."""
    async with world.client(face) as client:
        first = await client.post(PATH, json=CHAT, **keyed())
        kept.close()
        with closing(SqliteIdempotency(path, FakeClock())) as fresh:
            world.engine = replace(world.engine, idempotency=fresh)
            async with world.client(face) as late:
                again = await late.post(PATH, json=CHAT, **keyed())

    assert again.content == first.content
    assert len(world.upstream.sent) == 1


async def test_answers_are_forgotten_in_time(world, face, kept, path):
    """After a day a key is free again, and the text is gone from the disk."""
    async with world.client(face) as client:
        await client.post(PATH, json=CHAT, **keyed())
        kept._clock.advance(86_401)
        again = await client.post(PATH, json={**CHAT, "n": 1}, **keyed())

    assert again.status_code == 200
    assert len(world.upstream.sent) == 2


async def call(world, key="order-17", body=b'{"model":"m","messages":[]}', **more):
    headers = [(b"content-type", b"application/json"), (b"idempotency-key", key.encode())]
    headers += [(name.replace("_", "-").encode(), value) for name, value in more.items()]
    request = read_request("POST", PATH, b"", headers, body)
    async with world.engine.call(request, Secret("open"), Presence()) as response:
        content = response.content
        return content if isinstance(content, bytes) else b"".join([c async for c in content])


async def stalled(world):
    """Begin a call whose stream never ends."""
    world.upstream.script = [FakeResponse(EVENTS, stalls_after=2)]
    task = asyncio.ensure_future(call(world, body=b'{"model":"m","messages":[],"stream":true}'))
    while not world.upstream.sent:
        await turns(1)
    return task


async def test_a_wait_is_no_longer_than_the_caller_has(world, kept):
    """Whoever must not wait any longer is told, and may try again."""
    first = await stalled(world)
    second = asyncio.ensure_future(
        call(world, body=b'{"model":"m","messages":[],"stream":true}', x_headworks_deadline=b"5s")
    )
    await turns()
    kept._clock.advance(5)
    with pytest.raises(IdempotencyKeyInUse) as refused:
        await second
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)

    assert (refused.value.status, refused.value.should_retry) == (409, True)
    assert kept.statistics().claimed == 0


async def test_a_caller_who_leaves_lets_the_next_one_through(world):
    """A key does not stay taken by somebody who is gone, under way or in line."""
    body = b'{"model":"m","messages":[],"stream":true}'
    first = await stalled(world)
    gone = asyncio.ensure_future(call(world, body=body))
    last = asyncio.ensure_future(call(world, body=body))
    await turns()
    gone.cancel()
    first.cancel()

    assert b"[DONE]" in await last
    assert len(world.upstream.sent) == 2
    assert world.engine.idempotency.statistics().claimed == 0


async def test_who_is_let_through_and_leaves_lets_the_next_one_through(world):
    """Even in the very moment in which it was its turn."""
    body = b'{"model":"m","messages":[],"stream":true}'
    first = await stalled(world)
    gone, last = (asyncio.ensure_future(call(world, body=body)) for _ in range(2))
    await turns()
    kept = world.engine.idempotency
    kept._wake(next(iter(kept._waiters)))  # as when the first ends
    gone.cancel()
    await turns()
    first.cancel()

    assert b"[DONE]" in await last
    assert (kept._waiters, kept._waiting, kept.statistics().claimed) == ({}, 0, 0)


async def test_a_crowd_that_waits_for_one_answer_is_served_one_by_one(world, kept, monkeypatch):
    """Each of them is woken once: a thousand callers cost a thousand looks, and not a million."""
    waits = 0
    wait = kept._wait

    async def counted(*asked):
        nonlocal waits
        waits += 1
        await wait(*asked)

    monkeypatch.setattr(kept, "_wait", counted)
    answers = await asyncio.gather(*(call(world) for _ in range(40)))
    assert len(set(answers)) == len(world.upstream.sent) == 1
    assert waits == 39


async def test_requests_that_wait_are_bounded_in_memory(world, monkeypatch):
    """Whoever would be too much is told to come back, and costs nothing meanwhile."""
    body = b'{"model":"m","messages":[],"stream":true}'
    monkeypatch.setattr(module, "MOST_WAITING", 2 * len(body))
    first = await stalled(world)
    waiting = [asyncio.ensure_future(call(world, body=body)) for _ in range(2)]
    await turns()
    with pytest.raises(IdempotencyKeyInUse):
        await call(world, body=body)
    for one in (*waiting, first):
        one.cancel()
    await asyncio.gather(*waiting, first, return_exceptions=True)
    assert world.engine.idempotency._waiting == 0


async def test_nothing_is_made_while_the_file_cannot_be_read(world, face, path):
    """A second charge is worse than a refusal: without its memory the gateway does not guess."""
    path.mkdir()
    async with world.client(face) as client:
        refused = await client.post(PATH, json=CHAT, **keyed())
        plain = await client.post(PATH, json=CHAT)

    assert (refused.status_code, refused.json()["error"]["code"]) == (
        503,
        "idempotency_unavailable",
    )
    assert (plain.status_code, len(world.upstream.sent)) == (200, 1)


async def test_an_answer_that_cannot_be_kept_is_still_given(world, face, kept, monkeypatch, caplog):
    """A full disk does not cost the caller the answer that was paid for; the operator hears of it."""
    monkeypatch.setattr(module, "_KEEP", "INSERT INTO nowhere VALUES (?, ?, ?, ?, ?, ?, ?)")
    async with world.client(face) as client:
        answer = await client.post(PATH, json=CHAT, **keyed())

    assert answer.status_code == 200
    assert kept.statistics().failures == 1
    assert "is not kept" in caplog.text


async def test_a_damaged_file_is_moved_aside(world, face, path, caplog):
    """Damage is told and kept, and calls go on."""
    path.write_bytes(b"no database" * 1000)
    async with world.client(face) as client:
        answer = await client.post(PATH, json=CHAT, **keyed())

    assert answer.status_code == 200
    assert len(list(path.parent.glob("*.corrupt-*"))) == 1
    assert "is damaged" in caplog.text


async def test_the_file_is_bounded_and_private(world, path):
    """However many answers are kept, the oldest go before the disk does; others may not read it."""
    kept = SqliteIdempotency(path, FakeClock(), most=400_000)
    world.engine = replace(world.engine, idempotency=kept)
    with closing(kept):
        for number in range(60):
            body = b'{"choices":[],"pad":"%b"}' % os.urandom(10_000).hex().encode()
            world.upstream.script = [FakeResponse(body)]
            await call(world, f"key-{number}")
        used = await kept._on_thread(kept._used)
        await call(world, "key-59")
        assert kept.statistics().replayed == 1

    assert used <= 450_000
    assert path.stat().st_mode & 0o777 == 0o600


async def test_what_is_swept_is_not_on_the_disk_any_more(world, path, kept):
    """A text whose time is over cannot be read from the file either."""
    world.upstream.script = [FakeResponse(b'{"choices":[],"text":"a private matter"}')]
    await call(world)
    assert (
        b"a private matter" in path.read_bytes() + path.with_name(f"{path.name}-wal").read_bytes()
    )
    kept._clock.advance(86_401)
    task = asyncio.ensure_future(kept.follow())
    while not kept._clock.slept:
        await turns(1)
    task.cancel()
    kept.close()

    assert b"a private matter" not in path.read_bytes()
