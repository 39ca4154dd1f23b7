"""What is said to be ahead at a limit is at least what is let in before, and never more than waits."""

from hypothesis import given
from hypothesis import strategies as st

from headworks.core.crowds import QUANTUM, Crowd, Crowds
from headworks.core.queue import Queue
from headworks.core.turns import Waiting

FOREVER = 1e9
SHOP, OTHER = "shop", "other"
calls = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.integers(0, 2),
        st.integers(1, 3_000),
        st.sampled_from([(SHOP,), (OTHER,), (SHOP, OTHER)]),
    ),
    max_size=60,
)


@given(calls, st.sampled_from("abcd"), st.integers(1, 3_000))
def test_no_more_is_let_in_before_a_call_than_was_said(waiting, key, cost):
    """Whoever waits, of whichever key and size: a call is next after no more than it was told."""
    queue: Queue[tuple[str, int]] = Queue()
    for other, _, size, scopes in waiting:
        queue.add(Waiting((other, size), size, 1, FOREVER, scopes), 0, other, scopes)
    told, tokens = queue.crowds.ahead(SHOP, 0, key, cost)
    own = Waiting((key, cost), cost, 1, FOREVER, (SHOP,))
    queue.add(own, 0, key, (SHOP,))

    before: list[int] = []
    while (tried := queue.next()) is not own:
        assert tried is not None
        if SHOP in tried.scopes:
            before.append(tried.cost)
        queue.leave(tried, is_served=True)

    others = {other for other, *_ in waiting} - {key}
    spare = len(others) * (3_000 + QUANTUM)  # a turn is not cut in the middle of a call
    assert sum(before) <= tokens + spare
    everybody = [size for _, _, size, scopes in waiting if SHOP in scopes]
    assert told <= len(everybody)
    assert tokens <= sum(everybody)
    if tokens == sum(everybody):
        assert told == len(everybody)


@given(calls)
def test_nothing_is_left_of_those_who_have_gone(waiting):
    """When nobody waits any more, nothing is remembered; those of each key and priority count once."""
    crowds = Crowds()
    for other, rank, size, scopes in waiting:
        crowds.count(scopes, rank, other, 1, size)
    for key in "abcd":
        mine = [one for one in waiting if one[0] == key and one[1] == 0 and SHOP in one[3]]
        assert crowds.own(SHOP, 0, key) == len(mine)
    for other, rank, size, scopes in waiting:
        crowds.count(scopes, rank, other, -1, size)

    assert len(crowds) == 0
    assert crowds.ahead(SHOP, 0, "a", 10) == (0, 0)


def test_other_keys_are_given_as_much_as_the_own_and_no_more():
    """One call of a quiet key does not stand behind all of a noisy one, but behind its turn."""
    crowds = Crowds()
    for _ in range(1_000):
        crowds.count((SHOP,), 0, "noisy", 1, 500)

    assert crowds.ahead(SHOP, 0, "quiet", 500) == (3, 500 + QUANTUM)
    assert crowds.ahead(SHOP, 0, "noisy", 500) == (1_000, 500_000)
    assert crowds.ahead(SHOP, 1, "quiet", 500) == (8, 4_000)


def test_those_who_are_to_come_count_like_those_who_wait():
    """Who was told to come before takes its turn, of the own key and of others."""
    crowds = Crowds()
    crowds.count((SHOP,), 0, "a", 1, 100)

    assert crowds.ahead(SHOP, 0, "a", 100, Crowd(2, 200, 1, 100, 1)) == (4, 400)
    assert crowds.ahead(OTHER, 0, "b", 100, Crowd(0, 0, 9_000, 900_000, 1)) == (11, 1_100)
