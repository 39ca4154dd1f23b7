"""When a stream becomes its caller's: until then a failure is repaired unseen."""

from headworks.core.stream_base import Stream
from headworks.types import Commit

MOST_HELD = 262_144
"""Bytes of a stream that are held at most, unless all of it is."""

MOST_EVENTS = 512
"""Events that are held at most, unless all of them are."""


def is_met(commit: Commit, stream: Stream, held: int, events: int) -> bool:
    """Return whether a stream, of which so many bytes and events are held, is the caller's now.

    A stream that announces itself and says nothing is held no longer than any other.
    """
    if commit.after is None:
        return False
    if held > MOST_HELD or events > MOST_EVENTS:
        return True
    text = stream.text
    return stream.begun and (
        not commit.after
        or (len(text) >= commit.after and len(text.decode("utf-8", "replace")) >= commit.after)
    )
