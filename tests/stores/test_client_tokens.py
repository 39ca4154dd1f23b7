"""Client tokens of a store's keys: good for as long as all that they hang on is."""

from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from headworks.core.client_tokens import (
    Asked,
    MintingNotAllowed,
    TokenExpired,
    TokenLimits,
    TokenRevoked,
    TokenRules,
)
from headworks.core.grants import Grant
from headworks.errors import InvalidRequest, Unauthenticated
from headworks.stores.keys import ConfiguredKey, SqliteKeys
from headworks.stores.keystore import Revocation
from headworks.stores.pepper import Pepper
from headworks.types import Caller, RateLimits, Secret
from tests.stores.keyring import DAY, GRANT, PEPPER, START, Keyring

pytestmark = pytest.mark.anyio

MINTING = replace(GRANT, client_tokens=TokenRules(1800, RateLimits(10, 2)))
CONFIGURED = ConfiguredKey(replace(MINTING, name="app"), Secret("a-configured-key-0123"))
OPEN = ConfiguredKey(Grant("open", client_tokens=TokenRules()), Secret("an-open-key-01234567"))


@pytest.fixture
def keyring(tmp_path):
    """A store of keys, and gateways that read it."""
    with closing(Keyring(tmp_path / "headworks.db")) as opened:
        yield opened


def token(keys: SqliteKeys, key: Secret, **asked: Any) -> Secret:
    """Return the text of a new token for user u42."""
    return keys.mint(key, Asked(**{"user": "u42"} | asked)).text


def error(keys: SqliteKeys, text: Secret, kind: type[Unauthenticated] = TokenRevoked) -> str:
    """Return what the holder of a token is told, which is of exactly this kind."""
    with pytest.raises(Unauthenticated) as caught:
        keys.authenticate(text)
    assert type(caught.value) is kind
    return str(caught.value)


def test_a_token_is_its_key_with_less(keyring):
    """It calls under its key's name, project and limits, for its user, with limits of its own."""
    _, secret = keyring.store.create(MINTING, PEPPER)
    keys = keyring.open()
    own = keys.authenticate(secret)

    made = keys.mint(secret, Asked("u42", ("assistant",), TokenLimits(rpm=3), "5m", "chat", ("x",)))
    caller = keys.authenticate(made.text)

    assert caller.token is not None
    assert replace(caller, token=None, models=own.models) == own
    assert caller.models == frozenset({"assistant"})
    assert caller.token.limits == RateLimits(3, 2)
    assert (caller.token.user, caller.token.feature, caller.token.tags) == ("u42", "chat", ("x",))
    assert (made.claims.iat, made.claims.exp) == (START, START + 300)
    assert made.shown() == {
        "object": "client_token",
        "id": caller.token.id,
        "token": made.text.reveal(),
        "created_at": START,
        "expires_at": START + 300,
        "key": "web",
        "user": "u42",
        "models": ["assistant"],
        "limits": {"rpm": 3, "parallel": 2},
        "feature": "chat",
        "tags": ["x"],
    }
    assert made.text.reveal() not in repr(made)


def test_a_token_is_looked_at_once(keyring):
    """A second call with it costs a look into a table, and is by the same caller."""
    keys = keyring.open(CONFIGURED)
    text = token(keys, CONFIGURED.secret)

    assert keys.authenticate(text) is keys.authenticate(Secret(text.reveal()))
    assert token(keys, CONFIGURED.secret).reveal() != text.reveal()


def test_a_token_ends_in_time(keyring):
    """Until its last moment it is good, then never again, and its holder is told what to do."""
    keys = keyring.open(CONFIGURED, OPEN)
    text, long = token(keys, CONFIGURED.secret), token(keys, OPEN.secret, expires_in="1h")

    keyring.clock.advance(599.9)
    assert keys.authenticate(text)
    keyring.clock.advance(0.1)
    assert "have the app's backend mint another" in error(keys, text, TokenExpired)
    keyring.clock.advance(2999.9)
    assert keys.authenticate(long)
    keyring.clock.advance(0.1)
    error(keys, long, TokenExpired)


