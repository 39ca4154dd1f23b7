"""The prompt cache: what is known again, how much of it, and for how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.tokens import count_request
from headworks.simulator.meter import Meter
from headworks.simulator.models import Models
from headworks.simulator.prefixes import Known, Prefixes
from headworks.testing import FakeClock
from headworks.tokenizer import Tokenizer
from tests.simulator.conftest import CONFIG

TOKENIZER = Tokenizer()
LONG = "The river carried the quiet boat. " * 200


def meter(clock=None):
    return Meter(TOKENIZER, Models(CONFIG, FakeClock()), clock)


def fields(*texts, **more):
    messages = [{"role": "user", "content": text} for text in texts]
    return {"model": "gpt-4o", "messages": messages, **more}


@given(
    first=st.lists(st.binary(max_size=80), max_size=5),
    second=st.lists(st.binary(max_size=80), max_size=5),
)
def test_no_more_is_known_than_was_seen(first, second):
    """What is known is a common beginning of both prompts, short of it by less than a block."""
    prefixes = Prefixes()
    prefixes.recall("me", first, 60)
    common = prefixes.recall("me", second, 60)

    assert second[: common.segments] == first[: common.segments]
    rest = [segments[common.segments : common.segments + 1] for segments in (first, second)]
    if rest[0] and rest[1]:
        assert rest[0][0][: common.more] == rest[1][0][: common.more]
    assert prefixes.recall("me", first, 60) == Known(len(first), 0)
    assert prefixes.recall("you", first, 60) == Known(0, 0)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.77, 0.9, 0.999])
def test_cached_tokens_are_those_of_the_common_beginning(share):
    """A prompt that differs somewhere in its text is cached up to there, in steps of 128 tokens."""
    one = meter()
    begin = LONG[: int(len(LONG) * share)]
    one.measure("chat", fields(LONG), "me")
    cached = one.measure("chat", fields(begin + " §§ " + LONG), "me").cached

    count = one.counter("gpt-4o")
    common = count_request(fields(begin), count, "chat")
    lowest = common - 12  # a block, and the tokens around it
    steps = {tokens // 128 * 128 if tokens >= 1_024 else 0 for tokens in (lowest, common)}
    assert cached in steps


def test_a_conversation_that_goes_on_is_cached_whole():
    """All earlier messages count, to the last token."""
    one = meter()
    first = one.measure("chat", fields(LONG, "Hello"), "me")
    second = one.measure("chat", fields(LONG, "Hello", "Go on"), "me")

    assert (first.cached, second.cached) == (0, first.input // 128 * 128)


def test_other_tools_keys_and_models_share_nothing():
    """The cache belongs to a key, a model, a cache key, and what stands before the messages."""
    one = meter()
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    one.measure("chat", fields(LONG), "me")

    assert one.measure("chat", fields(LONG), "you").cached == 0
    assert one.measure("chat", fields(LONG, tools=[tool]), "me").cached == 0
    assert one.measure("chat", fields(LONG, prompt_cache_key="k"), "me").cached == 0
    assert one.measure("chat", fields(LONG) | {"model": "gpt-4"}, "me").cached == 0
    assert one.measure("chat", fields(LONG, prompt_cache_key="k"), "me").cached > 1_024


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ({}, 300),
        ({"prompt_cache_retention": "in_memory"}, 300),
        ({"prompt_cache_retention": "24h"}, 86_400),
        ({"prompt_cache_options": {"ttl": "30m"}}, 1_800),
        ({"prompt_cache_options": {"ttl": "12h"}}, 43_200),
        ({"prompt_cache_options": {"ttl": 7}, "prompt_cache_retention": []}, 300),
    ],
)
def test_prompts_are_forgotten_when_nobody_uses_them(more, seconds):
    """Five minutes after the last use a prompt is new again, or as late as the request said."""
    clock = FakeClock()
    one = meter(clock)

    def cached():
        return one.measure("chat", fields(LONG, **more), "me").cached > 0

    assert not cached()
    for _ in range(3):
        clock.advance(seconds - 1)
        assert cached()
    clock.advance(seconds + 1)
    assert not cached()


def test_the_oldest_is_forgotten_first(monkeypatch):
    """Memory has an end: what was not used for longest goes."""
    monkeypatch.setattr("headworks.simulator.prefixes._MOST_BLOCKS", 4)
    prefixes = Prefixes()
    for word in (b"one", b"two", b"one", b"three", b"four", b"five"):
        prefixes.recall("me", [word], 60)

    assert prefixes.recall("me", [b"one"], 60).segments == 1
    assert prefixes.recall("me", [b"two"], 60).segments == 0
