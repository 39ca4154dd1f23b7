"""Everybody that a call is made for counts it, once."""

from headworks.core.levels import ORGANISATION, Level, levels
from headworks.types import Caller, ClientToken, Tags


def test_every_level_of_a_call_is_found_outermost_first():
    """Organisation, project, key, user, tags: each tag once, however often the caller says it."""
    caller = Caller("web", "k1", "shop")

    assert levels(caller, Tags(user="u42", tags=("x", "y", "x"))) == (
        ORGANISATION,
        Level("project", "shop"),
        Level("key", "k1"),
        Level("user", "u42"),
        Level("tag", "x"),
        Level("tag", "y"),
    )


def test_a_client_token_counts_beside_its_key():
    """What is done with one counts for it, its key and its user."""
    caller = Caller("web", "k1", token=ClientToken("tok_1", "u42"))

    found = (ORGANISATION, Level("key", "k1"), Level("token", "tok_1"), Level("user", "u42"))
    assert levels(caller, Tags(user="u42")) == found


def test_what_is_not_named_is_no_level():
    """A key without a project and a call without tags share no limit with others like them."""
    assert levels(Caller("web", "k1"), Tags()) == (ORGANISATION, Level("key", "k1"))
