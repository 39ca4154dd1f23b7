"""What counted before the start, as the ledger's rows say it: a restart forgets no minute, no day.

A call counts with its first attempt, and with the tokens of all of them. What was let in and failed
before any attempt is not in the ledger, and is forgotten.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec

from headworks.core.window import Span
from headworks.stores.ledger_schema import connect_read_only
from headworks.types import Tags

_SECOND = 1_000_000_000
_SINCE = "SELECT seq FROM attempts WHERE held_at < ? ORDER BY seq DESC LIMIT 1"
_COUNTS = """
    SELECT key_id, project, user, tags, model_asked, max(held_at) AS latest, sum(attempt = 1),
        sum(input + output) FROM attempts WHERE seq > :after AND held_at >= :begin
    GROUP BY key_id, project, user, tags, model_asked, (held_at - :begin) / :slot ORDER BY latest
"""
_decode_tags = msgspec.json.Decoder(tuple[str, ...]).decode


class Counted(NamedTuple):
    """Calls of one kind within one slot.

    Attributes:
        age: Seconds since the latest of them.
    """

    key_id: str
    project: str
    tags: Tags
    model: str
    age: float
    requests: int
    tokens: int


def read_past(path: Path, span: Span, time: float) -> Iterator[Counted]:
    """Yield what counts in the window that ends now, oldest first; `time` is the wall clock's.

    It reads the rows of that window alone. Raises `ConfigurationError` or `sqlite3.Error`.
    """
    now = int(time * _SECOND)
    begin = now - int(span.seconds * _SECOND)
    with closing(connect_read_only(path)) as db:
        after = db.execute(_SINCE, (begin,)).fetchone() or (0,)
        values = {"after": after[0], "begin": begin, "slot": int(_SECOND / span.rate)}
        for row in db.execute(_COUNTS, values):
            yield _counted(row, now)


def _counted(row: tuple[str, str, str, str | None, str, int, int, int], now: int) -> Counted:
    key_id, project, user, tags, model, latest, requests, tokens = row
    named = Tags(user=user, tags=_decode_tags(tags) if tags else ())
    return Counted(key_id, project, named, model, max(0, now - latest) / _SECOND, requests, tokens)
