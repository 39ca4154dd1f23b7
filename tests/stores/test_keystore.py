"""The life of a key: made, rotated, revoked; and what a store refuses to do."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, fields, replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from headworks.core.budget import Budget
from headworks.core.client_tokens import TokenRules
from headworks.core.grants import Grant
from headworks.core.keys import mint
from headworks.errors import ConfigurationError
from headworks.stores import schema
from headworks.stores.keystore import KeyRefused, KeyStore
from headworks.stores.pepper import Pepper
from headworks.stores.schema import open_store
from headworks.testing import FakeClock
from headworks.types import Buffering, RateLimits
from tests.stores.keyring import DAY, GRANT, PEPPER, START, Keyring, refusal

pytestmark = pytest.mark.anyio


@pytest.fixture
def keyring(tmp_path):
    """A store of keys, and gateways that read it."""
    with closing(Keyring(tmp_path / "headworks.db")) as opened:
        yield opened


def test_secrets_are_nowhere_in_the_store(keyring):
    """Whoever copies the files finds neither a key nor the pepper."""
    _, secret = keyring.store.create(GRANT, PEPPER)
    files = b"".join(file.read_bytes() for file in keyring.path.parent.iterdir())

    assert secret.reveal().encode() not in files
    assert secret.reveal()[14:].encode() not in files
    assert b"p" * 32 not in files
    assert keyring.path.stat().st_mode & 0o777 == 0o600


async def test_rotation_overlaps_and_then_ends(keyring):
    """Both secrets work during the overlap and share one limit; then only the new one does."""
    record, old = keyring.store.create(GRANT, PEPPER)
    keys = keyring.open()
    fresh, new = keyring.store.rotate("web", DAY, PEPPER)
    await keys.refresh()

    assert fresh.id != record.id
    assert keys.authenticate(old) == keys.authenticate(new)
    assert keys.authenticate(new).key_id == record.id
    assert {r.status(keyring.clock.time()) for r in keyring.store.list()} == {"replaced", "active"}

    keyring.clock.advance(DAY)
    assert keys.authenticate(new).name == "web"
    assert "was replaced by a new one and ended on" in refusal(keys, old)


def test_rotating_without_overlap_ends_every_older_secret(keyring):
    """After a leak, one command leaves the newest secret as the only one."""
    secrets = [keyring.store.create(GRANT, PEPPER)[1]]
    secrets.append(keyring.store.rotate("web", DAY, PEPPER)[1])
    secrets.append(keyring.store.rotate("web", 0, PEPPER)[1])
    keys = keyring.open()

    assert keys.authenticate(secrets[2])
    assert all("ended on" in refusal(keys, secret) for secret in secrets[:2])


def test_rotation_never_lengthens_a_life(keyring):
    """An overlap beyond a key's own end does not keep it alive, nor its successor."""
    _, old = keyring.store.create(Grant("web", expires=START + 60), PEPPER)
    _, new = keyring.store.rotate("web", DAY, PEPPER)
    keys = keyring.open()
    keyring.clock.advance(60)

    assert {record.status(keyring.clock.time()) for record in keyring.store.list()} == {"expired"}
    assert "ended on" in refusal(keys, old)
    assert "expired on" in refusal(keys, new)


def test_revoking_by_name_ends_all_and_by_id_ends_one(keyring):
    """An emergency stop by name leaves no overlapping secret; an id is exactly that secret."""
    first, old = keyring.store.create(GRANT, PEPPER)
    _, new = keyring.store.rotate("web", DAY, PEPPER)
    assert [record.id for record in keyring.store.revoke(first.id)] == [first.id]
    keys = keyring.open()
    assert "was revoked" in refusal(keys, old)
    assert keys.authenticate(new)

    assert len(keyring.store.revoke("web")) == 1
    assert keyring.store.revoke("web") == ()
    assert "was revoked" in refusal(keyring.open(), new)


def test_a_revoked_name_is_free_again(keyring):
    """After a revocation the name can be given to another key, which is another one."""
    first, old = keyring.store.create(GRANT, PEPPER)
    keyring.store.revoke("web")
    second, new = keyring.store.create(GRANT, PEPPER)
    keys = keyring.open()

    assert first.id != second.id
    assert keys.authenticate(new).key_id == second.id
    assert "was revoked" in refusal(keys, old)


def test_a_revoked_key_stays_out_when_the_clock_is_set_back(keyring):
    """A revocation is final, whatever the wall clock does afterwards."""
    _, secret = keyring.store.create(GRANT, PEPPER)
    keyring.store.revoke("web")
    keyring.clock.advance(-10 * DAY)

    assert "was revoked" in refusal(keyring.open(), secret)


