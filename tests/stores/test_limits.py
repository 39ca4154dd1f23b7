"""What may be done at most: never exceeded, never leaked, never charged for a refusal."""

import re
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.admission import Rules
from headworks.core.client_tokens import narrowed
from headworks.errors import LimitError, ParallelLimited, RateLimited
from headworks.ports import Limits, Reservation
from headworks.stores.limits import MemoryLimits
from headworks.testing import FakeClock
from headworks.types import NO_USAGE, Call, Caller, ClientToken, RateLimits, Request, Tags, Usage

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
ESTIMATE = Usage(10, 1_000)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def limits(clock):
    return MemoryLimits(clock)


def web(rpm: int | None = None, parallel: int | None = None, key_id: str = "k") -> Caller:
    return Caller("web", key_id, limits=RateLimits(rpm, parallel))


NO_TAGS = Tags()


def call_of(caller: Caller, tags: Tags = NO_TAGS, /, **fields: object) -> Call:
    request = Request("POST", CHAT, fields={"model": "m", **fields}, tags=tags)
    return Call("c1", request, 0.0, 0.0, caller)


def reserve(limits: MemoryLimits, caller: Caller, **fields: object) -> Reservation:
    """Reserve by hand: a single step, which shows that nothing suspends."""
    return reserve_call(limits, call_of(caller, NO_TAGS, **fields))


def reserve_call(limits: MemoryLimits, call: Call, estimate: Usage = ESTIMATE) -> Reservation:
    steps = limits.reserve(call, estimate)
    try:
        steps.send(None)
    except StopIteration as done:
        reservation: Reservation = done.value
        return reservation
    raise AssertionError("reserving waited")


def admitted(limits: MemoryLimits, caller: Caller) -> bool:
    """Whether the caller gets in; raises the refusal if not."""
    return reserve(limits, caller) is not None


def rates(limits: MemoryLimits, call: Call, estimate: Usage = ESTIMATE) -> dict[str, str]:
    """What the call's headers say of our limits, without their common beginning."""
    with suppress(LimitError):
        reserve_call(limits, call, estimate)
    return {
        name.decode().removeprefix("x-ratelimit-"): value.decode() for name, value in call.rates
    }


async def test_the_engine_can_use_it(limits):
    """It is what the engine asks for."""
    port: Limits = limits

    (await port.reserve(call_of(web(1, 1)), Usage(5, 5))).settle(Usage(1, 1))


def test_the_refusal_reads_like_openais(clock, limits):
    """Clients that parse OpenAI's text find limit, use and the wait; Retry-After is the same."""
    for _ in range(60):
        reserve(limits, web(60)).settle(NO_USAGE)
        clock.advance(0.5)

    clock.advance(26.9)
    with pytest.raises(RateLimited) as caught:
        reserve(limits, web(60))

    assert str(caught.value) == (
        "Rate limit reached for key 'web' on requests per minute (RPM): "
        "Limit 60, Used 60, Requested 1. Please try again in 3.2s."
    )
    assert caught.value.retry_after == pytest.approx(3.2, abs=1e-5)
    assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")
    assert caught.value.should_retry


def test_waiting_as_told_gets_in(clock, limits):
    """Who comes back when told is served."""
    reserve(limits, web(1))
    with pytest.raises(RateLimited) as caught:
        reserve(limits, web(1))
    assert caught.value.retry_after is not None
    assert 60 < caught.value.retry_after < 60.2

    clock.advance(caught.value.retry_after)

    assert admitted(limits, web(1))


def test_a_key_that_allows_nothing_promises_nothing(limits):
    """There is no moment to come back to when the limit is 0."""
    with pytest.raises(RateLimited, match="No requests are allowed") as caught:
        reserve(limits, web(0))
    assert (caught.value.retry_after, caught.value.should_retry) == (None, False)


