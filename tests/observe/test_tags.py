"""A secret in a tag is masked before anything remembers it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.build import Assembly
from headworks.config.loading import load
from headworks.core.intake import read_request
from headworks.core.keys import RANDOM_BYTES, mint
from headworks.errors import CallError
from headworks.observe.log import Redaction
from headworks.observe.tags import TagRedaction
from headworks.testing import RecordingJournal
from headworks.types import Request, Secret, Tags

pytestmark = pytest.mark.anyio

CONFIGURED = "configured-key-0123456789"
OURS = Secret("sk-provider-0123456789")
STORED = mint(bytes(range(RANDOM_BYTES))).secret.reveal()
OTHER = mint(bytes(range(1, RANDOM_BYTES + 1))).secret.reveal()
MASKED = "hw_" + STORED[3:6] + "…" + STORED[9:13]


@dataclass(frozen=True)
class Case:
    name: str
    user: str
    shown: str
    key: str | None = None


CASES = [
    Case("a configured key", CONFIGURED, "***"),
    Case("a provider's key in a longer text", f"u-{OURS.reveal()}-9", "u-***-9"),
    Case("the caller's own key", STORED, MASKED, STORED),
    Case("somebody else's virtual key", f"user {STORED}!", f"user {MASKED}!", OTHER),
    Case("a virtual key that was cut", STORED[:40], MASKED),
    Case("a key that nobody issued, shown to us", "my-own-long-password", "***", "my-own-long-password"),
    Case("a short word that is the key as well", "anna", "anna", "ann"),
    Case("a user", "user-4711", "user-4711"),
    Case("a long user", "3f1c5b0a-6d8e-4a57-9f5e-1d2c3b4a5968", "3f1c5b0a-6d8e-4a57-9f5e-1d2c3b4a5968"),
    Case("what only begins like ours", "hw_user_1", "hw_user_1"),
]  # fmt: skip


@pytest.fixture
def redact():
    return TagRedaction(Redaction([Secret(CONFIGURED), OURS])).redact


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("place", ["user", "feature", "session", "tags"])
def test_no_secret_stays_in_a_tag(redact, case: Case, place: str):
    """Ours, the caller's own and other callers' keys are masked; everything else stays."""
    key = None if case.key is None else Secret(case.key)

    clean = redact(Request("POST", "/v1/x", tags=tagged(place, case.user)), key)

    assert clean.tags == tagged(place, case.shown)


def tagged(place: str, value: str) -> Tags:
    values: dict[str, Any] = {place: (value,) if place == "tags" else value}
    return Tags(**values)


def test_what_is_clean_passes_as_it_is(redact):
    """A request without a secret in its tags is not even copied."""
    for tags in (Tags(), Tags("search", "user-1", "s", ("a", "b"))):
        clean = Request("POST", "/v1/x", tags=tags)
        assert redact(clean, Secret(STORED)) is clean


@given(
    st.lists(st.text("abcd0-", min_size=4, max_size=12), max_size=6), st.text("abcd0-", max_size=40)
)
def test_the_quick_look_misses_nothing(secrets: list[str], text: str):
    """Looking for the beginnings of secrets finds whatever looking for each of them finds."""
    redaction = Redaction(map(Secret, secrets))
    assert redaction.word(text) == redaction.apply(text)


@asynccontextmanager
async def assembly(folder: Path) -> AsyncIterator[tuple[Assembly, RecordingJournal]]:
    document = {
        "store": f"sqlite:{folder}/books.db",
        "upstreams": {
            "up": {
                "base_url": "http://127.0.0.1:1/v1",
                "credentials": [{"name": "main", "api_key": OURS.reveal()}],
            }
        },
        "models": {"m": {"routes": ["up/gpt-6-sol"]}},
        "keys": [{"name": "app", "secret": CONFIGURED}],
        "retry": {"attempts": 1},
    }
    content = json.dumps(document).encode()
    journal = RecordingJournal()
    config = load(Path("headworks.yaml"), {}, lambda _: content)
    built = Assembly(config, journals=(journal,))
    try:
        yield built, journal
    finally:
        await built.aclose()


async def test_no_file_ever_holds_a_key_in_a_tag(tmp_path):
    """Neither the ledger's file, nor what the journals get, knows the secrets that tags held."""
    secrets = (CONFIGURED, OURS.reveal(), STORED)
    fields = [
        (b"content-type", b"application/json"),
        *(
            (f"x-headworks-{name}".encode(), secret.encode())
            for name, secret in zip(("user", "feature", "session"), secrets, strict=True)
        ),
        (b"x-headworks-tags", ",".join(("beta", *secrets)).encode()),
    ]
    body = json.dumps({"model": "m", "messages": []}).encode()
    async with assembly(tmp_path) as (built, journal):
        made = read_request("POST", "/v1/chat/completions", b"", fields, body)
        with pytest.raises(CallError):
            async with built.engine.call(made, Secret(CONFIGURED)):
                pass
        (call,) = journal.calls
        assert built.ledger.statistics().rows == 1

    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir()) + repr(call).encode()
    assert b"beta" in kept
    for secret in secrets:
        assert secret.encode() not in kept
        assert secret[5:].encode() not in kept
