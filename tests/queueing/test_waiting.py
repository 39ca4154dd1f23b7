"""A call that comes too early waits its turn, and is answered; whoever cannot is told at once."""

import asyncio

import pytest

from headworks.core.admission import Rules
from headworks.core.queue_rules import QueueRules
from headworks.types import NO_USAGE, Call, Caller, ClientToken, RateLimits, Request
from tests.queueing.hall import Hall


def test_a_call_waits_for_the_one_before_it():
    """With one call at a time, the second is answered after the first instead of being refused."""
    hall = Hall(app=RateLimits(parallel=1))

    async def both() -> None:
        await asyncio.gather(hall.call("app", "one"), hall.call("app", "two"))

    hall.run(both())
    assert [one.status for one in hall.told] == [200, 200]
    assert hall.desk.busiest == 1
    assert hall.told[1].lasted > 1.5
    assert [round(call.queued) for call in hall.world.journal.calls] == [0, 1]


def test_a_call_waits_for_its_minute():
    """With sixty requests a minute made in half of one, the next goes out when one has left."""
    hall = Hall(app=RateLimits(rpm=3))

    async def story() -> None:
        await hall.call("app")
        await asyncio.sleep(40)
        await hall.call("app")
        await hall.call("app")
        await hall.call("app")

    hall.run(story())
    assert [one.status for one in hall.told] == [200] * 4
    assert 60 < hall.told[-1].ended < 62


def test_who_would_wait_too_long_is_told_at_once():
    """With a minute to wait and half a minute of patience, the refusal comes at once and says when."""
    hall = Hall(app=RateLimits(rpm=1))

    async def story() -> None:
        await hall.call("app", "one")
        told = await hall.call("app", "two")
        assert (told.status, told.code, told.lasted) == (429, "rate_limit_exceeded", 0.0)
        assert told.wait is not None
        assert 59 <= told.wait <= 72
        assert told.message.endswith("s.")
        await asyncio.sleep(told.wait)
        assert (await hall.call("app", "two")).status == 200

    hall.run(story())


def test_nothing_is_sent_for_callers_whose_time_is_up():
    """A caller with five seconds never has a call sent upstream after them, whatever is waiting."""
    hall = Hall(QueueRules(in_flight=2), seconds=2.0, app=RateLimits(), other=RateLimits())

    async def lives() -> None:
        calls: list[asyncio.Task[object]] = []
        for number in range(120):
            calls.append(asyncio.create_task(hall.call("app", f"{number}", deadline="5s")))
            calls.append(asyncio.create_task(hall.call("other", f"{number}")))
            await asyncio.sleep(0.25)
        await asyncio.gather(*calls)

    hall.run(lives())
    app = [call for call in hall.world.journal.calls if call.caller and call.caller.name == "app"]
    sent = [call for call in app if call.attempts]
    assert sent
    assert all(call.queued < 5.0 for call in app)
    done = [call.outcome for call in sent]
    assert done.count("completed") >= 0.8 * len(done), done
    refused = [one for one in hall.told if one.who == "app" and one.status != 200]
    assert all(one.wait is not None for one in refused if one.code != "deadline_exceeded")


@pytest.mark.parametrize("at", range(60))
def test_whoever_leaves_takes_nothing_along(at):
    """Whenever a caller leaves, waiting, about to be let in or answered, all places are free after."""
    rules = QueueRules(in_flight=3, calls=10)
    hall = Hall(
        rules, app=RateLimits(parallel=2, rpm=12), other=RateLimits(tpm=500), third=RateLimits()
    )

    async def lives() -> None:
        calls = [
            asyncio.create_task(hall.call(key, f"{number}"))
            for number in range(8)
            for key in ("app", "other")
        ]
        for step in range(at):
            await asyncio.sleep(0 if step % 3 else 0.31)
        for call in calls[at % 4 :: 2]:
            call.cancel()
        for _ in range(at % 7):
            await asyncio.sleep(0)
        calls[1].cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert hall.queue.statistics().in_flight == 0
        assert (await hall.call("third", "later")).status == 200

    hall.run(lives())


