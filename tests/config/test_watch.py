"""A changed file is noticed, whichever way it was changed."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest

from headworks.config import changes

pytestmark = pytest.mark.anyio


class Over(Exception):
    """The script has ended."""


class Script:
    """A clock on which each wait lets the next thing happen."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._steps = list(steps)
        self.waited: list[float] = []

    def now(self) -> float:
        return float(len(self.waited))

    def time(self) -> float:
        return self.now()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> NoReturn:
        raise NotImplementedError

    async def sleep(self, seconds: float) -> None:
        if not self._steps:
            raise Over
        self.waited.append(seconds)
        self._steps.pop(0)()


def nothing() -> None:
    """Let time pass."""


async def noticed(paths: list[Path], *steps: Callable[[], object]) -> list[int]:
    """Return after which step each change was reported."""
    clock = Script(*steps)
    found: list[int] = []
    with suppress(Over):
        async for _ in changes(paths, clock):
            found.append(len(clock.waited))  # noqa: PERF401 - the script ends it by an error
    return found


async def test_a_rewritten_file_is_noticed_once(tmp_path):
    """One save is one reload, after the file has been quiet for a moment."""
    file = tmp_path / "a"
    file.write_text("1")
    assert await noticed([file], nothing, lambda: file.write_text("22"), nothing, nothing) == [3]


async def test_a_file_still_being_written_is_waited_for(tmp_path):
    """A half-written file is not read."""
    file = tmp_path / "a"
    steps = [lambda at=at: file.write_text("x" * at) for at in range(1, 4)]
    assert await noticed([file], *steps, nothing, nothing) == [4]


async def test_appearing_and_disappearing_count(tmp_path):
    """The environment's file may come later, and may go again."""
    file = tmp_path / "a"
    came = await noticed([file], lambda: file.write_text("x"), nothing, file.unlink, nothing)
    assert came == [2, 4]


async def test_a_replaced_file_of_the_same_size_and_time_is_noticed(tmp_path):
    """Editors replace files by renaming; that is a change even if it looks alike."""
    file, other = tmp_path / "a", tmp_path / "b"
    file.write_text("1")
    other.write_text("2")
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    os.utime(other, ns=times)
    assert await noticed([file], lambda: other.replace(file), nothing) == [2]


async def test_a_swapped_directory_behind_a_link_is_noticed(tmp_path):
    """Kubernetes swaps a link to a directory; what the path leads to is what counts."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "headworks.yaml").write_text(name)
    link = tmp_path / "..data"
    link.symlink_to("old")
    (tmp_path / "headworks.yaml").symlink_to("..data/headworks.yaml")

    def swap() -> None:
        (tmp_path / "next").symlink_to("new")
        (tmp_path / "next").replace(link)

    assert await noticed([tmp_path / "headworks.yaml"], nothing, swap, nothing) == [3]


async def test_what_changes_before_the_first_look_counts(tmp_path):
    """A change between loading and watching is not lost."""
    file = tmp_path / "a"
    file.write_text("1")
    clock = Script(nothing, nothing)
    watching = changes([file], clock, 0.25)
    file.write_text("22")
    await anext(watching)
    assert clock.waited == [0.25, 0.25]


async def test_a_change_that_is_taken_back_is_none(tmp_path):
    """A file that is gone for a moment during its replacement causes no reload."""
    file, aside = tmp_path / "a", tmp_path / "b"
    file.write_text("1")
    steps = (lambda: file.rename(aside), lambda: aside.rename(file), nothing, nothing)
    assert await noticed([file], *steps) == []
