"""A provider that has too much to do gets fewer calls at a time, and more again when it is well."""

from headworks.core.crowd import LEAST, Crowd


def test_it_begins_below_what_was_too_many_and_falls_further():
    """0.7 of the calls under way, and 0.7 again for a later failure; never below a few."""
    crowd = Crowd(100, 1.0, 0.0)
    assert crowd.most == 70
    crowd.cut(70, 5.0, 6.0)
    assert crowd.most == 49
    for second in range(10, 40):
        crowd.cut(1, float(second), float(second))
    assert crowd.most == LEAST


def test_one_burst_of_failures_is_one_cut():
    """What was sent before a cut says nothing about what there is after it."""
    crowd = Crowd(100, 1.0, 10.0)
    for begun, now in ((9.0, 15.0), (10.5, 10.9)):
        crowd.cut(70, begun, now)
    assert crowd.most == 70


def test_it_grows_by_one_for_all_of_them():
    """As many calls as there may be, all well, allow one more, or a twentieth."""
    crowd = Crowd(10, 1.0, 0.0)
    for _ in range(7):
        crowd.grow(1.0)
    assert 7.8 < crowd.most < 8.2
    large = Crowd(1000, 1.0, 0.0)
    for _ in range(700):
        large.grow(1.0)
    assert 730 < large.most < 740


def test_it_is_soon_where_it_was_after_several_cuts():
    """An outage of a moment is not paid for with many minutes."""
    crowd = Crowd(100, 1.0, 0.0)
    for second in range(2, 12):
        crowd.cut(70, float(second), float(second))
    low = crowd.most
    crowd.grow(1.0)
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
