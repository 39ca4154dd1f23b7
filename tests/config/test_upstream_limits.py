"""An operator may allow less than a provider does: for an upstream, or for one of its keys."""

from collections.abc import Mapping

import pytest
import yaml

from headworks.core.upstream_bucket import NO_CAPS, Caps
from headworks.wiring.upstreams import rules_of
from tests.config.files import MINIMAL, loaded, refused


def upstream(*keys: Mapping[str, object], **fields: object):
    """Return an upstream with these credentials and fields."""
    document = yaml.safe_load(MINIMAL)
    found = document["upstreams"]["openai"]
    found |= fields
    credential = found["credentials"][0]
    found["credentials"] = [
        credential | {"name": f"k{at}"} | dict(key) for at, key in enumerate(keys)
    ]
    return loaded(yaml.safe_dump(document)).upstreams["openai"]


def test_nothing_is_limited_where_nothing_is_said():
    """Limits are learned from the provider alone."""
    rules = rules_of(upstream({}))
    assert set(rules.caps.values()) == {NO_CAPS}
    assert not rules.has_peers


def test_limits_of_an_upstream_hold_for_each_key_that_has_none_of_its_own():
    """A key's own limits take their place, all of them."""
    found = upstream({}, {"limits": {"tpm": 7}}, limits={"rpm": 500, "tpm": 200_000})
    rules = rules_of(found)
    assert rules.has_peers
    assert [rules.caps[rules.accounts[name]] for name in ("k0", "k1")] == [
        Caps(500, 200_000),
        Caps(None, 7),
    ]


def test_keys_of_one_project_have_one_limit():
    """What each of them allows holds for the project; other projects are other accounts."""
    one = {"organization": "org-1", "project": "proj-1"}
    found = upstream(
        one | {"limits": {"rpm": 9}}, one | {"limits": {"rpm": 5, "tpm": 8}}, one | {"project": "p"}
    )
    rules = rules_of(found)
    assert rules.accounts["k0"] == rules.accounts["k1"] != rules.accounts["k2"]
    assert rules.caps[rules.accounts["k0"]] == Caps(5, 8)


def test_other_limits_are_no_other_way():
    """What is known of the routes survives a change of limits."""
    assert rules_of(upstream({})).way == rules_of(upstream({"limits": {"rpm": 9}})).way


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("limits: {rpm: 0}", "limits.rpm: expected a whole number >= 1"),
        ("limits: {rmp: 5}", "limits.rmp: unknown key, did you mean 'rpm'?"),
        ("limits: {tpm: fast}", "limits.tpm: expected a whole number"),
    ],
)
def test_mistakes_are_told(line, problem):
    """A limit is a whole number of requests or tokens a minute."""
    document = yaml.safe_load(MINIMAL)
    document["upstreams"]["openai"] |= yaml.safe_load(line)
    assert any(problem in one for one in refused(yaml.safe_dump(document)))
