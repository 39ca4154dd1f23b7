"""The life of a key: made, rotated, revoked; and what a store refuses to do."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import pytest

from headworks.core.keys import mint
from headworks.errors import ConfigurationError
from headworks.stores import keystore, schema
from headworks.stores.keystore import Grant, KeyRefused, KeyStore
from headworks.stores.pepper import Pepper
from headworks.stores.schema import open_store
from headworks.testing import FakeClock
from headworks.types import RateLimits
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
    Refused("pepper", lambda s, _: s.create(Grant("a"), Pepper(b"x")), "another pepper"),
]


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


def test_a_store_of_an_older_version_serves_on(keyring, monkeypatch):
    """Keys made before keys had `on_disconnect` keep all that they were, and cancel."""
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
    monkeypatch.setattr(schema, "HEAD", 1)
    columns = keystore.COLUMNS.replace(" on_disconnect,", "")
    with closing(open_store(keyring.path)) as store:
        secret = mint(bytes(range(40)))
        row = (secret.id, secret.id, "web", PEPPER.digest(secret.secret.reveal()), "shop", '["x"]')
        marks = ", ".join("?" * len(columns.split(",")))
        rest = (60, 8, START, None, None, None)
        store.execute(f"INSERT INTO keys ({columns}) VALUES ({marks})", (*row, *rest))  # noqa: S608 - constants
    monkeypatch.undo()

    caller = keyring.open().authenticate(secret.secret)

    assert (caller.name, caller.project, caller.models) == ("web", "shop", frozenset({"x"}))
    assert (caller.limits, caller.on_disconnect) == (RateLimits(60, 8), "cancel")
    (record,) = keyring.store.list()
    assert record.grant == Grant("web", "shop", frozenset({"x"}), RateLimits(60, 8))


@pytest.mark.parametrize("policy", ["cancel", "drain"])
def test_what_becomes_of_an_abandoned_call_is_kept_with_the_key(keyring, policy):
    """The policy is stored, listed, in force at once, and survives a rotation."""
    _, first = keyring.store.create(Grant("web", on_disconnect=policy), PEPPER)
    _, second = keyring.store.rotate("web", 0, PEPPER)

    keys = keyring.open()
    assert keys.authenticate(second).on_disconnect == policy
    assert [record.grant.on_disconnect for record in keyring.store.list()] == [policy] * 2
    assert "ended" in refusal(keys, first)
