"""Who gets in, who does not, and what they are told."""

import hmac
import inspect
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.grants import Grant
from headworks.core.keys import mint
from headworks.errors import ConfigurationError, Unauthenticated
from headworks.stores.keys import ConfiguredKey, SqliteKeys
from headworks.stores.keystore import KeyStore
from headworks.testing import FakeClock
from headworks.types import RateLimits, Secret
from tests.stores.keyring import DAY, GOOD, GRANT, PEPPER, START, Keyring, refusal


@pytest.fixture
def keyring(tmp_path):
    """A store of keys, and gateways that read it."""
    with closing(Keyring(tmp_path / "headworks.db")) as opened:
        yield opened


def test_a_key_gets_in_with_what_it_was_granted(keyring):
    """A created key opens the door, and brings its project, models and limits along."""
    record, secret = keyring.store.create(GRANT, PEPPER)

    caller = keyring.open().authenticate(secret)

    assert (caller.name, caller.key_id, caller.project) == ("web", record.id, "shop")
    assert (caller.models, caller.limits) == (GRANT.models, RateLimits(60, 8))


def test_a_key_without_limits_has_none(keyring):
    """What was not said at creation is not restricted."""
    _, secret = keyring.store.create(Grant("free"), PEPPER)
    _, narrow = keyring.store.create(Grant("none", models=frozenset()), PEPPER)
    keys = keyring.open()

    assert keys.authenticate(secret).models is None
    assert keys.authenticate(secret).limits == RateLimits()
    assert keys.authenticate(narrow).models == frozenset()


@dataclass(frozen=True)
class Case:
    id: str
    key: str | None
    told: str


CASES = [
    Case("nothing sent", None, "You didn't provide an API key. Send it as 'Authorization: Bearer hw_…'."),
    Case("nothing in it", "", "You didn't provide an API key. Send it as 'Authorization: Bearer hw_…'."),
    Case("unknown", GOOD, f"Incorrect API key provided: hw_{GOOD[3:6]}…{GOOD[9:13]} (no such key)."),
    Case("cut", GOOD[:-1], f"Incorrect API key provided: hw_{GOOD[3:6]}…{GOOD[9:13]} (malformed: checksum does not match, was it cut?)."),
    Case("short", "hw_", "Incorrect API key provided: hw_… (malformed: checksum does not match, was it cut?)."),
    Case("a provider's key", "sk-proj-abcdefghijklmnop", "Incorrect API key provided: *** (it looks like a provider's key, but this gateway issues its own)."),
    Case("a password", "correct horse battery staple", "Incorrect API key provided: *** (no such key)."),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_refusal_says_what_is_wrong_and_shows_no_secret(keyring, case):
    """Each way of having no valid key has its own words, in OpenAI's shape."""
    keys = keyring.open()

    assert refusal(keys, case.key) == case.told
    with pytest.raises(Unauthenticated) as caught:
        keys.authenticate(None if case.key is None else Secret(case.key))
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")


def test_a_wrong_secret_for_a_known_id_is_just_unknown(keyring):
    """Nobody learns from the words whether an id exists."""
    minted = KeyStore(keyring.path, keyring.clock.time, entropy=bytes)
    record, _ = minted.create(GRANT, PEPPER)
    guess = mint(bytes(39) + b"\1")
    assert guess.id == record.id

    told = refusal(keyring.open(), guess.secret)

    assert told == f"Incorrect API key provided: hw_{record.id[:3]}…{record.id[-4:]} (no such key)."


@given(st.text())
def test_no_text_gets_in(text):
    """Whatever is sent as a key, the answer is 401."""
    keys = SqliteKeys(Path("/nonexistent/none.db"), PEPPER, FakeClock())

    assert refusal(keys, text)


def test_an_unknown_id_costs_the_same_steps_as_a_known_one(keyring, monkeypatch):
    """One hash and one comparison in constant time, whether the id exists or not."""
    record, secret = keyring.store.create(GRANT, PEPPER)
    keys = keyring.open()
    compared: list[tuple[int, int]] = []
    genuine = hmac.compare_digest

    def spy(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return genuine(one, other)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    keys.authenticate(secret)
    refusal(keys, GOOD)
    refusal(keys, f"hw_{record.id}_{GOOD[14:]}")
    refusal(keys, "correct horse battery staple")

    assert compared == [(32, 32)] * 4
    assert "==" not in inspect.getsource(SqliteKeys.authenticate)


def test_an_expired_key_is_refused_from_that_moment(keyring):
    """Expiry needs no poll and no restart: the clock is asked at each call."""
    _, secret = keyring.store.create(Grant("web", expires=START + DAY), PEPPER)
    keys = keyring.open()
    keyring.clock.advance(DAY - 0.5)
    assert keys.authenticate(secret).name == "web"

    keyring.clock.advance(0.5)

    assert refusal(keys, secret).endswith(") expired on 2027-01-16 08:00 UTC.")
    assert secret.reveal() not in refusal(keys, secret)


def configured(name: str, secret: str, **more) -> ConfiguredKey:
    return ConfiguredKey(Grant(name, **more), Secret(secret))


def test_a_configured_key_may_be_any_text(keyring):
    """An operator's own secret of 16 characters works, and expires like any other."""
    keys = keyring.open(
        configured("app", "correct horse battery staple", project="shop"),
        configured("own", GOOD),
        configured("brief", "sixteen letters!", expires=START + 1),
    )

    assert keys.authenticate(Secret("correct horse battery staple")).key_id == "cfg_app"
    assert keys.authenticate(Secret(GOOD)).name == "own"
    keyring.clock.advance(1)
    assert "expired on" in refusal(keys, "sixteen letters!")
    assert refusal(keys, "sixteen letters")


def test_configured_keys_are_replaced_at_once_or_not_at_all(keyring):
    """A reload that cannot stand leaves the keys of before."""
    keys = keyring.open(configured("a", "a" * 16))
    keys.replace_configured([configured("b", "b" * 16)])
    assert refusal(keys, "a" * 16)

    with pytest.raises(ConfigurationError) as caught:
        keys.replace_configured(
            [
                configured("c", "short"),
                configured("d", "d" * 16),
                configured("e", "d" * 16),
            ]
        )

    assert caught.value.problems == (
        "key 'c': the secret must have at least 16 characters",
        "keys 'd' and 'e' have the same secret",
    )
    assert keys.authenticate(Secret("b" * 16)).name == "b"
    assert (keys.statistics().stored, keys.statistics().configured) == (0, 1)
