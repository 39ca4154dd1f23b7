"""Whatever a provider says of usage: the row has the exact sum, or a flagged estimate above it."""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import pytest

from headworks.core.pricing import Price, Rates
from headworks.stores.verify import verify
from headworks.testing import FakeResponse
from tests.stores.books import Book, open_ledger
from tests.world import World

pytestmark = pytest.mark.anyio

NANO = 10**6
TIERS = {
    "default": Rates(2000 * NANO, 10_000 * NANO, 1000 * NANO, 3000 * NANO, 4000 * NANO),
    "flex": Rates(1000 * NANO, 5000 * NANO, 500 * NANO, 1500 * NANO, 2000 * NANO),
    "priority": Rates(4000 * NANO, 20_000 * NANO, 2000 * NANO, 6000 * NANO, 8000 * NANO),
    "batch": Rates(1000 * NANO, 5000 * NANO, 500 * NANO, 1500 * NANO, 2000 * NANO),
}
PRICE = Price(TIERS)
COUNTED = 10 * 2000 + 6 * 10_000
"""What our own count comes to: ten tokens in, and the six characters of the answer."""


def chat(whole: Any = 30, output: Any = 4, **more: Any) -> dict[str, Any]:
    """Return a usage in the words of chat completions."""
    is_plain = all(type(count) is int and 0 <= count < 10**9 for count in (whole, output))
    total = whole + output if is_plain else 0
    return {"prompt_tokens": whole, "completion_tokens": output, "total_tokens": total} | more


@dataclass(frozen=True)
class Case:
    id: str
    usage: Any
    cost: int
    odd: str = ""
    tier: Any = "default"
    certainty: str = "exact"


def estimated(id_: str, usage: Any, odd: str, cost: int = COUNTED) -> Case:
    return Case(id_, usage, cost, odd, certainty="estimated")


def details(**counts: Any) -> dict[str, Any]:
    return {"prompt_tokens_details": counts}


def thoughts(**counts: Any) -> dict[str, Any]:
    return {"completion_tokens_details": counts}


CASES = [
    Case("plain", chat(), 30 * 2000 + 4 * 10_000),
    Case("cached", chat(**details(cached_tokens=20)), 10 * 2000 + 20 * 1000 + 40_000),
    Case("all cached", chat(**details(cached_tokens=30)), 30 * 1000 + 40_000),
    Case(
        "cache writes",
        chat(**details(cached_tokens=10, cache_write_tokens=15)),
        5 * 2000 + 10 * 1000 + 15 * 3000 + 40_000,
    ),
    Case(
        "long cache writes",
        chat(**details(cache_write_tokens=15, cache_write_tokens_details={"ttl_12h_tokens": 5})),
        15 * 2000 + 10 * 3000 + 5 * 4000 + 40_000,
    ),
    Case("reasoning", chat(**thoughts(reasoning_tokens=3)), 100_000),
    Case("rejected predictions", chat(**thoughts(rejected_prediction_tokens=3)), 100_000),
    Case("sound at one rate", chat(**details(audio_tokens=7)), 100_000),
    Case("pictures at one rate", chat(**details(image_tokens=7)), 100_000),
    Case("explicit zeros", chat(0, 0), 0),
    Case("no output", chat(30, 0), 60_000),
    Case("flex", chat(), 50_000, tier="flex"),
    Case("priority", chat(), 200_000, tier="priority"),
    Case("fast is priority", chat(), 200_000, tier="fast"),
    Case("batch", chat(), 50_000, tier="batch"),
    Case("auto", chat(), 100_000, tier="auto"),
    Case("no tier", chat(), 100_000, tier=None),
    Case("a tier without a price", chat(), 200_000, "tier_without_price", tier="scale"),
    Case("flex and cached", chat(**details(cached_tokens=20)), 40_000, tier="flex"),
    estimated("missing", ..., ""),
    estimated("null", None, ""),
    estimated("empty", {}, ""),
    estimated("a text", "4", ""),
    estimated("negative", chat(-1, -4), "input_implausible output_implausible"),
    estimated(
        "negative output", chat(30, -4), "output_implausible", 30 * 2000 + 6 * 10_000
    ),
    estimated("huge", chat(2 * 10**9, 4), "input_implausible"),
    estimated("beyond 64 bits", chat(10**30, 10**30), "input_implausible output_implausible"),
    estimated(
        "numbers as text", chat("30", "4"), "input_not_integer output_not_integer",
        30 * 2000 + 6 * 10_000,
    ),
    estimated("words", chat("30 tokens", 4), "input_not_integer input_implausible"),
    estimated("fractions", chat(29.5, 8), "input_not_integer", 30 * 2000 + 8 * 10_000),
    estimated("true", chat(prompt_tokens=True, total_tokens=0), "input_not_integer"),
    estimated("a list", chat([30], 4), "input_not_integer input_implausible"),
    estimated(
        "more cached than input", chat(**details(cached_tokens=31)), "cached_exceeds_input",
        30 * 2000 + 6 * 10_000,
    ),
    estimated(
        "negative cached", chat(**details(cached_tokens=-5)), "cached_implausible",
        30 * 2000 + 6 * 10_000,
    ),
    estimated(
        "cached as text", chat(**details(cached_tokens="20")), "cached_not_integer",
        30 * 2000 + 6 * 10_000,
    ),
    estimated(
        "details of another shape", chat(prompt_tokens_details=[1]),
        "prompt_tokens_details_malformed", 30 * 2000 + 6 * 10_000,
    ),
    estimated(
        "more reasoning than output", chat(**thoughts(reasoning_tokens=9)),
        "reasoning_exceeds_output", 30 * 2000 + 9 * 10_000,
    ),
    estimated(
        "a total above its parts", chat(total_tokens=50), "total_exceeds_parts",
        30 * 2000 + 20 * 10_000,
    ),
]  # fmt: skip