def test_too_many_at_once(limits):
    """The parallel limit counts calls in flight; one that ends, however often, makes one place."""
    first = reserve(limits, web(parallel=2))
    reserve(limits, web(parallel=2))
    with pytest.raises(ParallelLimited, match="Limit 2, Used 2") as caught:
        reserve(limits, web(parallel=2))

    assert (caught.value.status, caught.value.retry_after) == (429, 1.0)
    for _ in range(3):
        first.settle(NO_USAGE)
    assert admitted(limits, web(parallel=2))
    with pytest.raises(ParallelLimited):
        reserve(limits, web(parallel=2))


async def test_a_part_of_a_call_takes_no_place(limits):
    """What is asked for inside a call counts at every rate, and at no limit on parallel calls."""
    whole = web(rpm=3, parallel=1)
    connection = reserve(limits, whole)
    first = await limits.reserve_within(call_of(whole), ESTIMATE)
    second = await limits.reserve_within(call_of(whole), ESTIMATE)
    with pytest.raises(RateLimited, match="Limit 3, Used 3"):
        await limits.reserve_within(call_of(whole), ESTIMATE)
    with pytest.raises(LimitError):
        reserve(limits, whole)
    assert limits.statistics().in_flight == 1
    for one in (first, second, first):
        one.settle(NO_USAGE)
    assert limits.statistics().in_flight == 1
    connection.settle(NO_USAGE)
    assert limits.statistics().in_flight == 0


def test_where_both_refuse_the_longer_wait_is_told(limits):
    """Nobody is told to come back in a second when it will take a minute."""
    reserve(limits, web(1, 1))

    with pytest.raises(RateLimited) as caught:
        reserve(limits, web(1, 1))
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 60


def test_keys_do_not_share_limits(limits):
    """One app's flood costs another app nothing."""
    reserve(limits, web(1, 1, "a"))

    assert admitted(limits, web(1, 1, "b"))
    with pytest.raises(LimitError):
        reserve(limits, web(1, 1, "a"))


def test_changed_limits_count_from_the_next_call(limits):
    """A reload neither forgets what was used nor needs a restart."""
    for _ in range(5):
        reserve(limits, web())

    with pytest.raises(RateLimited, match="Limit 5, Used 5"):
        reserve(limits, web(5))
    with pytest.raises(ParallelLimited, match="Limit 3, Used 5"):
        reserve(limits, web(6, 3))
    assert admitted(limits, web(6, 6))


def test_everybody_that_a_call_is_made_for_limits_it(limits):
    """Organisation, project, key, user and tag each refuse, in their own name, and count nothing."""
    one = RateLimits(rpm=1)
    user, shop = Tags(user="u1", tags=("beta",)), Caller("web", "k", "shop", limits=one)
    cases = {
        "the organisation": (Rules(organisation=one), replace(shop, key_id="z", project="other", limits=RateLimits()), Tags()),
        "project 'shop'": (Rules(projects={"shop": one}), replace(shop, key_id="z", limits=RateLimits()), Tags()),
        "key 'web'": (Rules(), replace(shop, project="other"), Tags()),
        "user 'u1'": (Rules(user=one), replace(shop, key_id="z", limits=RateLimits()), Tags(user="u1")),
        "tag 'beta'": (Rules(tags={"beta": one}), replace(shop, key_id="z", limits=RateLimits()), Tags(tags=("beta",))),
    }  # fmt: skip
    for whose, (rules, other, tags) in cases.items():
        limits = MemoryLimits(FakeClock())
        limits.adopt(rules)
        reserve_call(limits, call_of(shop, user)).settle(NO_USAGE)
        for _ in range(3):
            with pytest.raises(RateLimited, match=re.escape(f"for {whose} on requests")):
                reserve_call(limits, call_of(other, tags))
        assert limits.statistics().rate_limited == 3
        limits.adopt(Rules())
        assert admitted(limits, replace(other, limits=RateLimits()))