def same(grant: Grant) -> Grant:
    return grant


@dataclass(frozen=True)
class Refused:
    id: str
    act: Callable[[KeyStore, str], object]
    told: str


REFUSED = [
    Refused("name taken", lambda s, _: s.create(GRANT, PEPPER), "a key named 'web' exists"),
    Refused("bad name", lambda s, _: s.create(Grant("a b"), PEPPER), "'a b' cannot be a name"),
    Refused("unprintable", lambda s, _: s.create(Grant("a", "\x1b"), PEPPER), "must be printable"),
    Refused("over", lambda s, _: s.create(Grant("a", expires=START), PEPPER), "expired already"),
    Refused("unknown", lambda s, _: s.rotate("x", 0, PEPPER), "no key has the name or id 'x'"),
    Refused("unknown to revoke", lambda s, _: s.revoke("x"), "no key has the name or id 'x'"),
    Refused("backwards", lambda s, _: s.rotate("web", -1, PEPPER), "must not be negative"),
    Refused("revoked", lambda s, _: s.rotate("gone", 0, PEPPER), "is revoked: create a new one"),
    Refused("replaced", lambda s, old: s.rotate(old, 0, PEPPER), "was replaced already, by"),
    Refused("another name", lambda s, _: s.change("web", lambda g: replace(g, name="app")), "a key keeps its name"),
    Refused("unknown to change", lambda s, _: s.change("x", same), "no key has the name or id 'x'"),
    Refused("revoked to change", lambda s, _: s.change("gone", same), "is revoked: create a new one"),
    Refused("replaced to change", lambda s, old: s.change(old, same), "was replaced already, by"),
    Refused("changed to be over", lambda s, _: s.change("web", lambda g: replace(g, expires=START)), "expired already"),
    Refused("pepper", lambda s, _: s.create(Grant("a"), Pepper(b"x")), "another pepper"),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_what_cannot_be_done_changes_nothing(keyring, case):
    """A refused command says why in one line and leaves the store as it was."""
    old, _ = keyring.store.create(GRANT, PEPPER)
    keyring.store.rotate("web", DAY, PEPPER)
    keyring.store.create(Grant("gone"), PEPPER)
    keyring.store.revoke("gone")
    before = keyring.store.list()

    with pytest.raises(KeyRefused) as caught:
        case.act(keyring.store, old.id)

    assert case.told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert keyring.store.list() == before


def test_a_locked_store_says_so(keyring):
    """Another writer makes the command fail clearly, not hang."""
    keyring.store.create(GRANT, PEPPER)
    with closing(sqlite3.connect(keyring.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(KeyRefused, match="is locked by another process"):
            keyring.store.revoke("web")
        assert len(keyring.store.list()) == 1


@pytest.mark.parametrize("content", [b"x" * 200, None], ids=["garbage", "a foreign database"])
def test_a_foreign_file_is_left_alone(keyring, content):
    """Pointing at the wrong file harms nothing."""
    if content is None:
        with closing(sqlite3.connect(keyring.path)) as other:
            other.execute("CREATE TABLE theirs (a)")
            other.commit()
    else:
        keyring.path.write_bytes(content)
    before = keyring.path.read_bytes()

    with pytest.raises(KeyRefused, match="not a"):
        keyring.store.create(GRANT, PEPPER)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        keyring.open()

    assert keyring.path.read_bytes() == before


def test_a_store_without_its_folder_is_one_clear_line(tmp_path):
    """A wrong path is named, with what is wrong about it."""
    store = KeyStore(tmp_path / "no" / "such.db", FakeClock().time)

    with pytest.raises(KeyRefused, match=r"such\.db: No such file or directory"):
        store.create(GRANT, PEPPER)
    assert store.list() == ()


def test_a_failed_migration_leaves_nothing_behind(keyring, monkeypatch):
    """An upgrade happens whole or not at all, and works at the next start."""
    monkeypatch.setattr(
        schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE a (b)", "nonsense"))
    )
    monkeypatch.setattr(schema, "HEAD", len(schema.MIGRATIONS))
    with pytest.raises(KeyRefused, match="syntax error"):
        keyring.store.create(GRANT, PEPPER)
    with closing(sqlite3.connect(keyring.path)) as db:
        assert db.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)

    monkeypatch.undo()
    keyring.store.create(GRANT, PEPPER)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE a (b)",)))
    monkeypatch.setattr(schema, "HEAD", len(schema.MIGRATIONS))
    assert len(keyring.store.list()) == 1
    with closing(sqlite3.connect(keyring.path)) as db:
        assert db.execute("SELECT count(*) FROM a").fetchone() == (0,)


FIRST = "id, origin, name, digest, project, models, rpm, parallel, created"


@pytest.mark.parametrize("version", range(1, schema.HEAD))
def test_a_store_of_an_older_version_serves_on(keyring, monkeypatch, version):
    """Keys made by any earlier version keep all that they were, and can then do what new ones can."""
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:version])
    monkeypatch.setattr(schema, "HEAD", version)
    with closing(open_store(keyring.path)) as store:
        key = mint(bytes(range(40)))
        digest = PEPPER.digest(key.secret.reveal())
        row = (key.id, key.id, "web", digest, "shop", '["x"]', 60, 8, START)
        marks = ", ".join("?" * len(row))
        store.execute(f"INSERT INTO keys ({FIRST}) VALUES ({marks})", row)  # noqa: S608 - constants
    monkeypatch.undo()

    caller = keyring.open().authenticate(key.secret)

    assert (caller.name, caller.project, caller.models) == ("web", "shop", frozenset({"x"}))
    assert (caller.limits, caller.on_disconnect) == (RateLimits(60, 8), "cancel")
    (record,) = keyring.store.list()
    assert record.grant == Grant("web", "shop", frozenset({"x"}), RateLimits(60, 8))
    keyring.store.change("web", lambda grant: replace(EVERYTHING, name=grant.name))
    assert [record.grant for record in keyring.store.list()] == [EVERYTHING]


