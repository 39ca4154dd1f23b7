"""What an id's home is stays known: through restarts, crashes, faults and a full memory."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event

import pytest

from headworks.core.homes import SEVERAL
from headworks.errors import ConfigurationError, HomesUnavailable
from headworks.stores.homes_file import HomesFile, digest, homes_path
from headworks.testing import FakeClock
from tests.upstream.scripted import until

pytestmark = pytest.mark.anyio
DAY = 86_400.0


@contextmanager
def opened(folder: Path, clock: FakeClock | None = None, **bounds: int) -> Generator[HomesFile]:
    """Yield a file in which two homes have numbers."""
    file = HomesFile(folder / "homes.db", clock or FakeClock(), **bounds)
    try:
        for _ in range(2 - len(file.open())):
            file.number("openai", "main", "")
        yield file
    finally:
        file.close()


async def test_ids_are_known_at_once_and_after_a_restart(tmp_path):
    """What was learned is found, now and by the next process."""
    ids = {f"resp_{number}": 1 + number % 2 for number in range(100)}
    with opened(tmp_path) as file:
        for id_, number in ids.items():
            file.learn([id_], number, DAY)
            assert await file.find([id_, "nobody"]) == {id_: number}
    with opened(tmp_path) as file:
        assert await file.find(ids) == ids


async def test_more_ids_than_fit_into_memory(tmp_path):
    """Those that memory has no room for are found in the file, also before they were written."""
    ids = [f"file-{number}" for number in range(500)]
    with opened(tmp_path, memory=10) as file:
        file.learn(ids, 2, DAY)
        assert file.statistics().remembered == 10
        assert await file.find(ids) == dict.fromkeys(ids, 2)


async def test_ids_are_written_soon_and_together(tmp_path):
    """Within moments what was learned is on disk, without anybody's asking."""
    with opened(tmp_path) as file:
        file.learn(["a", "b"], 1, DAY)
        assert file.statistics().unwritten == 2
        with closing(sqlite3.connect(tmp_path / "homes.db")) as reader:
            await until(lambda: rows(reader) > 0)
            assert rows(reader) == 2
        await until(lambda: file.statistics().unwritten == 0)


