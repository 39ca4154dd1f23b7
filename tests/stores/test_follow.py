"""How soon a running gateway knows what was done to its keys, and what it survives."""

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import pytest

from headworks.core.budget import Budget, Owner
from headworks.core.grants import Grant
from headworks.errors import ConfigurationError
from headworks.stores import schema
from headworks.stores.keys import Budgets
from headworks.stores.keystore import KeyStore
from tests.stores.keyring import DAY, GRANT, PEPPER, START, Keyring, refusal

pytestmark = pytest.mark.anyio


@pytest.fixture
def keyring(tmp_path):
    """A store of keys, and gateways that read it."""
    with closing(Keyring(tmp_path / "headworks.db")) as opened:
        yield opened


async def test_a_revocation_elsewhere_is_seen_at_the_next_look(keyring):
    """Another process revokes: this one looks four times a second, and refuses."""
    _, secret = keyring.store.create(GRANT, PEPPER)
    keys = keyring.open()
    assert keys.authenticate(secret)

    assert keyring.store.revoke("web")
    following = asyncio.ensure_future(keys.follow())
    for _ in range(2):
        await keyring.clock.sleep(0.5)

    assert keyring.clock.time() <= START + 1.01
    assert 0.25 in keyring.clock.slept
    assert "was revoked on" in refusal(keys, secret)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    assert keys._reader is None


async def test_a_revocation_by_another_process(keyring):
    """The same, with a real process and with plain SQL that knows nothing of headworks."""
    _, secret = keyring.store.create(GRANT, PEPPER)
    keys = keyring.open()
    program = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]);"
        "db.execute('DELETE FROM keys'); db.commit(); db.close()"
    )
    subprocess.run([sys.executable, "-c", program, str(keyring.path)], check=True)  # noqa: ASYNC221 - nothing else runs on this loop

    await keys.refresh()

    assert refusal(keys, secret).endswith("(no such key).")


async def test_a_store_made_after_the_start_is_noticed(keyring):
    """A gateway that started without a store takes up the first key that is created."""
    keys = keyring.open()
    await keys.refresh()
    _, secret = keyring.store.create(GRANT, PEPPER)

    await keys.refresh()

    assert keys.authenticate(secret).name == "web"
    assert keys.statistics().unreadable_since is None


async def test_looking_without_a_change_reads_nothing(keyring):
    """A quiet store costs one question; a change that touches no key costs two."""
    keyring.store.create(GRANT, PEPPER)
    keys = keyring.open()
    asked: list[str] = []
    keys._reader.set_trace_callback(asked.append)

    await keys.refresh()
    assert asked == ["PRAGMA data_version"]

    with closing(sqlite3.connect(keyring.path)) as other:
        other.execute("CREATE TABLE unrelated (a)")
        other.commit()
    asked.clear()
    await keys.refresh()
    assert not [line for line in asked if "FROM keys" in line and "keys_state" not in line]


async def test_many_keys_are_read_in_small_portions(keyring):
    """A big store does not hold up the calls: between portions others run."""
    keyring.store.create(GRANT, PEPPER)
    keys = keyring.open()
    with closing(sqlite3.connect(keyring.path)) as other:
        other.executemany(
            "INSERT INTO keys (id, origin, name, digest, project, created)"
            " SELECT ?, ?, ?, digest, project, created FROM keys WHERE name = 'web'",
            [(f"id{n}", f"id{n}", f"name{n}") for n in range(2_000)],
        )
        other.commit()

    await keys.refresh()

    assert keyring.clock.slept == [0] * 5
    assert keys.statistics().stored == 2_001


async def test_an_unreadable_store_leaves_the_last_known_keys(keyring, caplog):
    """A broken disk is reported once and stops no app; when it is back, so are changes."""
    _, secret = keyring.store.create(GRANT, PEPPER)
    keys = keyring.open()
    away = keyring.path.with_suffix(".away")
    keyring.path.rename(away)
    keyring.path.write_bytes(b"not a database, " * 100)

    for _ in range(3):
        await keys.refresh()

    assert keys.authenticate(secret).name == "web"
    assert keys.statistics().unreadable_since == START
    keyring.path.unlink()
    await keys.refresh()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "file is not a database" in caplog.text

    away.rename(keyring.path)
    keyring.store.revoke("web")
    await keys.refresh()
    assert "was revoked" in refusal(keys, secret)
    assert keys.statistics().unreadable_since is None
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM keys_state",
        "UPDATE keys SET models = '[1]'",
        "UPDATE keys SET budget = '{}'",
        """UPDATE keys SET budget = '{"limit": 5, "zone": "Mars/Olympus"}'""",
        "UPDATE keys SET expires = 1e300",
        "DROP TABLE keys",
        "PRAGMA user_version = 99",
    ],
)
async def test_a_store_that_makes_no_sense_changes_nothing(keyring, damage):
    """Keys that cannot be understood do not replace those that are known."""
    _, secret = keyring.store.create(GRANT, PEPPER)
    keys = keyring.open()
    with closing(sqlite3.connect(keyring.path)) as other:
        other.execute(damage)
        other.execute("CREATE TABLE touched (a)")
        other.commit()

    await keys.refresh()
    await keys.refresh()

    assert keys.authenticate(secret).name == "web"
    with pytest.raises(ConfigurationError):
        keyring.open()