def test_whoever_leaves_as_its_turn_comes_gives_it_to_the_next():
    """A caller that hangs up in the very moment in which a place becomes free holds up nobody."""
    hall = Hall(QueueRules(in_flight=1), app=RateLimits())

    async def story() -> None:
        request = Request("POST", "/v1/chat/completions")
        first = await hall.queue.reserve(Call("1", request, 0.0, 0.0), NO_USAGE)
        second, third = (
            asyncio.create_task(hall.queue.reserve(Call(id_, request, 0.0, 0.0), NO_USAGE))
            for id_ in "23"
        )
        await asyncio.sleep(0.1)
        second.cancel()
        first.settle(NO_USAGE)
        (await third).settle(NO_USAGE)
        assert second.cancelled()

    hall.run(story())


def test_a_full_queue_refuses_the_key_that_fills_it():
    """A key that fills the queue is refused, and others find room; with room for none, it says so."""
    rules = QueueRules(in_flight=1, calls=10, max_wait=1000.0)
    hall = Hall(rules, noisy=RateLimits(), quiet=RateLimits(), shy=RateLimits(queue=0))

    async def story() -> None:
        noisy = [asyncio.create_task(hall.call("noisy", f"{number}")) for number in range(20)]
        await asyncio.sleep(0.01)
        full = [one for one in hall.told if one.status == 429]
        assert [one.code for one in full] == ["queue_full"] * 9
        quiet = [asyncio.create_task(hall.call("quiet", f"{number}")) for number in range(3)]
        await asyncio.sleep(0.01)
        assert hall.told[-1].who == "noisy"
        assert "gave way" in hall.told[-1].message
        assert (await hall.call("shy")).code == "queue_full"
        await asyncio.gather(*noisy, *quiet)

    hall.run(story())
    assert len(hall.answered("quiet")) == 3
    assert len(hall.answered("noisy")) == 8
    assert hall.queue.statistics().refused["full"] == 13


def test_a_full_instance_says_so():
    """Where each waiting key has one call and there is no room, a new one is told 503 and when."""
    names = [f"key{number}" for number in range(5)]
    rules = QueueRules(in_flight=1, calls=3, max_wait=1000.0)
    hall = Hall(rules, keys=dict.fromkeys(names, RateLimits()))

    async def story() -> None:
        await asyncio.gather(*(hall.call(name) for name in names))

    hall.run(story())
    assert [one.status for one in hall.told] == [503, 200, 200, 200, 200]
    assert hall.told[0].code == "overloaded"
    assert hall.told[0].wait is not None
    assert hall.told[0].headers[b"x-should-retry"] == b"true"


def test_a_full_instance_drops_bulk_work_first():
    """A live call finds room in a queue that is full of bulk work."""
    bulk = Caller("bulk", "bulk", priority="batch")
    rules = QueueRules(in_flight=1, calls=3, max_wait=1000.0)
    hall = Hall(rules, bulk=bulk, live=RateLimits())

    async def story() -> None:
        work = [asyncio.create_task(hall.call("bulk", f"{number}")) for number in range(4)]
        await asyncio.sleep(0.01)
        assert (await hall.call("live")).status == 200
        await asyncio.gather(*work)

    hall.run(story())
    assert len(hall.answered("bulk")) == 3


def test_large_requests_fill_the_queue_by_their_bytes():
    """Requests that hold more bytes than may wait are refused, however few they are."""
    rules = QueueRules(in_flight=1, size=3_000, max_wait=1000.0)
    hall = Hall(rules, app=RateLimits())

    async def story() -> None:
        calls = [hall.call("app", f"{number}" + 1_000 * "x") for number in range(5)]
        await asyncio.gather(*calls, hall.call("app", 4_000 * "y"))

    hall.run(story())
    assert len(hall.answered("app")) == 3


def test_without_a_queue_limits_refuse_at_once():
    """With `queue: false` nothing waits, and what is refused still says when to come back."""
    hall = Hall(QueueRules(calls=0, in_flight=1), app=RateLimits(parallel=1), other=RateLimits())

    async def story() -> None:
        await asyncio.gather(hall.call("app", "a"), hall.call("app", "b"), hall.call("other"))

    hall.run(story())
    assert sorted((one.status, one.code) for one in hall.told) == [
        (200, ""),
        (503, "overloaded"),
        (503, "overloaded"),
    ]
    assert all(one.wait for one in hall.told if one.status != 200)


