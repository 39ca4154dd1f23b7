"""The world as it is: time goes forward, chance has no pattern, ids are unique."""

import pytest

from headworks.ports import Clock, Random
from headworks.system import SystemClock, SystemRandom

pytestmark = pytest.mark.anyio


async def test_time_goes_forward():
    """Waits are measured by a clock that nobody can set back, moments by that of the wall."""
    clock: Clock = SystemClock()
    before = clock.now()
    await clock.sleep(0)
    assert clock.now() >= before
    assert clock.time() > 1.7e9


def test_call_ids_sort_by_time_and_never_repeat():
    """A list of calls in the order of their ids is in the order of their time."""
    chance: Random = SystemRandom()
    ids = [chance.call_id() for _ in range(10_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert all(one.startswith("call_") and one.isascii() for one in ids)


def test_two_processes_do_not_make_the_same_id():
    """Calls of several gateways can be told apart."""
    assert SystemRandom().call_id()[-8:] != SystemRandom().call_id()[-8:]


def test_chance_is_a_share():
    """Jitter is drawn from 0 up to, but not including, 1."""
    draws = [SystemRandom().random() for _ in range(1000)]
    assert 0 <= min(draws) < 0.1
    assert 0.9 < max(draws) < 1
