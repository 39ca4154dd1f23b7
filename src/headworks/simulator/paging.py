"""Lists by the page, as all list endpoints of the real API give them."""

from collections.abc import Mapping, Sequence
from typing import Any

from headworks.simulator import problems
from headworks.simulator.fields import one_of
from headworks.simulator.reply import Listing


def page(
    listed: Sequence[Mapping[str, Any]], query: Mapping[str, str], most: int, usual: int
) -> Listing:
    """Return the page of `listed` (oldest first) that a query asks for: newest first, if it says nothing.

    Raises:
        Refusal: A parameter has no sense.
    """
    order = one_of(query, "order", ("asc", "desc")) or "desc"
    limit = _limit(query, most, usual)
    ordered = list(listed) if order == "asc" else list(reversed(listed))
    after, start = query.get("after"), 0
    if after:
        places = [place for place, item in enumerate(ordered) if item["id"] == after]
        if not places:
            raise problems.wrong_value("after", "the id of a listed object", f"'{after}'")
        start = places[0] + 1
    found = ordered[start : start + limit]
    return Listing(
        {
            "object": "list",
            "data": found,
            "first_id": found[0]["id"] if found else None,
            "last_id": found[-1]["id"] if found else None,
            "has_more": start + limit < len(ordered),
        }
    )


def _limit(query: Mapping[str, str], most: int, usual: int) -> int:
    given = query.get("limit")
    if not given:
        return usual
    if not given.isascii() or not given.isdigit() or not 1 <= int(given[:9]) <= most:
        raise problems.wrong_value("limit", f"an integer from 1 to {most}", f"'{given}'")
    return int(given)
