"""A provider that has too much to do gets fewer calls at a time, and more again when it is well."""

import pytest

from headworks.core.crowd import LEAST, Crowd


def test_it_begins_below_what_was_too_many_and_falls_further():
    """0.7 of the calls under way, and 0.7 again for as many failures; never below a few."""
    crowd = Crowd(100, 1.0, 0.0)
    assert crowd.most == 70
    crowd.cut(70, 5.0, 6.0, 1.0, is_told=True)
    assert crowd.most == 49
    for second in range(10, 40):
        crowd.cut(1, float(second), float(second), 1.0, is_told=True)
    assert crowd.most == LEAST


def ends(crowd, at, calls, share):
    """Let so many calls that were begun at a time end, a share of them as failures."""
    for number in range(1, calls + 1):
        if int(number * share) > int((number - 1) * share):
            crowd.cut(int(crowd.most), at, at, max(share, 0.05))
        else:
            crowd.grow(at, at)


@pytest.mark.parametrize("share", [0.06, 0.3, 0.6, 0.9, 1.0])
def test_a_provider_that_fails_whatever_it_is_asked_is_not_left_alone(share):
    """Two cuts do not help, so they are taken back, and tried again only after a while."""
    crowd = Crowd(200, 1.0, 0.0, share)
    lowest = crowd.most
    for second in range(2, 50):
        ends(crowd, float(second), 100, share)
        lowest = min(lowest, crowd.most)
    assert 90 < lowest <= 140
    assert crowd.most >= 200


@pytest.mark.parametrize("capacity", [20, 50, 100, 180])
def test_a_provider_that_has_too_much_to_do_is_given_what_it_can_do(capacity):
    """While fewer calls mean fewer failures cuts go on, and what can be done is done."""
    crowd, at, owed = Crowd(300, 1.0, 0.0, 1 - capacity / 300), 2.0, 0.0
    well = failed = 0
    while at < 300.0:
        at += 1 / crowd.most  # each call takes a second
        share = max(0.0, 1 - capacity / crowd.most)
        owed += share
        if owed >= 1.0:
            owed -= 1.0
            failed += at > 30.0
            crowd.cut(int(crowd.most), at, at, max(share, 0.05))
        else:
            well += at > 30.0
            crowd.grow(at, at)
    assert well > 0.75 * capacity * 270
    assert failed < 0.15 * well


def test_nothing_is_cut_before_it_is_known_whether_the_last_cut_has_helped():
    """Of eight failures that would have come, seven are not enough."""
    crowd = Crowd(100, 1.0, 0.0)
    for second in range(2, 9):
        crowd.cut(70, float(second), float(second), 1.0)
    assert crowd.most == 70
    crowd.cut(70, 9.0, 9.0, 1.0)
    assert crowd.most == 49


def test_one_burst_of_failures_is_one_cut():
    """What was sent before a cut says nothing about what there is after it."""
    crowd = Crowd(100, 1.0, 10.0)
    for begun, now in ((9.0, 15.0), (10.5, 10.9)):
        crowd.cut(70, begun, now, 1.0)
    assert crowd.most == 70


def test_it_grows_by_one_for_all_of_them():
    """As many calls as there may be, all well, allow one more, or a twentieth."""
    crowd = Crowd(10, 1.0, 0.0)
    for _ in range(7):
        crowd.grow(0.0, 1.0)
    assert 7.8 < crowd.most < 8.2
    large = Crowd(1000, 1.0, 0.0)
    for _ in range(700):
        large.grow(0.0, 1.0)
    assert 730 < large.most < 740


def test_it_is_soon_where_it_was_after_several_cuts():
    """An outage of a moment is not paid for with many minutes."""
    crowd = Crowd(100, 1.0, 0.0)
    for second in range(2, 12):
        crowd.cut(70, float(second), float(second), 1.0, is_told=True)
    low = crowd.most
    crowd.grow(0.0, 1.0)
    assert crowd.most == low + 1 or crowd.most > 0.7 * low


def test_who_is_too_many_waits_about_as_long_as_a_place_takes():
    """One place is free every so many seconds; those ahead count."""
    crowd = Crowd(10, 2.0, 0.0)
    assert crowd.wait(6, 0) == 0.0
    assert crowd.wait(7, 0) == 2.0 / 7
    assert crowd.wait(7, 13) == 4.0
    assert crowd.wait(0, 7) > 0


def test_it_ends_when_nobody_was_held_back_for_long():
    """A limit that binds nobody is dropped."""
    crowd = Crowd(10, 1.0, 0.0)
    crowd.bind(100.0)
    assert not crowd.is_over(399.0)
    assert crowd.is_over(400.0)


def test_what_a_provider_says_itself_is_not_taken_back():
    """After `slow_down` calls stay few, whatever fails later, and the next sign counts at once."""
    crowd = Crowd(100, 1.0, 0.0)
    crowd.cut(70, 2.0, 2.0, 0.0001, is_told=True)
    crowd.cut(49, 4.0, 4.0, 0.0001, is_told=True)
    assert crowd.most == pytest.approx(34.3)
    for second in range(6, 9):
        crowd.cut(34, float(second), float(second), 1.0, is_told=True)
    assert crowd.most < 15
    crowd.cut(12, 20.0, 20.0, 0.5)
    assert crowd.most < 10
