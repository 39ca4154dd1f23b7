"""In which order a group's routes are tried."""

import random
from collections import Counter
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.groups import Conditions, Group, Member, Strategy, ordered
from headworks.core.pricing import Price, flat_price
from headworks.types import Route, Usage

A, A2, B, C = (
    Route("a", "m", "main"),
    Route("a", "m", "spare"),
    Route("b", "m", "main"),
    Route("c", "x", "main"),
)
STRATEGIES: tuple[Strategy, ...] = ("order", "weighted", "least_latency", "cheapest")
CALLS = 20_000


def nothing_known(_: Route) -> float:
    return 0.0


def unknown_price(_: str) -> Price | None:
    return None


def conditions(
    seed: int = 1,
    load: Callable[[Route], float] = nothing_known,
    price: Callable[[str], Price | None] = unknown_price,
) -> Conditions:
    return Conditions(random.Random(seed).random, load, price)


def members(*routes: Route, weights: Mapping[Route, float] | None = None) -> tuple[Member, ...]:
    return tuple(Member(str(one), (one,), (weights or {}).get(one, 1.0)) for one in routes)


def shares(strategy: Strategy, found: tuple[Member, ...], at: Conditions) -> list[Counter[Route]]:
    """Return how often each route came at each place, over many calls."""
    places = [Counter[Route]() for one in found for _ in one.routes]
    for _ in range(CALLS):
        for place, route in zip(places, ordered(strategy, found, Usage(10, 10), at), strict=True):
            place[route] += 1
    return places


def test_the_order_is_as_written():
    """Without another word, routes are tried as I wrote them; an upstream's credentials in theirs."""
    found = (Member("a/m", (A, A2)), Member("b/m", (B,)))

    assert ordered("order", found, Usage(), conditions()) == [A, A2, B]


@pytest.mark.parametrize(
    ("weights", "expected"), [((9, 1), 0.9), ((1, 1), 0.5), ((0.2, 0.6), 0.25)]
)
def test_weights_are_shares(weights, expected):
    """Weights of 9 and 1 send nine of ten calls to the first; any two numbers work likewise."""
    first, _ = shares(
        "weighted", members(A, B, weights={A: weights[0], B: weights[1]}), conditions()
    )

    assert first[A] / CALLS == pytest.approx(expected, abs=0.012)  # four standard deviations


def test_fallback_within_a_group_follows_the_weights_too():
    """What is left when the first has failed shares by its own weights: 3 to 1 without C."""
    at = conditions()
    found = members(A, B, C, weights={A: 3, B: 1, C: 4})
    orders = [tuple(ordered("weighted", found, Usage(), at)) for _ in range(CALLS)]
    seconds = Counter(one[1] for one in orders if one[0] == C)

    assert seconds[A] / seconds.total() == pytest.approx(0.75, abs=0.02)


def test_a_spare_credential_stays_behind_its_first():
    """A weight is an upstream's, however many credentials it has; its spare one is still spare."""
    found = (Member("a/m", (A, A2), 1.0), Member("b/m", (B,), 1.0))
    first, second, _ = shares("weighted", found, conditions())

    assert first[A2] == 0
    assert first[A] / CALLS == pytest.approx(0.5, abs=0.015)
    assert second[A2] == first[A]


def test_of_two_the_less_loaded_is_taken():
    """The faster of two routes gets the call; the slower one is its fallback."""
    at = conditions(load=lambda route: {A: 0.8, B: 0.2}[route])

    assert all(ordered("least_latency", members(A, B), Usage(), at) == [B, A] for _ in range(50))


def test_two_of_many_are_compared():
    """The best of three is first in two of three calls, the worst never; nobody stampedes."""
    at = conditions(load=lambda route: {A: 0.1, B: 0.2, C: 0.9}[route])
    first, *_ = shares("least_latency", members(A, B, C), at)

    assert first[A] / CALLS == pytest.approx(2 / 3, abs=0.015)
    assert first[B] / CALLS == pytest.approx(1 / 3, abs=0.015)
    assert first[C] == 0


def test_equals_share():
    """Routes of which nothing is known get the same number of calls, credentials included."""
    found = (Member("a/m", (A, A2)), Member("b/m", (B,)))
    first, *_ = shares("least_latency", found, conditions())

    assert {route: round(count / CALLS, 1) for route, count in first.items()} == {
        A: 0.3,
        A2: 0.3,
        B: 0.3,
    }


PRICES = {"cheap-in": flat_price(1, 50), "cheap-out": flat_price(10, 5), "free": flat_price(0, 0)}
READS, WRITES = Usage(100_000_000, 1_000_000), Usage(1_000_000, 100_000_000)


@pytest.mark.parametrize(
    ("models", "usage", "expected"),
    [
        (["cheap-out", "cheap-in"], READS, ["cheap-in", "cheap-out"]),
        (["cheap-in", "cheap-out"], WRITES, ["cheap-out", "cheap-in"]),
        (["unknown", "cheap-in"], READS, ["cheap-in", "unknown"]),
        (["cheap-in", "unknown", "free"], READS, ["free", "cheap-in", "unknown"]),
        (["other", "unknown"], READS, ["other", "unknown"]),
    ],
)
def test_the_cheapest_for_this_call_is_first(models, usage, expected):
    """A long question and a long answer may have different cheapest models; unknown comes last."""
    found = members(*(Route("up", model, "main") for model in models))
    order = ordered("cheapest", found, usage, conditions(price=PRICES.get))

    assert [route.model for route in order] == expected


@given(
    st.sampled_from(STRATEGIES),
    st.lists(st.tuples(st.integers(1, 3), st.floats(1e-6, 1e6)), min_size=1, max_size=6),
    st.integers(0, 1000),
    st.dictionaries(st.integers(0, 5), st.floats(0, 1e9), max_size=6),
)
def test_each_route_comes_once(strategy, shape, seed, loads):
    """Whatever the strategy, weights, loads and prices: every route is in the order, once."""
    found = tuple(
        Member(f"u{at}/m", tuple(Route(f"u{at}", "m", f"k{k}") for k in range(count)), weight)
        for at, (count, weight) in enumerate(shape)
    )
    at = conditions(seed, lambda route: loads.get(int(route.upstream[1:]), 0.0), PRICES.get)
    order = list(ordered(strategy, found, Usage(10, 10), at))

    assert sorted(order, key=repr) == sorted((r for one in found for r in one.routes), key=repr)


@pytest.mark.parametrize(
    ("group", "is_fixed"),
    [
        (Group("order", members(A, B)), True),
        (Group("weighted", members(A)), True),
        (Group("cheapest", (Member("a/m", (A, A2)),)), True),
        (Group("least_latency", members(A)), True),
        (Group("least_latency", (Member("a/m", (A, A2)),)), False),
        (Group("weighted", members(A, B)), False),
    ],
)
def test_a_group_without_a_choice_is_known(group, is_fixed):
    """Where there is nothing to choose, nothing is computed for each call."""
    assert group.is_fixed is is_fixed
