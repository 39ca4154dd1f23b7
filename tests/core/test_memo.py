"""The promises of remembered answers: right, asked for once, and never too many."""

from hypothesis import given
from hypothesis import strategies as st

from headworks.core.memo import MOST, remembered


def test_a_question_is_asked_once():
    """What is known is not worked out again."""
    asked: list[bytes] = []
    note = remembered(asked.append)

    assert [note(name) for name in (b"a", b"b", b"a")] == [None] * 3
    assert asked == [b"a", b"b"]


@given(st.lists(st.integers(0, 9)))
def test_every_answer_is_right(names):
    """Remembered or not, an answer is that of the function."""
    spell = remembered(str)

    assert [spell(name) for name in names] == [str(name) for name in names]


def test_strangers_cannot_fill_the_memory():
    """However many names come, few are kept: what was known before is asked for anew."""
    asked: list[int] = []
    note = remembered(asked.append)
    for name in (*range(MOST + 1), 0):
        note(name)

    assert asked == [*range(MOST + 1), 0]
