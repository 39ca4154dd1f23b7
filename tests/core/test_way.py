"""Which route is next, after which failure; which are passed over, and what is a retry."""

from headworks.core.way import Way
from headworks.types import Plan, Route

A, B, C, D = (Route("up", name, "main") for name in "abcd")


def left(way: Way) -> list[Route]:
    """Go to the end of the way, and return where it led."""
    found = [way.route]
    while way.has_other:
        way.move()
        found.append(way.route)
    return found


def test_without_anything_special_routes_come_in_their_order():
    """Fallback follows the order of the configuration."""
    way = Way(Plan((A, B, C)))

    assert not way.turn("rate_limit", is_final=False)
    assert (left(way), way.has_moved) == ([A, B, C], True)


def test_a_failure_may_have_routes_of_its_own():
    """They come before the others, and each route comes once."""
    way = Way(Plan((A, B, C), on={"rate_limit": (D, C)}))

    assert way.turn("rate_limit", is_final=False)
    assert left(way) == [A, D, C, B]


def test_a_final_failure_has_no_routes_but_its_own():
    """What no other route helps against goes to the routes that are named for it, and no further."""
    way = Way(Plan((A, B), on={"context_length": (D,)}))

    assert way.turn("context_length", is_final=True)
    assert left(way) == [A, D]


def test_a_kind_of_failure_turns_a_call_once():
    """Two routes that point at each other do not make a circle."""
    way = Way(Plan((A,), on={"quota": (B,), "model": (A,)}))

    assert way.leads_on("quota")
    assert way.turn("quota", is_final=False)
    way.move()
    assert not way.leads_on("quota")
    assert not way.turn("quota", is_final=False)
    assert not way.leads_on("model")
    assert not way.turn("model", is_final=False)
    assert (way.route, way.has_other) == (B, False)


def test_routes_that_do_not_work_are_passed_over():
    """They are no part of the way any more, and were no attempt: the call has not moved."""
    way = Way(Plan((A, B, C)))
    ahead = [way.ahead]

    way.pass_over(2)
    ahead.append(way.ahead)

    assert ahead == [(A, B, C), (C,)]
    assert (way.has_other, way.has_moved) == (False, False)


def test_asking_an_upstream_again_is_a_retry():
    """Whatever model or credential of it is asked; another upstream has not failed the call."""
    way = Way(Plan((A, B)))
    assert not way.is_retry(B)

    way.hurt |= {"up"}

    assert way.is_retry(A)
    assert way.is_retry(Route("up", "z", "spare"))
    assert not way.is_retry(Route("elsewhere", "a", "main"))


def test_a_route_asked_beside_is_not_asked_again():
    """A call that asks two routes at once has asked both, and has moved."""
    way = Way(Plan((A, B, C), on={"quota": (B,)}))
    way.fork(B)

    assert (way.route, way.ahead, way.has_moved) == (A, (A, C), True)
    assert not way.leads_on("quota")
