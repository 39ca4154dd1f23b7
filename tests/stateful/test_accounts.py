"""Which credentials are one account, and what becomes of things when the configuration changes."""

from collections.abc import Generator
from pathlib import Path

import pytest

from headworks.absent import NoHomes
from headworks.config.settings import Config, CredentialConfig, UpstreamConfig
from headworks.errors import ConfigurationError, StatefulIdElsewhere, StatefulIdUnknown
from headworks.ports import Homes
from headworks.stores.homes_file import HomesFile
from headworks.testing import FakeClock
from headworks.types import Plan, Request, Route, Secret
from headworks.wiring.homes import homes

pytestmark = pytest.mark.anyio

CREATE = Request("POST", "/v1/files")


def configured(**upstreams: list[str | tuple[str, str, str]]) -> Config:
    """Return a configuration of credentials: a name, or with organisation and project."""
    return Config(
        upstreams={
            name: UpstreamConfig(
                "https://a.example/v1",
                tuple(
                    CredentialConfig(one, Secret("k"))
                    if isinstance(one, str)
                    else CredentialConfig(one[0], Secret("k"), one[1], one[2])
                    for one in credentials
                ),
            )
            for name, credentials in upstreams.items()
        }
    )


@pytest.fixture
def file(tmp_path: Path) -> Generator[HomesFile]:
    file = HomesFile(tmp_path / "homes.db", FakeClock())
    yield file
    file.close()


def make(known: Homes, id_: str, upstream: str, credential: str) -> None:
    """Let an account make a file."""
    witness = known.witness(CREATE, Route(upstream, "", credential))
    assert witness is not None
    witness.whole(f'{{"id": "{id_}"}}'.encode())


async def places(known: Homes, *ids: str) -> list[str]:
    """Return where a call that refers to these files may go."""
    request = Request("POST", "/v1/batches", fields={"file_ids": list(ids)})
    plan = await known.narrow(request, Plan((Route("nowhere", "", "x"),)))
    return [f"{route.upstream}/{route.credential}" for route in plan.routes]


async def test_one_account_needs_nothing(file):
    """With one credential, or several of one project, nothing is remembered and no file made."""
    for config in (
        configured(),
        configured(a=["main"]),
        configured(a=[("one", "org", "proj"), ("two", "org", "proj")]),
    ):
        assert isinstance(homes(config, file), NoHomes)
    assert not file.is_there


async def test_credentials_of_one_project_share_what_they_make(file):
    """Organisation and project, both spelled out, say that two keys see the same things."""
    shared, apart = ("one", "org", "proj"), ("three", "org", "other")
    known = homes(configured(a=[shared, ("two", "org", "proj"), apart], b=[shared]), file)
    make(known, "x", "a", "two")
    make(known, "y", "a", "three")
    assert await places(known, "x") == ["a/one", "a/two"]
    assert await places(known, "y") == ["a/three"]
    make(known, "x", "a", "one")
    assert await places(known, "x") == ["a/one", "a/two"]


async def test_credentials_that_say_too_little_are_apart(file):
    """A project alone, or an organisation alone, is no proof."""
    known = homes(configured(a=["one", "two"]), file)
    make(known, "x", "a", "two")
    assert await places(known, "x") == ["a/two"]


async def test_a_credential_that_is_removed_and_comes_back(file):
    """Its things are refused by name meanwhile, and found again afterwards."""
    before = configured(a=["one", "two"], b=["main"])
    make(homes(before, file), "x", "a", "two")
    for after in (configured(a=["one"], b=["main"]), configured(a=["one"])):
        with pytest.raises(StatefulIdElsewhere, match=r"'x' lives in .* 'a' that is no longer"):
            await places(homes(after, file), "x")
    assert await places(homes(before, file), "x") == ["a/two"]


async def test_what_is_unknown_when_one_account_is_left(file):
    """Then there is but one place to look."""
    make(homes(configured(a=["one", "two"]), file), "x", "a", "one")
    known = homes(configured(a=["one"]), file)
    assert await places(known, "nobody") == ["a/one"]
    assert await places(known, "x", "nobody") == ["a/one"]


async def test_a_project_that_is_spelled_out_later_or_no_longer(file):
    """A credential is known by its name where its project is new, or not said any more."""
    bare, full = configured(a=["one", "two"]), configured(a=[("one", "org", "proj"), "two"])
    make(homes(bare, file), "x", "a", "one")
    known = homes(full, file)
    make(known, "y", "a", "one")
    assert await places(known, "x", "y") == ["a/one"]
    assert await places(homes(bare, file), "x", "y") == ["a/one"]


async def test_accounts_that_turn_out_to_be_one(file):
    """What either of them made is found by both, and is not taken for a thing of two accounts."""
    bare = homes(configured(a=["one", "two", "three"]), file)
    make(bare, "x", "a", "one")
    make(bare, "y", "a", "two")
    one, two = (("one", "org", "proj"), ("two", "org", "proj"))
    known = homes(configured(a=[one, two, "three"]), file)
    make(known, "y", "a", "one")
    assert await places(known, "x", "y") == ["a/one", "a/two"]


async def test_a_name_that_goes_to_another_project(file):
    """What one project made is not looked for in another that took over the credential's name."""
    before = configured(a=[("one", "org", "proj"), "two"])
    make(homes(before, file), "x", "a", "one")
    known = homes(configured(a=[("one", "org", "other"), "two"]), file)
    with pytest.raises(StatefulIdElsewhere):
        await places(known, "x")
    moved = homes(configured(a=[("one", "org", "other"), ("new", "org", "proj")]), file)
    assert await places(moved, "x") == ["a/new"]


async def test_unknown_things_in_the_first_account(file):
    """`unknown_ids: first` looks for them at the first credential of the first upstream."""
    config = configured(b=["one", "two"], a=["main"])
    with pytest.raises(StatefulIdUnknown):
        await places(homes(config, file), "x")
    first = Config(upstreams=config.upstreams, unknown_ids="first")
    assert await places(homes(first, file), "x") == ["b/one"]


def test_a_file_that_cannot_be_used(tmp_path):
    """It is the operator's to mend, and said before any call."""
    (tmp_path / "homes.db").mkdir()
    file = HomesFile(tmp_path / "homes.db", FakeClock())
    with pytest.raises(ConfigurationError):
        homes(configured(a=["one", "two"]), file)
    file.close()