def whole_chat(case: Case) -> bytes:
    message = {"role": "assistant", "content": "Hello!"}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return json.dumps(_with_usage({"id": "c", "object": "chat.completion", "choices": choices}, case)).encode()  # fmt: skip


def streamed_chat(case: Case) -> list[bytes]:
    deltas = [({"role": "assistant", "content": "Hel"}, None), ({"content": "lo!"}, None), ({}, "stop")]  # fmt: skip
    chunks = [
        {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}], "service_tier": case.tier}
        for delta, reason in deltas
    ]  # fmt: skip
    last = _with_usage({"choices": []}, case)
    sent = [*chunks, *([last] if "usage" in last else [])]
    return [*(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in sent), b"data: [DONE]\n\n"]


def response(case: Case) -> dict[str, Any]:
    content = [{"type": "output_text", "text": "Hello!"}]
    output = [{"type": "message", "role": "assistant", "content": content}]
    return _with_usage({"id": "resp_1", "status": "completed", "output": output}, case)


def whole_response(case: Case) -> bytes:
    return json.dumps(response(case)).encode()


def streamed_response(case: Case) -> list[bytes]:
    events = [
        {"type": "response.output_text.delta", "delta": "Hello!"},
        {"type": "response.completed", "response": response(case)},
    ]
    return [b"data: %b\n\n" % json.dumps(event).encode() for event in events]


def _with_usage(answer: dict[str, Any], case: Case) -> dict[str, Any]:
    used = {} if case.usage is ... else {"usage": case.usage}
    return answer | {"service_tier": case.tier} | used


_RENAMED = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "prompt_tokens_details": "input_tokens_details",
    "completion_tokens_details": "output_tokens_details",
}


def in_responses(case: Case) -> Case:
    """Return the case in the words of the Responses API."""
    usage = case.usage
    if isinstance(usage, Mapping):
        usage = {_RENAMED.get(name, name): value for name, value in usage.items()}
    odd = case.odd.replace("prompt_tokens_details", "input_tokens_details")
    return replace(case, usage=usage, odd=odd)


async def booked(tmp_path, path, body, content):
    """Make a call; return its row's cost, certainty and anomalies."""
    ledger = open_ledger(tmp_path / "l.db")
    ledger.prices = Book({"big": PRICE})
    world = World()
    world.engine = replace(world.engine, dispatcher=replace(world.engine.dispatcher, ledger=ledger))
    world.upstream.script = [FakeResponse(content)]
    with closing(ledger):
        async with world.client("gateway") as client:
            answer = await client.post(path, json={"model": "m"} | body)
    assert answer.status_code == 200
    with closing(sqlite3.connect(ledger.path)) as db:
        (row,) = db.execute("SELECT cost_nano, certainty, coalesce(anomalies, '') FROM attempts")
    assert verify(ledger.path).is_sound
    return row


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_chat_completions(tmp_path, case, stream):
    """Chat completions: every report is booked to the nano-dollar, or counted and flagged."""
    content = streamed_chat(case) if stream else whole_chat(case)
    body = {"messages": [], "stream": stream}

    row = await booked(tmp_path, "/v1/chat/completions", body, content)

    assert row == (case.cost, case.certainty, case.odd)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", [in_responses(one) for one in CASES], ids=lambda case: case.id)
async def test_responses(tmp_path, case, stream):
    """Responses: the same reports in their own words come to the same money."""
    content = streamed_response(case) if stream else whole_response(case)

    row = await booked(tmp_path, "/v1/responses", {"input": "", "stream": stream}, content)

    assert row == (case.cost, case.certainty, case.odd)


@pytest.mark.parametrize("field", ["background", "deferred"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_what_runs_on_at_the_provider_is_booked_as_estimated(tmp_path, stream, field):
    """Its answer says nothing of usage, and whoever reads it later is not billed: so it is now."""
    queued: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "status": "queued",
        "usage": None,
        "output": [],
    }
    begun = {"type": "response.created", "sequence_number": 0, "response": queued}
    word = {"type": "response.output_text.delta", "sequence_number": 1, "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": "Hi"}  # fmt: skip
    events = [
        f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in (begun, word)
    ]
    content = events if stream else json.dumps(queued).encode()
    body = {"input": "", "stream": stream, field: True}

    row = await booked(tmp_path, "/v1/responses", body, content)

    assert row == (10 * 2000 + 100 * 10_000, "unknown", "")