async def test_a_store_put_in_its_place_is_read_anew(keyring, tmp_path):
    """Restoring a backup under the running gateway takes effect."""
    _, old = keyring.store.create(GRANT, PEPPER)
    keys = keyring.open()
    other = KeyStore(tmp_path / "backup.db", keyring.clock.time)
    _, new = other.create(GRANT, PEPPER)
    (tmp_path / "backup.db").replace(keyring.path)

    await keys.refresh()

    assert keys.authenticate(new)
    assert refusal(keys, old)


async def test_an_older_store_is_left_to_whoever_upgrades_it(keyring, monkeypatch):
    """Reading never upgrades: until somebody did, the last known keys stay."""
    _, secret = keyring.store.create(GRANT, PEPPER)
    keys = keyring.open()
    keys.close()
    monkeypatch.setattr(schema, "HEAD", schema.HEAD + 1)

    await keys.refresh()

    assert keys.authenticate(secret).name == "web"
    assert keys.statistics().unreadable_since is None


WEB = Owner("key", "web")
TEN, TWENTY = Budget(10**10), Budget(2 * 10**10)
RICH = replace(GRANT, budget=TEN)


class Bank:
    """Lets budgets take effect, when it is allowed to."""

    def __init__(self) -> None:
        self.asked: list[Budgets] = []
        self.entered, self.opened = asyncio.Event(), asyncio.Event()
        self.opened.set()
        self.fails = False

    async def fund(self, budgets: Budgets) -> None:
        self.asked.append(budgets)
        self.entered.set()
        await self.opened.wait()
        if self.fails:
            raise OSError("no such ledger")


async def test_budgets_come_with_their_keys(keyring):
    """Those that are there at the start are named; whoever keeps budgets hears of every change once."""
    bank = Bank()
    keyring.store.create(RICH, PEPPER)
    keys = keyring.open(fund=bank.fund)
    assert keys.budgets == {WEB: TEN}
    keyring.store.create(Grant("poor"), PEPPER)
    keyring.store.rotate("web", DAY, PEPPER)
    await keys.refresh()
    assert bank.asked == []

    keyring.store.change("web", lambda grant: replace(grant, budget=TWENTY))
    await keys.refresh()
    await keys.refresh()
    keyring.store.revoke("web")
    await keys.refresh()

    assert bank.asked == [{WEB: TWENTY}, {}]
    assert keys.budgets == {}


async def test_no_call_goes_before_its_budget(keyring):
    """A new key is unknown until its budget holds; what was known works on, and what was revoked not."""
    bank = Bank()
    _, gone = keyring.store.create(Grant("gone"), PEPPER)
    _, plain = keyring.store.create(Grant("plain"), PEPPER)
    keys = keyring.open(fund=bank.fund)
    bank.opened.clear()
    _, new = keyring.store.create(RICH, PEPPER)
    _, poor = keyring.store.create(Grant("poor"), PEPPER)
    keyring.store.change("plain", lambda grant: replace(grant, budget=TEN, priority="batch"))
    keyring.store.revoke("gone")

    looking = asyncio.ensure_future(keys.refresh())
    await bank.entered.wait()

    assert "no such key" in refusal(keys, new)
    assert "was revoked" in refusal(keys, gone)
    assert keys.authenticate(poor).name == "poor"
    assert keys.authenticate(plain).priority == "batch"
    bank.opened.set()
    await looking
    assert keys.authenticate(new).name == "web"


async def test_a_budget_that_cannot_be_kept_is_tried_again(keyring, caplog):
    """The key stays out, the operator is told once, and at the next look it may be in."""
    bank = Bank()
    keys = keyring.open(fund=bank.fund)
    _, secret = keyring.store.create(RICH, PEPPER)
    bank.fails = True
    for _ in range(3):
        await keys.refresh()
    assert "no such key" in refusal(keys, secret)
    assert caplog.text.count("no such ledger") == 1

    bank.fails = False
    await keys.refresh()
    assert keys.authenticate(secret).name == "web"
    assert keys.budgets == {WEB: TEN}


async def test_the_present_key_of_a_name_says_what_its_budget_is(keyring):
    """Whoever had the name before, and still has a secret that works, shares it."""
    keyring.store.create(RICH, PEPPER)
    keys = keyring.open()
    fresh, _ = keyring.store.rotate("web", DAY, PEPPER)
    keyring.store.revoke(fresh.id)
    await keys.refresh()
    assert keys.budgets == {WEB: TEN}

    keyring.store.create(replace(GRANT, budget=TWENTY), PEPPER)
    await keys.refresh()
    assert keys.budgets == {WEB: TWENTY}
    keyring.store.change("web", lambda grant: replace(grant, budget=None))
    await keys.refresh()
    assert keys.budgets == {}