def test_a_model_has_limits_of_its_own(limits):
    """What is set for one model holds for it alone, beside what holds for all."""
    caller = Caller("web", "k", limits=RateLimits(rpm=2, models=(("m", RateLimits(rpm=1)),)))
    reserve(limits, caller)

    with pytest.raises(RateLimited, match="Rate limit reached for m of key 'web'"):
        reserve(limits, caller)
    reserve(limits, caller, model="other")
    with pytest.raises(RateLimited, match="Rate limit reached for key 'web'"):
        reserve(limits, caller, model="other")


def test_tokens_are_set_aside_and_put_right(limits):
    """What a call did not use is free again; what it used beyond is taken."""
    caller = Caller("web", "k", limits=RateLimits(tpm=3_000))
    first = reserve(limits, caller)
    reserve(limits, caller).settle(Usage(10, 1_500))
    with pytest.raises(RateLimited, match="Limit 3000, Used 2520, Requested 1010") as caught:
        reserve(limits, caller)
    assert caught.value.type == "tokens"

    first.settle(Usage(10, 90))

    assert admitted(limits, caller)


def test_the_length_of_answers_is_learned(limits):
    """After some answers no more is set aside than 95 of 100 take: the limit is used up."""
    caller = Caller("web", "k", limits=RateLimits(tpm=10**6))
    for _ in range(30):
        reserve(limits, caller).settle(Usage(10, 50))

    left = int(rates(limits, call_of(caller))["remaining-tokens"])
    again = int(rates(limits, call_of(caller))["remaining-tokens"])
    assert 60 <= left - again <= 66
    bounded = int(rates(limits, call_of(caller, max_tokens=20), Usage(10, 20))["remaining-tokens"])
    assert again - bounded == 30
    other = int(rates(limits, call_of(caller, model="x"))["remaining-tokens"])
    assert bounded - other == 1_010
    embedding = int(rates(limits, call_of(caller), Usage(10, 0))["remaining-tokens"])
    assert other - embedding == 10


def test_strict_sets_aside_the_most_that_may_come(clock):
    """A strict limit trusts no experience: the request's own bound counts, else the model's."""
    limits = MemoryLimits(clock)
    limits.adopt(Rules(), lambda request: 30_000 if request.model == "m" else None)
    caller = Caller("web", "k", limits=RateLimits(tpm=10**6, reserve="strict"))
    for _ in range(30):
        reserve(limits, caller, max_tokens=1_000).settle(Usage(10, 50))
    clock.advance(61)

    def taken(estimate: Usage, **fields: object) -> int:
        before = reserve_call(limits, call_of(caller), Usage(0, 0))
        before.settle(NO_USAGE)
        call = call_of(caller, NO_TAGS, **fields)
        left = int(rates(limits, call, estimate)["remaining-tokens"])
        clock.advance(61)
        return 10**6 - left

    assert taken(Usage(10, 5_000), max_tokens=5_000) == 5_010
    assert taken(ESTIMATE) == 30_010
    assert taken(ESTIMATE, model="x") == 1_010


def test_a_request_larger_than_the_limit_is_told_so(limits):
    """Waiting never helps: no Retry-After, and clients are told not to come back."""
    caller = Caller("web", "k", limits=RateLimits(tpm=900, reserve="strict"))

    with pytest.raises(RateLimited, match=r"^Request too large for key 'web'") as caught:
        reserve(limits, caller, max_tokens=1_000)
    assert (caught.value.retry_after, caught.value.should_retry) == (None, False)


def test_headers_tell_the_tightest_limit(clock, limits):
    """Of several limits the one with least left is told, and when it is all free again."""
    limits.adopt(Rules(organisation=RateLimits(rpm=100, tpm=5_000)))
    call = call_of(Caller("web", "k", limits=RateLimits(rpm=5, rpd=3, tpm=50_000)))

    assert rates(limits, call) == {
        "limit-requests": "3",
        "remaining-requests": "2",
        "reset-requests": "24h19m20s",
        "limit-tokens": "5000",
        "remaining-tokens": "3990",
        "reset-tokens": "1m0.1s",
    }
    reserve_call(limits, call)
    reserve_call(limits, call)
    clock.advance(1.5)
    refused = rates(limits, call)
    assert (refused["remaining-requests"], refused["remaining-tokens"]) == ("0", "1970")
    assert refused["reset-tokens"] == "58.6s"


