"""Calls wait for a provider's limits in line, and the limits are known from its answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.demand import Demand
from headworks.core.upstream_bucket import NO_CAPS, Bucket, Caps, Slip, family
from headworks.core.upstream_signs import DAY, MINUTE, REQUESTS, TOKENS, Reading, Told
from headworks.types import Request, Usage

PATH = "/v1/embeddings"


def demand(tokens: int = 100, path: str = PATH) -> Demand:
    return Demand(Request("POST", path, fields={"model": "m"}), Usage(tokens))


def reading(remaining: int, limit: int = 6000, reset: bytes = b"") -> Reading:
    return Reading(TOKENS, limit, remaining, reset)


def learned(remaining: int = 6000) -> Bucket:
    """Return a bucket of 6000 tokens a minute: 100 flow in each second, 300 are left alone."""
    bucket = Bucket(NO_CAPS, 0.0)
    bucket.hear(None, 0.0, [reading(remaining)], 0.0)
    return bucket


def left(bucket: Bucket, now: float = 0.0, measure: int = TOKENS) -> float:
    (level,) = (one for one in bucket.levels if one.measure == measure)
    return level.value(now)


def send(bucket: Bucket, tokens: int = 100, now: float = 0.0) -> Slip:
    return bucket.take(demand(tokens), now)


def test_nobody_waits_for_limits_that_nobody_knows():
    """A provider that says nothing of limits is not paced."""
    bucket = Bucket(NO_CAPS, 0.0)
    send(bucket, 10**9)
    assert bucket.wait(demand(10**9), 0.0) == 0.0
    assert bucket.room(0.0) == 1.0


def test_the_wait_is_the_time_in_which_enough_flows_in():
    """So many tokens a second flow in: that long a call waits, and not longer."""
    bucket = learned(1000)
    assert bucket.wait(demand(700), 0.0) == 0.0
    assert bucket.wait(demand(1200), 0.0) == pytest.approx(5.0, abs=0.01)
    assert bucket.wait(demand(1200), 5.0) == pytest.approx(0.0, abs=0.01)


def test_who_comes_later_waits_longer_and_nobody_is_passed_by():
    """Each in the line has its own time; a small call does not go before a large one."""
    bucket, large, small = learned(300), demand(500), demand(100)
    bucket.line_up(large)
    bucket.line_up(small)
    bucket.line_up(small)
    assert bucket.waiting == 2
    assert bucket.wait(large, 0.0) == pytest.approx(5.0, abs=0.01)
    assert bucket.wait(small, 0.0) == pytest.approx(6.0, abs=0.01)
    assert bucket.wait(demand(100), 0.0) == pytest.approx(7.0, abs=0.01)
    bucket.take(large, 5.0)
    assert bucket.wait(small, 5.0) == pytest.approx(1.0, abs=0.01)
    bucket.take(small, 6.0)
    assert bucket.waiting == 0
    assert bucket.wait(demand(100), 6.0) == pytest.approx(1.0, abs=0.01)


def test_who_leaves_frees_its_place():
    """Those behind move up at once."""
    bucket, first, second, third = learned(300), demand(5000), demand(3000), demand(100)
    for one in (first, second, third):
        bucket.line_up(one)
    second.leave()
    assert bucket.wait(demand(100), 0.0) == pytest.approx(52.0, abs=0.01)
    first.leave()
    first.leave()
    assert bucket.waiting == 1
    assert bucket.wait(third, 0.0) == pytest.approx(1.0, abs=0.01)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=30), st.randoms())
def test_a_line_is_served_in_order_and_nothing_is_lost(sizes, random):
    """Whoever stays is served in the order in which it came, at the speed of the inflow."""
    bucket, line = learned(300), [demand(size) for size in sizes]
    for one in line:
        bucket.line_up(one)
    stays = [one for one in line if random.random() < 0.7]
    for one in line:
        if one not in stays:
            one.leave()
    now = 0.0
    for one in stays:
        assert all(bucket.wait(one, now) <= bucket.wait(other, now) + 1e-6 for other in stays if other.line)  # fmt: skip
        now += bucket.wait(one, now)
        bucket.take(one, now)
    assert bucket.waiting == 0
    assert now == pytest.approx(sum(one.tokens for one in stays) / 100, abs=0.01)


def test_a_provider_that_has_less_is_believed_at_once_and_one_that_has_more_by_halves():
    """Others may use the account: what is said to be left is trusted carefully."""
    bucket = learned(4000)
    bucket.hear(send(bucket), 0.0, [reading(2000)], 0.0)
    assert left(bucket) == pytest.approx(2000, abs=1)
    bucket.hear(send(bucket), 0.0, [reading(3900)], 0.0)
    assert left(bucket) == pytest.approx(2900, abs=1)


def test_what_was_sent_since_is_taken_off_what_an_answer_tells():
    """The fields are a snapshot of the moment in which the request was admitted."""
    bucket = learned(6000)
    first = send(bucket)
    send(bucket, 500)
    bucket.hear(first, 0.0, [reading(5900)], 0.0)
    assert left(bucket) == pytest.approx(5400, abs=1)


def test_an_old_answer_does_not_undo_what_a_newer_one_told():
    """Answers that take long tell of a time that is gone."""
    bucket = learned(6000)
    old, new = send(bucket, now=0.0), send(bucket, now=10.0)
    bucket.hear(new, 10.0, [reading(1000)], 10.0)
    bucket.hear(old, 0.0, [reading(5900)], 10.0)
    assert left(bucket, 10.0) == pytest.approx(1000, abs=1)


def test_what_was_never_sent_is_given_back():
    """A connection that did not come about costs nothing."""
    bucket = learned(4000)
    bucket.give_back(send(bucket, 1500), 0.0)
    assert left(bucket) == pytest.approx(4000, abs=1)


def test_a_refusal_tells_what_is_left_and_what_the_call_is_charged():
    """Limit less Used is left; Requested is what the call will take when it comes again."""
    bucket, asked = learned(6000), demand(100)
    slip = bucket.take(asked, 0.0)
    bucket.refuse(slip, 0.0, [], Told(TOKENS, MINUTE, 6000, 5900, 400), 0.0)
    assert left(bucket) == pytest.approx(100, abs=1)
    assert bucket.cost(asked) == 400
    assert bucket.wait(asked, 0.0) >= (400 - 100) / 100


def test_a_limit_that_only_a_refusal_tells_of_is_kept_too():
    """Requests a minute stay unseen where the fields tell of requests a day."""
    bucket = Bucket(NO_CAPS, 0.0)
    bucket.hear(None, 0.0, [Reading(REQUESTS, 500, 400, b"4h48m")], 0.0)
    bucket.refuse(None, 1.0, [], Told(REQUESTS, MINUTE, 60, 60, 1), 1.0)
    assert [(one.limit, one.period) for one in bucket.levels] == [(500, DAY), (60, MINUTE)]
    assert bucket.wait(demand(), 1.0) == pytest.approx(4.0, abs=0.1)
    bucket.hear(None, 4000.0, [Reading(REQUESTS, 500, 400, b"4h48m")], 4000.0)
    assert [(one.limit, one.period) for one in bucket.levels] == [(500, DAY)]


def test_a_period_that_was_guessed_is_put_right():
    """A full bucket does not tell whether it is one of a day."""
    bucket = Bucket(NO_CAPS, 0.0)
    bucket.hear(None, 0.0, [Reading(REQUESTS, 10_000, 10_000, b"0s")], 0.0)
    bucket.hear(None, 1.0, [Reading(REQUESTS, 10_000, 9_998, b"17.28s")], 1.0)
    assert [one.period for one in bucket.levels] == [DAY]


def test_what_is_larger_than_the_providers_limit_does_not_wait_and_takes_nothing():
    """The provider refuses it at once, as waiting never helps."""
    bucket = learned(1000)
    assert bucket.wait(demand(7000), 0.0) == 0.0
    slip = send(bucket, 7000)
    assert left(bucket) == pytest.approx(1000, abs=1)
    bucket.refuse(slip, 0.0, [reading(1000)], None, 0.0)
    assert left(bucket) == pytest.approx(1000, abs=1)


def test_what_is_nearly_the_limit_goes_when_the_bucket_is_full():
    """A call that fits once a minute is not kept for ever."""
    bucket, asked = learned(0), demand(5950)
    assert 59 < bucket.wait(asked, 0.0) < 61
    assert bucket.wait(asked, 60.0) == 0.0


def test_the_charge_is_learned():
    """Where the provider charges half of what was guessed, half is taken from then on."""
    bucket, now, level = learned(6000), 0.0, 6000.0
    for _ in range(60):
        now += 1.0
        slip = send(bucket, 400, now)
        level = min(6000.0, level + 100) - 200
        bucket.hear(slip, now, [reading(int(level))], now)
    assert bucket.cost(demand(400)) == pytest.approx(200, abs=10)
    assert bucket.cost(demand(400, "/v1/completions")) == 400


def test_after_a_refusal_one_call_tries_then_two_then_all():
    """Nobody goes in the pause; then the number grows with each call that goes well."""
    bucket = learned(6000)
    bucket.pause(5.0, 0.0)
    assert bucket.wait(demand(), 0.0) == 5.0
    assert bucket.wait(demand(), 5.0) == 0.0
    probe = send(bucket, 10, 5.0)
    assert bucket.wait(demand(), 5.0) == 0.25
    bucket.hear(probe, 5.0, [reading(5900)], 5.1)
    two = [send(bucket, 10, 5.1), send(bucket, 10, 5.1)]
    assert bucket.wait(demand(), 5.1) == 0.25
    assert bucket.wait(demand(), 7.2) == 0.0  # a refusal would have come
    for _ in range(20):
        two.append(send(bucket, 10, 7.2))
        bucket.hear(two[-1], 7.2, [reading(5800)], 7.2)
    assert bucket.wait(demand(), 7.2) == 0.0


def test_what_others_use_is_learned_and_forgotten_when_nothing_is_heard():
    """The inflow that others take is not counted on; after silence it is again."""
    bucket, now, level = learned(6000), 0.0, 6000.0
    for _ in range(100):
        now += 1.0
        slip = send(bucket, 10, now)
        level -= 10 + 50 - (100 if level < 3000 else 0)
        bucket.hear(slip, now, [reading(int(level))], now)
    (known,) = bucket.levels
    assert known.leak > 20
    before = known.value(now)
    assert known.value(now + 20) - before == pytest.approx(20 * 100 - 10 * known.leak)


def test_what_the_operator_allows_holds_beside_what_is_learned():
    """The lower one decides; a change of it takes effect at once, and it is no debt for ever."""
    bucket = Bucket(Caps(rpm=60, tpm=600), 0.0)
    bucket.hear(None, 0.0, [reading(6000)], 0.0)
    send(bucket, 600)
    assert bucket.wait(demand(10), 0.0) == pytest.approx(1.0, abs=0.01)
    bucket.cap(Caps(rpm=60), 0.0)
    assert bucket.wait(demand(10), 0.0) == 0.0
    bucket.cap(Caps(rpm=1), 0.0)
    send(bucket, 1)
    assert bucket.wait(demand(10), 0.0) > 50
    bucket.forgive()
    assert [one.is_learned for one in bucket.levels] == [False]


def test_a_call_larger_than_the_operator_allows_goes_when_all_of_it_is_there():
    """It would else never go; others then wait until its debt is paid."""
    bucket = Bucket(Caps(tpm=600), 0.0)
    send(bucket, 100)
    assert bucket.wait(demand(900), 0.0) == pytest.approx(10, abs=2)
    send(bucket, 900, 10.0)
    assert bucket.wait(demand(100), 10.0) == pytest.approx(40, abs=2)


def test_the_lower_of_two_caps_holds():
    """Credentials of one account share what both allow."""
    assert Caps(5, None).lower(Caps(7, 9)) == Caps(5, 9)
    assert NO_CAPS.lower(NO_CAPS) == NO_CAPS


def test_a_model_shares_limits_with_its_dated_snapshots():
    """Only a date or `latest` at the end is another name for the same model."""
    assert {family(name) for name in ("gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-latest")} == {"gpt-4o"}
    assert family("gpt-4o-mini") == "gpt-4o-mini"
