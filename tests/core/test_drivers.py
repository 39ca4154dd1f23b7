"""The promises of "what drives it": parts that sum to the change, each where it belongs."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headworks.core.drivers import FACTORS, Drivers, Spent, drivers

BASE = Spent(
    attempts=100, input=100_000, output=20_000, cost=900_000, saved=100_000, answered=400_000
)

money = st.integers(0, 10**15)
spent = st.builds(
    lambda attempts, read, told, cost, saved, part: Spent(
        attempts, read, told, cost, saved, int(cost * part)
    ),
    st.integers(1, 10**6),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    money,
    st.integers(-(10**12), 10**15),
    st.floats(0, 1),
)
periods = st.dictionaries(st.sampled_from("abcd"), spent)


@settings(deadline=None, max_examples=300)
@given(periods, periods, st.integers(0, 10**6), st.integers(0, 10**6))
def test_parts_sum_to_the_change(before, after, old_calls, new_calls):
    """Whatever is compared, the drivers of each model sum to its change, to the nano-dollar."""
    found = drivers(before, after, (old_calls, new_calls))

    assert found.keys() == before.keys() | after.keys()
    for key, part in found.items():
        was, now = before.get(key, Spent()), after.get(key, Spent())
        assert part.total == now.cost - was.cost


@dataclass(frozen=True)
class Case:
    id: str
    after: Spent
    calls: int
    driver: str


CASES = [
    Case(
        "twice the calls",
        Spent(200, 200_000, 40_000, 1_800_000, 200_000, 800_000),
        200,
        "volume",
    ),
    Case("a retry each", Spent(200, 200_000, 40_000, 1_800_000, 200_000, 800_000), 100, "tokens"),
    Case(
        "twice as long",
        Spent(100, 200_000, 40_000, 1_800_000, 200_000, 800_000),
        100,
        "tokens",
    ),
    Case("twice the price", Spent(100, 100_000, 20_000, 1_800_000, 200_000, 800_000), 100, "price"),
    Case("dearer output", replace(BASE, cost=1_300_000, answered=800_000), 100, "price"),
    Case("less from the cache", replace(BASE, cost=950_000, saved=50_000), 100, "cache"),
    Case("no cache", replace(BASE, cost=1_000_000, saved=0), 100, "cache"),
    Case("all stops", Spent(), 0, "volume"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_changed_alone_has_all_of_it(case):
    """Where only one thing changed, the whole change is put down to it, and nothing to the rest."""
    found = drivers({"m": BASE}, {"m": case.after}, (100, case.calls))["m"]

    expected = case.after.cost - BASE.cost
    assert {name: getattr(found, name) for name in FACTORS} == {
        name: expected * (name == case.driver) for name in FACTORS
    }


def test_what_begins_is_volume():
    """The first calls of all are volume, not price or mix."""
    found = drivers({}, {"m": BASE}, (0, 100))["m"]

    assert found == Drivers(volume=BASE.cost)


def test_moving_to_another_model_is_mix():
    """Calls that go to a cheaper model instead lower the mix, on both its sides; nothing else."""
    cheap = replace(BASE, cost=450_000, saved=50_000, answered=200_000)
    half = Spent(50, 50_000, 10_000, 450_000, 50_000, 200_000)
    cheap_half = Spent(50, 50_000, 10_000, 225_000, 25_000, 100_000)
    found = drivers({"dear": BASE}, {"dear": half, "cheap": cheap_half}, (100, 100))

    assert found == {"dear": Drivers(mix=-450_000), "cheap": Drivers(mix=225_000)}
    assert drivers({"dear": BASE}, {"cheap": cheap}, (100, 100)) == {
        "dear": Drivers(mix=-900_000),
        "cheap": Drivers(mix=450_000),
    }


def test_two_causes_share_what_they_cause_together():
    """Twice the calls at twice the price cost four times as much: each is half of the cause."""
    after = Spent(200, 200_000, 40_000, 3_600_000, 400_000, 1_600_000)

    assert drivers({"m": BASE}, {"m": after}, (100, 200))["m"] == Drivers(
        volume=1_350_000, price=1_350_000
    )


@settings(deadline=None, max_examples=100)
@given(periods, st.integers(1, 50))
def test_a_pure_change_of_volume_is_all_volume(before, times):
    """More of the same is volume alone, for any mix of models."""
    after = {
        key: Spent(
            *(
                getattr(one, name) * times
                for name in ("attempts", "input", "output", "cost", "saved", "answered")
            )
        )
        for key, one in before.items()
    }
    found = drivers(before, after, (1000, 1000 * times))

    for key, part in found.items():
        assert part == Drivers(volume=before[key].cost * (times - 1))


@settings(deadline=None, max_examples=100)
@given(periods, periods)
def test_back_is_the_opposite_of_forth(before, after):
    """Read backwards, each driver turns its sign, but for the rounding of one nano-dollar."""
    forth = drivers(before, after, (10, 20))
    back = drivers(after, before, (20, 10))

    for key, part in forth.items():
        for name in FACTORS:
            assert abs(getattr(part, name) + getattr(back[key], name)) <= 1