EVERYTHING = Grant(
    "web",
    "shop",
    frozenset({"assistant"}),
    RateLimits(60, 7, 10**12, 5, 10**9, "strict", (("m", RateLimits(tpm=7)),), 0),
    START + 90 * DAY,
    "drain",
    "continue",
    "refuse",
    "batch",
    Budget(
        10**10,
        "week",
        ZoneInfo("Europe/Berlin"),
        (5, 100),
        is_hard=False,
        unpriced="flag",
        is_strict=True,
    ),
    buffering=Buffering("words", 0.02),
    client_tokens=TokenRules(900.0, RateLimits(60, 7, 10**12, 5, 10**9)),
    scopes=frozenset({"admin"}),
)


def test_a_grant_of_everything_differs_from_an_empty_one():
    """So that the tests that use it leave nothing out, settings of a later day included."""
    pairs: list[tuple[Any, Any]] = [
        (Grant("web"), EVERYTHING),
        (RateLimits(), EVERYTHING.limits),
        (Budget(1), EVERYTHING.budget),
        (Buffering(), EVERYTHING.buffering),
        (TokenRules(), EVERYTHING.client_tokens),
    ]
    alike = {
        one.name
        for usual, full in pairs
        for one in fields(usual)
        if getattr(usual, one.name) == getattr(full, one.name)
    }
    assert alike == {"name"}


async def test_all_that_a_key_may_do_is_kept_with_it(keyring):
    """Each setting is stored, listed, in force, and survives a rotation."""
    keyring.store.create(EVERYTHING, PEPPER)
    record, secret = keyring.store.rotate("web", 0, PEPPER)
    keys = keyring.open()
    caller = keys.authenticate(secret)

    assert record.grant == EVERYTHING
    assert [one.grant.budget for one in keyring.store.list()] == [EVERYTHING.budget] * 2
    assert keys.budgets == {("key", "web"): EVERYTHING.budget}
    in_force = ["project", "models", "limits", "on_disconnect", "on_ledger_failure", "unpriced"]
    for name in [*in_force, "priority"]:
        assert getattr(caller, name) == getattr(EVERYTHING, name)


async def test_a_changed_key_does_as_it_is_told_at_once(keyring):
    """Its secrets stay, those that overlap too; neither lives longer for it, and limits count on."""
    first, old = keyring.store.create(GRANT, PEPPER)
    _, new = keyring.store.rotate("web", DAY, PEPPER)
    keys = keyring.open()

    changed = keyring.store.change("web", lambda _: EVERYTHING)
    await keys.refresh()

    assert changed.grant == EVERYTHING
    for secret in (old, new):
        caller = keys.authenticate(secret)
        assert (caller.limits, caller.key_id) == (EVERYTHING.limits, first.id)
    keyring.clock.advance(DAY)
    assert "ended on" in refusal(keys, old)
    keyring.clock.advance(89 * DAY)
    assert "expired on" in refusal(keys, new)


async def test_an_end_that_is_brought_forward_holds_for_older_secrets_too(keyring):
    """Nothing outlives its key."""
    _, old = keyring.store.create(GRANT, PEPPER)
    keyring.store.rotate("web", DAY, PEPPER)
    keyring.store.change("web", lambda grant: replace(grant, expires=START + 60))
    keys = keyring.open()
    keyring.clock.advance(60)

    assert "ended on" in refusal(keys, old)
