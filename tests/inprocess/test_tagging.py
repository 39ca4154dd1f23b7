"""The promises of `tagged`."""

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest

from headworks.types import Tags
from tests.inprocess.conftest import MESSAGES


def ask(hw, **options: Any) -> None:
    hw.openai().chat.completions.create(model="m", messages=MESSAGES, **options)


def tags_of(world) -> list[Tags]:
    return [call.request.tags for call in world.journal.calls]


def test_a_call_inside_the_block_is_tagged(chat, world):
    """Calls inside the block carry its tags into the ledger's reports; calls after it do not."""
    with chat.hw.tagged(
        feature="søk", user="u42", session="s1", tags=["beta", "eu"], priority="background"
    ):
        chat.ask()
    chat.ask()

    assert tags_of(world) == [Tags("søk", "u42", "s1", ("beta", "eu"), "background"), Tags()]


def test_inner_values_lie_over_outer_ones(hw, world):
    """A nested block changes what it names and keeps the rest."""
    with hw.tagged(feature="search", user="u1"):
        with hw.tagged(user="u2"):
            ask(hw)
        ask(hw)

    assert tags_of(world) == [Tags("search", "u2"), Tags("search", "u1")]


def test_a_requests_own_headers_come_first(hw, world):
    """What a single request says about itself is not overwritten."""
    with hw.tagged(feature="search", user="u1"):
        ask(hw, extra_headers={"X-Headworks-Feature": "own"})

    assert tags_of(world) == [Tags("own", "u1")]


def test_threads_do_not_mix(hw, world):
    """Each thread has its own tags."""
    both = threading.Barrier(2, timeout=10)

    def work(user: str) -> None:
        with hw.tagged(user=user):
            both.wait()
            ask(hw)

    threads = [threading.Thread(target=work, args=(user,)) for user in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {tags.user for tags in tags_of(world)} == {"a", "b"}


def test_tasks_inherit_and_do_not_mix(hw, world):
    """Tasks started inside a block have its tags; what they lay over stays theirs."""
    client = hw.async_openai()

    async def work(user: str) -> None:
        with hw.tagged(user=user):
            await asyncio.sleep(0)
            await client.chat.completions.create(model="m", messages=MESSAGES)

    async def main() -> None:
        with hw.tagged(feature="search"):
            await asyncio.gather(work("a"), work("b"))

    asyncio.run(main())

    assert {(tags.feature, tags.user) for tags in tags_of(world)} == {
        ("search", "a"),
        ("search", "b"),
    }


def test_two_engines_do_not_share_tags(hw, world):
    """Tags belong to the Headworks that they were said to."""
    with world.headworks() as other, other.tagged(user="u1"):
        ask(hw)

    assert tags_of(world) == [Tags()]


@dataclass(frozen=True)
class Case:
    id: str
    message: str
    tags: dict[str, Any] = field(default_factory=dict)


CASES = [
    Case("a line break", "feature must be printable", {"feature": "a\r\nx-other: b"}),
    Case("a comma", "cannot contain a comma", {"tags": ["a,b"]}),
    Case("a text for a list", "must be a list", {"tags": "beta"}),
    Case("a priority that is none", "must be one of", {"priority": "urgent"}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_cannot_be_a_tag_is_refused(hw, case):
    """A value that would change other header fields, or mean nothing, is an error at once."""
    block = hw.tagged(**case.tags)

    with pytest.raises(ValueError, match=case.message):
        block.__enter__()
