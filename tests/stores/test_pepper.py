"""The secret beside the store: made once, kept, and never quietly replaced."""

import base64
from contextlib import closing
from pathlib import Path

import pytest

from headworks.errors import ConfigurationError
from headworks.stores.pepper import Pepper, load_pepper, pepper_path
from headworks.types import Secret
from tests.stores.keyring import GRANT, PEPPER, Keyring


@pytest.fixture
def keyring(tmp_path):
    """A store of keys, and gateways that read it."""
    with closing(Keyring(tmp_path / "headworks.db")) as opened:
        yield opened


def test_the_wrong_pepper_is_noticed_at_the_start(keyring):
    """A lost pepper is named as the reason; not every app is told that its key is unknown."""
    keyring.store.create(GRANT, PEPPER)

    with pytest.raises(ConfigurationError, match="made with another pepper: restore that pepper"):
        keyring.open(pepper=Pepper(b"q" * 32))


def test_the_pepper_is_made_once_and_only_its_owner_reads_it(keyring):
    """A first start makes the pepper; every later one uses it."""
    first, again = load_pepper(keyring.path), load_pepper(keyring.path)

    assert first.digest("k") == again.digest("k")
    assert pepper_path(keyring.path).stat().st_mode & 0o777 == 0o600
    assert [file.name for file in keyring.path.parent.iterdir()] == ["headworks.db.pepper"]
    value = base64.b64decode(pepper_path(keyring.path).read_bytes())
    assert len(value) == 32
    assert Pepper(value).digest("k") == first.digest("k")
    assert str(value) not in repr(first)


def test_two_first_starts_agree_on_one_pepper(keyring, monkeypatch):
    """Whoever comes second takes what the first one made."""
    load_pepper(keyring.path)
    kept = pepper_path(keyring.path).read_bytes()
    monkeypatch.setattr(Path, "exists", lambda _: False)

    load_pepper(keyring.path)

    assert pepper_path(keyring.path).read_bytes() == kept


@pytest.mark.parametrize("content", [b"", b"c2hvcnQ=", b"\xff", b"!" * 44], ids=repr)
def test_a_damaged_pepper_stops_the_start(keyring, content):
    """A pepper that is not one is never used, and never replaced."""
    pepper_path(keyring.path).write_bytes(content)

    with pytest.raises(ConfigurationError, match="the key pepper is damaged"):
        load_pepper(keyring.path)
    assert pepper_path(keyring.path).read_bytes() == content


def test_a_pepper_that_cannot_be_kept_stops_the_start(tmp_path):
    """Without a place for the pepper no key would survive a restart: that is said at once."""
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        load_pepper(tmp_path / "no" / "headworks.db")


def test_a_configured_pepper_needs_no_file(keyring):
    """A pepper from a secret manager is used as it is, if it is long enough."""
    pepper = load_pepper(keyring.path, Secret("x" * 32))

    assert pepper.digest("k") == Pepper(b"x" * 32).digest("k")
    assert list(keyring.path.parent.iterdir()) == []
    with pytest.raises(ConfigurationError, match="at least 16 characters") as caught:
        load_pepper(keyring.path, Secret("hunter2"))
    assert "hunter2" not in str(caught.value)