def rows(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM ids").fetchone()[0])


@pytest.mark.parametrize("memory", [10_000, 1])
async def test_an_id_of_two_homes_is_nobodys(tmp_path, memory: int):
    """Providers that count from one give ids twice: nobody can tell whose such an id is."""
    with opened(tmp_path, memory=memory) as file:
        file.learn(["x", "y", "z"], 1, DAY)
        assert await file.find(["x"]) == {"x": 1}
        file.learn(["x"], 1, DAY)
        assert await file.find(["x"]) == {"x": 1}
        file.learn(["x", "y"], 2, DAY)
        assert await file.find(["nobody"]) == {}
        assert await file.find(["x", "y", "z"]) == {"x": SEVERAL, "y": SEVERAL, "z": 1}
    with opened(tmp_path) as file:
        assert await file.find(["x", "y", "z"]) == {"x": SEVERAL, "y": SEVERAL, "z": 1}


@pytest.mark.parametrize("memory", [10_000, 1])
async def test_two_numbers_of_one_home(tmp_path, memory: int):
    """A home that got another name keeps what it had under the first."""
    with opened(tmp_path, memory=memory) as file:
        file.adopt({1: 1, 2: 1})
        file.learn(["x", "y"], 1, DAY)
        assert await file.find(["y", "nobody"]) == {"y": 1}
        file.learn(["x"], 2, DAY)
        assert (await file.find(["y", "x"]))["x"] in {1, 2}
    with opened(tmp_path) as file:
        assert await file.find(["x"]) == {"x": 1}


WRITER = """
import asyncio, sys
from pathlib import Path
from headworks.stores.homes_file import HomesFile
from headworks.system import SystemClock
file = HomesFile(Path(sys.argv[1]), SystemClock())
file.open()
numbers = [file.number("openai", "main", ""), file.number("azure", "main", "")]
async def run():
    for at in range(10**9):
        file.learn([f"id-{at}"], numbers[at % 2], 1000.0)
        print(at + 1 - file.statistics().unwritten, at + 1, flush=True)
        await asyncio.sleep(0)
asyncio.run(run())
"""


def killed_while_writing(path: Path, lines: int) -> tuple[int, int]:
    """Return how many ids a process that was killed had on disk at least, and how many at most."""
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = [writer.stdout.readline() for _ in range(lines)]
        writer.kill()
        told += writer.stdout.read().splitlines(keepends=True)
    least, most = [line for line in told if line.endswith("\n")][-1].split()
    return int(least), int(most)


@pytest.mark.parametrize("lines", [1, 500, 3000])
async def test_a_killed_process_loses_moments_at_most(tmp_path, lines: int):
    """After kill -9 what was on disk is known, what was not is unknown, and nothing is wrong."""
    least, most = killed_while_writing(tmp_path / "homes.db", lines)
    with opened(tmp_path, FakeClock(epoch=0.0)) as file:
        known = await file.find([f"id-{at}" for at in range(most + 100)])
    assert known == {f"id-{at}": 1 + at % 2 for at in range(len(known))}
    assert least <= len(known) <= most + 100


async def test_a_file_that_cannot_be_written(tmp_path, caplog):
    """Ids stay known in memory, the log says so once, and they are written when they can be."""
    path = tmp_path / "homes.db"
    with opened(tmp_path, memory=2) as file:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute(
                "CREATE TRIGGER no BEFORE INSERT ON ids BEGIN SELECT raise(ABORT, 'full'); END"
            )
            for id_ in "abcd":
                file.learn([id_], 1, DAY)
                assert await file.find([id_, "nobody"]) == {id_: 1}
            assert await file.find(["a", "b"]) == {"a": 1, "b": 1}
            assert file.statistics().is_failing
            assert file.statistics().unwritten == 4
            other.execute("DROP TRIGGER no")
        file.learn(["e"], 1, DAY)
        assert await file.find(["nobody"]) == {}
        assert not file.statistics().is_failing
    told = [record.message for record in caplog.records]
    assert [("cannot be written" in one, "written again" in one) for one in told] == [
        (True, False),
        (False, True),
    ]
    with opened(tmp_path) as file:
        assert len(await file.find("abcde")) == 5


async def test_a_slow_file_keeps_nobody_waiting_for_all_that_is_to_be_written(tmp_path):
    """A look waits for what is under way and one batch more, and finds what is still to come."""
    ids = [f"id-{number}" for number in range(50)]
    with opened(tmp_path, memory=2) as file:
        thread, goes_on = file._on_thread(), Event()
        thread.submit(goes_on.wait)
        for id_ in ids:
            file.learn([id_], 1, DAY)
            file._flush()
        file.learn(["id-7", "id-44"], 2, DAY)
        look = asyncio.ensure_future(file.find([*ids, "nobody"]))
        await asyncio.sleep(0)
        queued = thread._work_queue.qsize()
        goes_on.set()
        assert queued <= 3
        found = dict.fromkeys(ids, 1) | dict.fromkeys(["id-7", "id-44"], SEVERAL)
        assert await look == found
    with opened(tmp_path, memory=2) as file:
        assert await file.find(ids) == found
        assert file.statistics().remembered == 2


async def test_a_file_that_cannot_be_read(tmp_path):
    """What is not in memory is then neither known nor unknown: the call may come again."""
    with opened(tmp_path, memory=1) as file:
        file.learn(["a", "b"], 1, DAY)
        assert await file.find(["nobody"]) == {}
        with closing(sqlite3.connect(tmp_path / "homes.db")) as other:
            other.execute("DROP TABLE ids")
        assert await file.find(["b"]) == {"b": 1}
        with pytest.raises(HomesUnavailable) as refused:
            await file.find(["a"])
        assert (refused.value.status, refused.value.should_retry) == (503, True)
    with pytest.raises(HomesUnavailable):
        await file.find(["a"])


async def test_what_is_old_is_forgotten(tmp_path):
    """Ids that their provider has forgotten do not stay in the file for ever."""
    clock = FakeClock()
    with opened(tmp_path, clock, memory=1) as file:
        file.learn([f"old-{number}" for number in range(300)], 1, DAY)
        file.learn(["kept"], 2, 1000 * DAY)
        assert await file.find(["nobody"]) == {}
        clock.advance(2 * DAY)
        for number in range(1024):
            clock.advance(60)
            file.learn([f"new-{number}"], 1, 10 * DAY)
            assert await file.find(["nobody"]) == {}
        known = await file.find(["kept", *(f"old-{number}" for number in range(300))])
        assert known == {"kept": 2}
        assert len(await file.find(f"new-{number}" for number in range(1024))) == 1024


async def test_a_file_that_is_too_large(tmp_path):
    """Beyond its size what would go first goes sooner, and the file does not grow on."""
    with opened(tmp_path, memory=1, most=400_000) as file:
        for number in range(300):
            short = [f"short-{number}-{part}" for part in range(50)]
            file.learn(short, 1, DAY)
            file.learn([f"long-{number}"], 2, 1000 * DAY)
            assert await file.find(["nobody"]) == {}
        assert len(await file.find(f"long-{number}" for number in range(300))) > 250
    assert (tmp_path / "homes.db").stat().st_size < 600_000


async def test_a_damaged_file_is_moved_aside(tmp_path, caplog):
    """A file that cannot be read any more is kept for whoever looks, and a new one begun."""
    (tmp_path / "homes.db").write_bytes(b"no database, but long enough to look at" * 100)
    with opened(tmp_path) as file:
        file.learn(["a"], 1, DAY)
        assert await file.find(["a"]) == {"a": 1}
    assert len(list(tmp_path.glob("homes.db.corrupt-*"))) == 1
    assert "is damaged" in caplog.text


@pytest.mark.parametrize(
    ("pragma", "told"),
    [("application_id = 7", "no file of headworks"), ("user_version = 2", "a newer headworks")],
)
def test_a_file_that_is_not_ours(tmp_path, pragma: str, told: str):
    """Somebody else's file, or a later version's, is not touched."""
    with opened(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "homes.db")) as other:
        other.execute(f"PRAGMA {pragma}")
    file = HomesFile(tmp_path / "homes.db", FakeClock())
    with pytest.raises(ConfigurationError, match=told):
        file.open()
    file.close()


def test_a_place_that_cannot_be_opened(tmp_path):
    """A folder in its place is the operator's to mend."""
    (tmp_path / "homes.db").mkdir()
    file = HomesFile(tmp_path / "homes.db", FakeClock())
    with pytest.raises(ConfigurationError, match=r"homes\.db: cannot be opened"):
        file.open()
    file.close()


def test_nothing_is_opened_before_it_is_needed(tmp_path):
    """Who has one account alone has no file, and closing what was never open does nothing."""
    file = HomesFile(tmp_path / "homes.db", FakeClock())
    assert not file.is_there
    file.close()
    file.close()
    assert list(tmp_path.iterdir()) == []


def test_its_place_and_who_may_read_it(tmp_path):
    """It lies beside the store, for its owner alone, and holds no id in the clear."""
    assert homes_path(Path("a/headworks.db")) == Path("a/headworks.homes.db")
    with opened(tmp_path):
        assert (tmp_path / "homes.db").stat().st_mode & 0o077 == 0
    assert len(digest("resp_1")) == 16
