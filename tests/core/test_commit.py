"""From when on a stream is its caller's."""

from dataclasses import dataclass

import pytest

from headworks.core.commit import MOST_EVENTS, MOST_HELD, is_met
from headworks.core.streams import Stream
from headworks.types import Commit


def stream(text: str = "", *, begun: bool = True) -> Stream:
    made = Stream()
    made.text += text.encode()
    made.begun = begun
    return made


@dataclass(frozen=True)
class Case:
    id: str
    commit: Commit
    stream: Stream
    held: int = 1
    events: int = 1
    is_met: bool = False


FIRST, SIX, ALL = Commit(), Commit(6), Commit(None)
CASES = [
    Case("the first content", FIRST, stream(), is_met=True),
    Case("nothing but a role", FIRST, stream(begun=False)),
    Case("too few characters", SIX, stream("12345")),
    Case("enough of them", SIX, stream("123456"), is_met=True),
    Case("characters, not bytes", SIX, stream("äöüß")),
    Case("all of it", ALL, stream("123456")),
    Case("all of it, however much", ALL, stream(), MOST_HELD + 1, MOST_EVENTS + 1),
    Case("as many bytes as are held", SIX, stream(), MOST_HELD, MOST_EVENTS),
    Case("more bytes", SIX, stream(), is_met=True, held=MOST_HELD + 1),
    Case("more events", SIX, stream(), is_met=True, events=MOST_EVENTS + 1),
    Case("endless announcements", FIRST, stream(begun=False), is_met=True, events=MOST_EVENTS + 1),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_stream_is_held_as_long_as_the_policy_says(case):
    """I choose how much of a stream may be taken back unseen; memory is bounded all the same."""
    assert is_met(case.commit, case.stream, case.held, case.events) == case.is_met
