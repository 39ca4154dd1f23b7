"""The guide's programs do what the guide says."""

from pathlib import Path

import pytest

from tests.aggregation.asking import streamed, whole
from tests.aggregation.cases import CHATS, RESPONDED
from tests.aggregation.clients import client
from tests.shape.tree import blocks

GUIDE = Path("docs/guides/streaming-aggregate.md")


@pytest.mark.parametrize(("number", "case"), [(0, CHATS[0]), (1, RESPONDED[0])])
def test_a_program_of_the_guide_shows_words_and_usage(number, case, capsys):
    """As it stands, with an official client."""
    program = blocks(GUIDE, "python")[number]
    exec(compile(program, str(GUIDE), "exec"), {"client": client(streamed(case))})  # noqa: S102 - our own guide

    answer = whole(case)
    message = answer["choices"][0]["message"] if number == 0 else answer["output"][0]["content"][0]
    shown = capsys.readouterr().out
    assert (message.get("content") or message.get("text")) in shown
    assert str(answer["usage"]["total_tokens"]) in shown