def test_the_tokens_of_a_key_work_at_every_gateway_with_its_pepper(keyring, tmp_path):
    """A load balancer may send them anywhere; another pepper knows none of them."""
    text = token(keyring.open(CONFIGURED), CONFIGURED.secret)
    twin, stranger = Keyring(tmp_path / "b.db", keyring.clock), Keyring(tmp_path / "c.db")
    with closing(twin), closing(stranger):
        assert twin.open(CONFIGURED).authenticate(text).name == "app"
        other = stranger.open(CONFIGURED, pepper=Pepper(b"q" * 32))
        assert "its signature does not match" in error(other, text, Unauthenticated)


@pytest.mark.parametrize("size", [16, 31])
def test_a_short_pepper_signs_nothing(keyring, size):
    """Whoever has a token could find it by trying; so there are none, and none is believed."""
    text = token(keyring.open(CONFIGURED, pepper=Pepper(b"p" * 32)), CONFIGURED.secret)
    keys = keyring.open(CONFIGURED, pepper=Pepper(b"p" * size))

    with pytest.raises(MintingNotAllowed, match="key_pepper is shorter than 32 characters"):
        token(keys, CONFIGURED.secret)
    assert "this gateway signs none" in error(keys, text, Unauthenticated)
    assert keys.authenticate(CONFIGURED.secret).name == "app"


# Who may mint.


def test_who_may_not_mint_is_told_why(keyring):
    """A key without permission, a token, a key that is none, and nobody."""
    plain = ConfiguredKey(Grant("plain"), Secret("a-plain-key-01234567"))
    keys = keyring.open(plain, CONFIGURED)

    with pytest.raises(MintingNotAllowed, match=r"key 'plain' may not mint .* set client_tokens"):
        token(keys, plain.secret)
    with pytest.raises(MintingNotAllowed, match="A client token cannot mint others"):
        token(keys, token(keys, CONFIGURED.secret))
    for nobody in (None, Secret("a-key-that-is-none-01")):
        with pytest.raises(Unauthenticated):
            keys.check_minter(nobody)
    keys.replace_configured([OPEN])
    with pytest.raises(InvalidRequest, match=r"The token would have .* name fewer models or tags"):
        token(keys, OPEN.secret, models=tuple(f"{n:0200d}" for n in range(20)))


def test_an_operator_mints_by_name(keyring):
    """The command line needs no key's secret; a key that is over mints nothing."""
    keyring.store.create(MINTING, PEPPER)
    keyring.store.create(replace(MINTING, name="gone"), PEPPER)
    keyring.store.revoke("gone")
    keys = keyring.open(CONFIGURED)

    for name in ("web", "app"):
        made = keys.mint_for(name, Asked("u1"))
        assert made is not None
        assert keys.authenticate(made.text).name == name
    assert keys.mint_for("gone", Asked("u1")) is None
    assert keys.mint_for("nobody", Asked("u1")) is None


# What ends a token.


async def test_a_token_ends_with_its_key(keyring):
    """Revoked, expired, rotated without overlap, no longer allowed to mint: at once."""
    secrets = {}
    for name in ("revoked", "rotated", "overlapping", "demoted", "expiring"):
        expires = START + 60 if name == "expiring" else None
        grant = replace(MINTING, name=name, expires=expires)
        secrets[name] = keyring.store.create(grant, PEPPER)[1]
    keys = keyring.open()
    tokens = {name: token(keys, secret) for name, secret in secrets.items()}
    for text in tokens.values():
        keys.authenticate(text)

    keyring.store.revoke("revoked")
    keyring.store.rotate("rotated", 0, PEPPER)
    keyring.store.rotate("overlapping", 60, PEPPER)
    keyring.store.change("demoted", lambda grant: replace(grant, client_tokens=None))
    await keys.refresh()

    assert "was revoked on" in error(keys, tokens["revoked"])
    assert "was replaced by a new one and ended on" in error(keys, tokens["rotated"])
    assert "may no longer mint client tokens" in error(keys, tokens["demoted"])
    assert keys.authenticate(tokens["overlapping"]).name == "overlapping"
    assert keys.authenticate(tokens["expiring"]).name == "expiring"
    keyring.clock.advance(60)
    error(keys, tokens["overlapping"])
    assert "expired on" in error(keys, tokens["expiring"])