def test_without_limits_nothing_is_told(limits):
    """A key without limits sees no such header."""
    assert rates(limits, call_of(web())) == {}


def test_statistics_count_refusals(limits):
    """Operators see how often each kind of limit said no."""
    reserve(limits, web(1, 1))
    for caller in (web(1, 1), web(9, 1), web(9, 1)):
        with pytest.raises(LimitError):
            reserve(limits, caller)

    found = limits.statistics()

    assert (found.keys, found.in_flight) == (1, 1)
    assert (found.rate_limited, found.parallel_limited) == (1, 2)


def test_strangers_names_fill_no_memory(limits):
    """However many users and models callers name, what is remembered of them is bounded."""
    for number in range(10_000):
        reserve_call(limits, call_of(web(), Tags(user=f"u{number}"))).settle(NO_USAGE)
    assert len(limits._known) <= 4_096
    assert limits.statistics().keys == 1


acts = st.lists(
    st.tuples(st.sampled_from(["reserve", "settle", "wait"]), st.integers(0, 9)), max_size=150
)


@given(acts, st.integers(1, 6), st.integers(1, 4))
def test_no_history_leaks_a_place_or_breaks_a_limit(history, rpm, parallel):
    """Any order of calls, endings and waits: both limits hold, and at the end all is free."""
    clock = FakeClock()
    limits = MemoryLimits(clock)
    held: list[Reservation] = []
    ended: list[Reservation] = []
    admitted: list[float] = []
    for act, number in history:
        if act == "wait":
            clock.advance(number * 7.3)
        elif act == "settle" and held:
            ended.append(held.pop(number % len(held)))
            ended[number % len(ended)].settle(NO_USAGE)
            ended[-1].settle(NO_USAGE)
        elif act == "reserve":
            recent = [when for when in admitted if when > clock.now() - 60]
            try:
                held.append(reserve(limits, web(rpm, parallel)))
                admitted.append(clock.now())
                assert len(recent) < rpm
            except ParallelLimited:
                assert len(held) >= parallel
            except RateLimited as refused:
                used = re.search(r"Used (\d+)", str(refused))
                assert used is not None
                assert int(used[1]) == rpm
        assert limits.statistics().in_flight == len(held) <= parallel

    for reservation in held:
        reservation.settle(NO_USAGE)
    assert limits.statistics().in_flight == 0


def test_a_client_token_is_limited_beside_its_key(limits):
    """Each has a count of its own, and all of them count for their key and their user."""
    limits.adopt(Rules(users={"u3": RateLimits(1)}))

    def holder(user: str, rpm: int | None = None, parallel: int | None = None) -> Call:
        held = narrowed(RateLimits(rpm, parallel), RateLimits())
        token = ClientToken(f"tok_{user}", user, limits=held)
        return call_of(replace(web(rpm=6), token=token), Tags(user=user))

    for _ in range(2):
        reserve_call(limits, holder("u1", rpm=2))
    with pytest.raises(RateLimited, match="for token 'tok_u1' on requests per minute"):
        reserve_call(limits, holder("u1", rpm=2))
    once = reserve_call(limits, holder("u2", parallel=1))
    with pytest.raises(ParallelLimited, match="for token 'tok_u2'"):
        reserve_call(limits, holder("u2", parallel=1))
    once.settle(NO_USAGE)
    reserve_call(limits, holder("u2", parallel=1))
    reserve_call(limits, holder("u3"))
    with pytest.raises(RateLimited, match="for user 'u3'"):
        reserve_call(limits, holder("u3"))
    reserve_call(limits, call_of(web(rpm=6)))
    with pytest.raises(RateLimited, match="for key 'web'"):
        reserve_call(limits, holder("u4"))
    assert limits.statistics().in_flight == 5
