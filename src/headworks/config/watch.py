"""Noticing that files changed, by looking.

Editors and orchestrators replace files by renaming, Kubernetes swaps a directory behind a symbolic
link, network file systems send no events: comparing what a path leads to sees all of it.
"""

import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from headworks.ports import Clock

Seen = tuple[tuple[int, ...] | None, ...]


def changes(paths: Iterable[Path], clock: Clock, interval: float = 1.0) -> AsyncIterator[None]:
    """Yield whenever a file changes, appears or goes, once it has been quiet for an interval.

    Files are compared with what they were when this was called; symbolic links are followed.
    """
    watched = tuple(paths)
    return _changes(watched, clock, interval, _look(watched))


async def _changes(
    watched: tuple[Path, ...], clock: Clock, interval: float, before: Seen
) -> AsyncIterator[None]:
    reported = before
    while True:
        await clock.sleep(interval)
        now = _look(watched)
        if now == before != reported:
            reported = now
            yield
        before = now


def _look(paths: tuple[Path, ...]) -> Seen:
    return tuple(_identity(path) for path in paths)


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        seen = os.stat(path)  # noqa: PTH116 - the same call, without a Path's overhead
    except (OSError, ValueError):
        return None
    return seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns
