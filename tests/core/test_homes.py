"""Which account a call must go to."""

import pytest

from headworks.core.homes import SEVERAL, Directory, Home, narrowed
from headworks.core.stateful import Reference
from headworks.errors import StatefulIdElsewhere, StatefulIdUnknown
from headworks.types import Plan, Request, Route, Timeouts, Tried

TIMES = Timeouts(total=7.0)
MAIN = Home(1, "openai", ("a", "b"), TIMES)
OTHER = Home(2, "openai", ("c",), TIMES)
AZURE = Home(3, "azure", ("a",), TIMES)
DIRECTORY = Directory(
    (MAIN, OTHER, AZURE),
    {1: MAIN, 2: OTHER, 3: AZURE, 4: AZURE},
    {1: "openai", 2: "openai", 3: "azure", 4: "azure", 5: "gone"},
)
KNOWN = {"m1": 1, "m2": 1, "o": 2, "z": 3, "old": 4, "lost": 5, "both": SEVERAL}
REQUEST = Request("POST", "/v1/responses", fields={"model": "m"})


def refer(*names: str) -> list[Reference]:
    return [Reference((name,), name) for name in names]


@pytest.mark.parametrize(
    ("names", "home"),
    [(("m1",), MAIN), (("m1", "m2"), MAIN), (("o",), OTHER), (("z", "old"), AZURE)],
)
def test_the_home_of_what_is_known(names: tuple[str, ...], home: Home):
    """Things of one account lead there, by whatever number they were remembered."""
    assert DIRECTORY.find(refer(*names), KNOWN.get) is home


def test_one_known_id_of_a_thing_is_enough():
    """What goes by two names is found by either."""
    for ids in (("m1", "nobody"), ("nobody", "m1")):
        assert DIRECTORY.find([Reference(ids, "x")], KNOWN.get) is MAIN


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("m1", "z"), "'m1' lives in an account of the upstream 'openai', 'z' in one of 'azure'"),
        (("m1", "o"), "'o' in another one there"),
        (("lost",), "'lost' lives in an account of the upstream 'gone' that is no longer"),
        (("both",), "Several accounts have made something called 'both'"),
    ],
)
def test_what_cannot_be_reached_is_told(names: tuple[str, ...], told: str):
    """The refusal names what it is about and where that is."""
    with pytest.raises(StatefulIdElsewhere) as refused:
        DIRECTORY.find(refer(*names), KNOWN.get)
    assert told in str(refused.value)
    assert (refused.value.status, refused.value.should_retry) == (409, False)


def test_what_nobody_knows_is_refused_in_few_words():
    """An unknown id is shown cut, however long it is."""
    with pytest.raises(StatefulIdUnknown) as refused:
        DIRECTORY.find(refer("x" * 10_000), KNOWN.get)
    assert len(str(refused.value)) < 400
    assert "unknown_ids: first" in str(refused.value)


def test_what_nobody_knows_may_be_looked_for_in_one_place():
    """Where the operator says so, unknown things are taken to be in the first account."""
    directory = Directory((MAIN, AZURE), {1: MAIN, 3: AZURE}, {}, MAIN)
    assert directory.find(refer("nobody"), KNOWN.get) is MAIN
    with pytest.raises(StatefulIdElsewhere):
        directory.find(refer("nobody", "z"), KNOWN.get)


def test_a_plan_keeps_the_routes_that_lead_home():
    """Other routes are neither tried nor told of, on whatever failure; all else stays."""
    here, also, there = (
        Route("openai", "x", "a"),
        Route("openai", "y", "b"),
        Route("azure", "x", "a"),
    )
    away = Route("openai", "x", "c")
    lines = tuple(Tried(one, "cannot tools", "", "other route", "") for one in (also, there))
    plan = Plan(
        (there, here, away, also),
        patience=3.0,
        on={"rate_limit": (there,), "timeout": (away, also)},
        unfit=lines,
        unfit_behind=lines,
    )
    kept = narrowed(plan, REQUEST, MAIN, "x")
    assert kept == Plan(
        (here, also), 3.0, on={"timeout": (also,)}, unfit=lines[:1], unfit_behind=lines[:1]
    )
    same = Plan((here, also))
    assert narrowed(same, REQUEST, MAIN, "x") is same


def test_a_model_without_a_route_home_is_told():
    """The refusal says where the thing lives and what to ask for."""
    with pytest.raises(StatefulIdElsewhere) as refused:
        narrowed(Plan((Route("azure", "x", "a"),)), REQUEST, OTHER, "resp_1")
    assert "'resp_1' lives in an account of the upstream 'openai'" in str(refused.value)
    assert "the model 'm'" in str(refused.value)


def test_a_request_without_a_model_goes_home_directly():
    """Files and the like need no route of a model: each credential of the account will do."""
    plan = narrowed(Plan((Route("azure", "", "a"),)), Request("GET", "/v1/files/f"), MAIN, "f")
    assert plan.routes == (Route("openai", "", "a", TIMES), Route("openai", "", "b", TIMES))
