"""Whose limits and budgets a call counts against: everybody that it is made for, outermost first."""

from typing import Literal, NamedTuple

from headworks.types import Caller, Tags

LevelKind = Literal["organisation", "project", "key", "token", "user", "tag"]


class Level(NamedTuple):
    """One of those that a call is made for.

    Attributes:
        name: What identifies it among its kind: a project's, user's or tag's name, a key's or
            token's id, and "" for the organisation.
    """

    kind: LevelKind
    name: str


ORGANISATION = Level("organisation", "")


def levels(caller: Caller, tags: Tags) -> tuple[Level, ...]:
    """Return every level of a call, each once: organisation, project, key, token, user, tags."""
    found = [ORGANISATION]
    if caller.project:
        found.append(Level("project", caller.project))
    found.append(Level("key", caller.key_id))
    if caller.token is not None:
        found.append(Level("token", caller.token.id))
    if tags.user:
        found.append(Level("user", tags.user))
    found += (Level("tag", tag) for tag in dict.fromkeys(tags.tags))
    return tuple(found)
