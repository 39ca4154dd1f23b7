"""A provider that has too much to do gets fewer calls at a time, and more again when it is well."""

import pytest

from headworks.core.concurrency import LEAST, Concurrency


def test_it_begins_below_what_was_too_many_and_falls_further():
    """0.7 of the calls under way, and 0.7 again for as many failures; never below a few."""
    allowed = Concurrency(100, 1.0, 0.0)
    assert allowed.most == 70
    allowed.cut(70, 5.0, 6.0, 1.0, is_told=True)
    assert allowed.most == 49
    for second in range(10, 40):
        allowed.cut(1, float(second), float(second), 1.0, is_told=True)
    assert allowed.most == LEAST


def ends(allowed, at, calls, share):
    """Let so many calls that were begun at a time end, a share of them as failures."""
    for number in range(1, calls + 1):
        if int(number * share) > int((number - 1) * share):
            allowed.cut(int(allowed.most), at, at, max(share, 0.05))
        else:
            allowed.grow(at, at)


@pytest.mark.parametrize("share", [0.06, 0.3, 0.6, 0.9, 1.0])
def test_a_provider_that_fails_whatever_it_is_asked_is_not_left_alone(share):
    """Two cuts do not help, so they are taken back, and tried again only after a while."""
    allowed = Concurrency(200, 1.0, 0.0, share)
    lowest = allowed.most
    for second in range(2, 50):
        ends(allowed, float(second), 100, share)
        lowest = min(lowest, allowed.most)
    assert 90 < lowest <= 140
    assert allowed.most >= 200


@pytest.mark.parametrize("capacity", [20, 50, 100, 180])
def test_a_provider_that_has_too_much_to_do_is_given_what_it_can_do(capacity):
    """While fewer calls mean fewer failures cuts go on, and what can be done is done."""
    allowed, at, owed = Concurrency(300, 1.0, 0.0, 1 - capacity / 300), 2.0, 0.0
    well = failed = 0
    while at < 300.0:
        at += 1 / allowed.most  # each call takes a second
        share = max(0.0, 1 - capacity / allowed.most)
        owed += share
        if owed >= 1.0:
            owed -= 1.0
            failed += at > 30.0
            allowed.cut(int(allowed.most), at, at, max(share, 0.05))
        else:
            well += at > 30.0
            allowed.grow(at, at)
    assert well > 0.75 * capacity * 270
    assert failed < 0.15 * well


def test_nothing_is_cut_before_it_is_known_whether_the_last_cut_has_helped():
    """Of eight failures that would have come, seven are not enough."""
    allowed = Concurrency(100, 1.0, 0.0)
    for second in range(2, 9):
        allowed.cut(70, float(second), float(second), 1.0)
    assert allowed.most == 70
    allowed.cut(70, 9.0, 9.0, 1.0)
    assert allowed.most == 49


def test_one_burst_of_failures_is_one_cut():
    """What was sent before a cut says nothing about what there is after it."""
    allowed = Concurrency(100, 1.0, 10.0)
    for begun, now in ((9.0, 15.0), (10.5, 10.9)):
        allowed.cut(70, begun, now, 1.0)
    assert allowed.most == 70


def test_it_grows_by_one_for_all_of_them():
    """As many calls as there may be, all well, allow one more, or a twentieth."""
    allowed = Concurrency(10, 1.0, 0.0)
    for _ in range(7):
        allowed.grow(0.0, 1.0)
    assert 7.8 < allowed.most < 8.2
    large = Concurrency(1000, 1.0, 0.0)
    for _ in range(700):
        large.grow(0.0, 1.0)
    assert 730 < large.most < 740


def test_it_is_soon_where_it_was_when_few_calls_were_under_way():
    """A cut while little is done is made good by a call each, up to 0.7 of what was allowed."""
    allowed = Concurrency(100, 1.0, 0.0)
    allowed.cut(10, 2.0, 2.0, 1.0, is_told=True)
    assert allowed.most == 7
    for number in range(1, 43):
        allowed.grow(3.0, 4.0)
        assert allowed.most == 7 + number
    allowed.grow(3.0, 4.0)
    assert 49 < allowed.most < 49.1


def test_who_is_too_many_waits_about_as_long_as_a_place_takes():
    """One place is free every so many seconds; those ahead count."""
    allowed = Concurrency(10, 2.0, 0.0)
    assert allowed.wait(6, 0) == 0.0
    assert allowed.wait(7, 0) == 2.0 / 7
    assert allowed.wait(7, 13) == 4.0
    assert allowed.wait(0, 7) > 0


def test_it_ends_when_nobody_was_held_back_for_long():
    """A limit that binds nobody is dropped."""
    allowed = Concurrency(10, 1.0, 0.0)
    allowed.bind(100.0)
    assert not allowed.is_over(399.0)
    assert allowed.is_over(400.0)


def test_what_a_provider_says_itself_is_not_taken_back():
    """After `slow_down` calls stay few, whatever fails later, and the next sign counts at once."""
    allowed = Concurrency(100, 1.0, 0.0)
    allowed.cut(70, 2.0, 2.0, 0.0001, is_told=True)
    allowed.cut(49, 4.0, 4.0, 0.0001, is_told=True)
    assert allowed.most == pytest.approx(34.3)
    for second in range(6, 9):
        allowed.cut(34, float(second), float(second), 1.0, is_told=True)
    assert allowed.most < 15
    allowed.cut(12, 20.0, 20.0, 0.5)
    assert allowed.most < 10
