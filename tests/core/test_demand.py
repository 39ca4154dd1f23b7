"""What a call asks of a provider's limits is counted as the provider counts it."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from headworks.core.demand import Demand
from headworks.core.tokens import guess
from headworks.simulator.charge import charge
from headworks.types import Request, Usage

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
TEXT = "word " * 400


def asked(path: str, fields: dict[str, Any]) -> Demand:
    content = json.dumps(fields).encode()
    return Demand(Request("POST", path, content=content, fields=fields), Usage(guess(len(content))))


@dataclass(frozen=True)
class Case:
    """A request; what it is charged by the practice provider is not much less than is expected."""

    path: str
    fields: dict[str, Any] = field(default_factory=dict[str, Any])


@pytest.mark.parametrize(
    "case",
    [
        Case(CHAT, {"messages": [{"role": "user", "content": TEXT}]}),
        Case(CHAT, {"messages": [{"role": "user", "content": TEXT}], "max_tokens": 300}),
        Case(CHAT, {"messages": [{"role": "user", "content": TEXT}], "max_completion_tokens": 9}),
        Case(RESPONSES, {"input": TEXT}),
        Case(RESPONSES, {"input": TEXT, "tools": [{"type": "function", "name": "f"}]}),
        Case("/v1/embeddings", {"input": [TEXT, TEXT]}),
        Case("/v1/completions", {"prompt": TEXT}),
    ],
)
def test_the_guess_is_near_what_is_charged(case):
    """A little more than the provider charges, so that the first calls are not refused."""
    found = asked(case.path, case.fields)
    charged = charge(case.path, case.fields, guess(len(TEXT)), "2024")
    assert charged is not None
    assert charged.tokens * 0.95 <= found.tokens <= charged.tokens * 1.2 + 20


def test_what_is_attached_is_not_charged_as_text():
    """A picture in a megabyte of letters is some hundred tokens."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10**6}}
    found = asked(CHAT, {"messages": [{"role": "user", "content": [picture]}]})
    assert 50 < found.tokens < 3000


def test_what_is_not_charged_by_its_text_takes_one_request_alone():
    """Lists, uploads and pictures take no tokens that could be told from here."""
    assert asked("/v1/files", {}).tokens == 0