@pytest.mark.parametrize("own", [None, 0], ids=["nobody waits", "this key does not wait"])
def test_where_nobody_waits_no_place_is_kept(own):
    """Without a queue, a free place is whoever's comes, though others were told to come back."""
    rules = QueueRules() if own == 0 else QueueRules(calls=0)
    hall = Hall(rules, app=RateLimits(parallel=1, queue=own))

    async def story() -> None:
        for _ in range(3):
            first = asyncio.create_task(hall.call("app", "first"))
            await asyncio.sleep(0.1)
            refused = [await hall.call("app", f"early {number}") for number in range(5)]
            assert {one.status for one in refused} == {429}
            await first
            assert (await hall.call("app", "later")).status == 200
        await asyncio.sleep(300)
        assert (await hall.call("app", "much later")).status == 200

    hall.run(story())


def test_a_wait_is_part_of_the_time_that_a_call_has():
    """Where calls may last five seconds in all, none waits longer than that for its turn."""
    hall = Hall(QueueRules(in_flight=1), seconds=4.0, app=RateLimits())
    hall.queue.adopt(QueueRules(in_flight=1), longest=lambda _: 5.0)

    async def lives() -> None:
        calls: list[asyncio.Task[object]] = []
        for number in range(40):
            calls.append(asyncio.create_task(hall.call("app", f"{number}")))
            await asyncio.sleep(0.5)
        await asyncio.gather(*calls)

    hall.run(lives())
    assert all(call.queued <= 5.0 for call in hall.world.journal.calls)
    assert max(one.lasted for one in hall.told if one.status != 200) <= 5.01


def test_all_attempts_of_a_call_count():
    """A second attempt's tokens count as the first one's do, in what a limit has left."""
    hall = Hall(app=RateLimits(tpm=10_000))
    hall.desk.faults = 1

    async def story() -> dict[bytes, bytes]:
        told = await hall.call("app")
        assert told.status == 200
        return (await hall.call("app")).headers

    left = int(hall.run(story())[b"x-ratelimit-remaining-tokens"])
    (once, again) = hall.world.ledger.rows[:2]
    tokens = [row.usage.input + row.usage.output for row in (once, again)]
    assert min(tokens) > 0
    assert left == 10_000 - sum(tokens) - 110


def test_users_of_a_key_do_not_hold_each_other_up():
    """Where users are limited, one who has to wait does not hold up the others of the same key."""
    limits = Rules(user=RateLimits(parallel=1))
    hall = Hall(limits=limits, app=RateLimits())

    async def story() -> None:
        calls = [hall.call("app", f"{number}", user="ann") for number in range(4)]
        await asyncio.gather(*calls, hall.call("app", "b", user="bob"))

    hall.run(story())
    assert hall.told[0].lasted < 1.3 or hall.told[1].lasted < 1.3
    assert hall.desk.busiest == 2
    assert {one.status for one in hall.told} == {200}


def test_what_no_wait_cures_is_refused_at_once():
    """A request larger than its limit will ever take does not wait."""
    hall = Hall(app=RateLimits(tpm=5))

    async def story() -> None:
        told = await hall.call("app")
        assert (told.status, told.wait, told.lasted) == (429, None, 0.0)

    hall.run(story())


def test_a_client_token_that_waits_holds_up_no_other():
    """Who has used up a token's limits waits for them alone; other users of the key go past."""

    def holder(name: str) -> Caller:
        token = ClientToken(f"tok_{name}", name, limits=RateLimits(parallel=1))
        return Caller("web", "web", token=token)

    hall = Hall(wild=holder("wild"), calm=holder("calm"))

    async def story() -> None:
        wild = [asyncio.create_task(hall.call("wild", str(number))) for number in range(5)]
        await asyncio.sleep(0.5)
        await hall.call("calm")
        await asyncio.gather(*wild)

    hall.run(story())
    assert [one.status for one in hall.told] == [200] * 6
    (calm,) = hall.answered("calm")
    assert calm.lasted < 1.5
    assert hall.answered("wild")[-1].lasted > 4
    assert hall.desk.busiest == 2
