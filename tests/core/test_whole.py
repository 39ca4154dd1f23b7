"""A whole answer is read for its usage and errors, whatever its texts are."""

import msgspec
import pytest

from headworks.core.whole import read_whole
from headworks.errors import MalformedResponse

USAGE = b'{"prompt_tokens":1}'


@pytest.mark.parametrize("half", [rb"\ud83d", rb"\ud83d!", rb"\uDE00", rb"\ud83d\ud83d"])
def test_half_a_character_does_not_cost_an_answer_its_usage(half):
    """A model that was cut off in an emoji has answered all the same, and is booked as it says."""
    whole = read_whole(b'{"text":"%b","usage":%b}' % (half, USAGE), must_be_json=True)
    assert whole is not None
    assert bytes(whole.usage) == USAGE


@pytest.mark.parametrize("content", [b"", b"{", b'{"a":"\\ud83', b'{"a":1}}', b"\xff", b"[" * 9999])
def test_what_is_not_json_is_refused_where_it_has_to_be(content):
    """Broken answers are failures of the provider; where anything may come they pass."""
    assert read_whole(content, must_be_json=False) is None
    with pytest.raises(MalformedResponse):
        read_whole(content, must_be_json=True)


@pytest.mark.parametrize("content", [b"[]", b'"text"', b"1", b'["\\ud83d"]'])
def test_json_of_another_shape_is_not_judged(content):
    """What is JSON passes, though it tells nothing of itself."""
    assert read_whole(content, must_be_json=True) is None


def test_fields_that_are_not_there_are_told_from_null():
    """`usage: null` is something else than no usage."""
    whole = read_whole(b'{"usage":null}', must_be_json=True)
    assert whole is not None
    assert (bytes(whole.usage), bytes(whole.error)) == (b"null", b"")
    assert msgspec.json.decode(whole.usage) is None