def test_a_token_ends_with_the_secret_that_the_configuration_spells_out(keyring):
    """A new secret for a configured key ends the tokens of the old one, as does its removal."""
    keys = keyring.open(CONFIGURED)
    text = token(keys, CONFIGURED.secret)

    keys.replace_configured([ConfiguredKey(CONFIGURED.grant, Secret("another-secret-0123456"))])
    assert "no longer known" in error(keys, text)
    keys.replace_configured([CONFIGURED])
    assert keys.authenticate(text).name == "app"
    keys.replace_configured([])
    error(keys, text)


def test_a_token_loses_what_its_key_loses(keyring):
    """Models, limits and lifetimes that the configuration takes back are gone at the next call."""
    keys = keyring.open(CONFIGURED)
    text = token(keys, CONFIGURED.secret, models=("assistant",), limits=TokenLimits(rpm=9))

    def changed(**changes: Any) -> Caller:
        grant = replace(CONFIGURED.grant, **changes)
        keys.replace_configured([ConfiguredKey(grant, CONFIGURED.secret)])
        caller: Caller = keys.authenticate(text)
        return caller

    found = changed(client_tokens=TokenRules(1800, RateLimits(4))).token
    assert found is not None
    assert found.limits == RateLimits(4)
    assert changed(models=None).models == frozenset({"assistant"})
    with pytest.raises(TokenRevoked, match="may no longer use any model"):
        changed(models=frozenset({"x"}))
    keyring.clock.advance(300)
    with pytest.raises(TokenExpired):
        changed(client_tokens=TokenRules(300))


async def test_tokens_are_revoked_by_user_and_by_key(keyring):
    """What was minted until then ends; what is minted afterwards works, as do other users."""
    keys = keyring.open(CONFIGURED, OPEN)

    def minted() -> dict[tuple[str, str], Secret]:
        return {
            (user, key.grant.name): token(keys, key.secret, user=user)
            for user in ("u1", "u2", "u3")
            for key in (CONFIGURED, OPEN)
        }

    def working(tokens: dict[tuple[str, str], Secret]) -> set[tuple[str, str]]:
        found = set()
        for who, text in tokens.items():
            try:
                keys.authenticate(text)
            except TokenRevoked:
                continue
            found.add(who)
        return found

    before = minted()
    assert working(before) == set(before)
    keyring.clock.advance(1)
    keyring.store.revoke_tokens(user="u1")
    keyring.store.revoke_tokens(user="u2", key="open")
    keyring.clock.advance(1)
    between = minted()
    await keys.refresh()
    left = {("u2", "app"), ("u3", "app"), ("u3", "open")}
    assert working(before) == left
    assert working(between) == set(between)

    keyring.store.revoke_tokens(key="app")
    await keys.refresh()
    assert working(before) == {("u3", "open")}
    assert working(between) == {one for one in between if one[1] == "open"}
    keys.close()
    assert working(before) == {("u3", "open")}
    again = keyring.open(CONFIGURED, OPEN)
    error(again, before["u1", "open"])
    assert again.authenticate(before["u3", "open"]).name == "open"


async def test_a_revocation_is_followed_within_a_second(keyring):
    """A gateway that runs looks four times a second, and takes over what it finds."""
    keys = keyring.open(CONFIGURED)
    text = token(keys, CONFIGURED.secret)
    keyring.store.create(Grant("any"), PEPPER)
    await keys.refresh()
    assert keys.authenticate(text)

    keyring.clock.advance(0.1)
    keyring.store.revoke_tokens(user="u42")
    await keys.refresh()

    error(keys, text)
    assert keys.statistics().stored == 1


def test_revocations_are_listed_and_forgotten(keyring):
    """The latest of each counts; after a day no token is left that it could concern."""
    store = keyring.store
    assert store.revocations() == ()
    store.revoke_tokens(user="u1")
    keyring.clock.advance(5)
    store.revoke_tokens(key="web")
    keyring.clock.advance(5)
    store.revoke_tokens(user="u1")

    assert store.revocations() == (
        Revocation("", "web", START + 5),
        Revocation("u1", "", START + 10),
    )
    keyring.clock.advance(DAY)
    store.revoke_tokens(user="u2")
    assert store.revocations() == (
        Revocation("u1", "", START + 10),
        Revocation("u2", "", START + 10 + DAY),
    )
