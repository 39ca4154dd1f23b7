"""What a power cut leaves of a process's files, rebuilt from a trace of its system calls.

Only what was synced before the cut is certain. Of each page that was written since, the disk has
any of its states since then, whatever it has of the others; so with a file's length, and with the
entries of the folder. A page that a failed sync was to write stays as the disk has it by chance,
unless it is written again: the kernel forgets it (Rebello et al., "Can Applications Recover from
fsync Failures?", 2020).
"""

import random
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.needed import program

PAGE: Final = 4096
_TRACED: Final = "openat,pwrite64,write,fsync,fdatasync,ftruncate,?unlink,unlinkat,close"
_LINE: Final = re.compile(r"(\d+) +(?:<\.\.\. )?(\w+)(\(| resumed>)(.*)")
_RESULT: Final = re.compile(r"\) += (-?\d+)")
_TEXT: Final = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass
class Step:
    """A system call; `begun` and `ended` are its lines of the trace.

    Attributes:
        numbers: What it was given that is a number, in its order, and `text` what is bytes.
    """

    call: str
    begun: int
    text: bytes
    numbers: tuple[int, ...]
    flags: str
    ended: int = 1 << 60
    result: int = -1


def trace(command: Sequence[str], log: Path, *, inject: str = "") -> str:
    """Run a program to its end, write down what it asks of the system; return what it printed."""
    strace = program("strace", "strace")
    options = ["-f", "--seccomp-bpf", "-xx", "-s", "70000", "-e", f"trace={_TRACED}"]
    faults = ["-e", f"inject={inject}"] if inject else []
    ran = subprocess.run(
        [strace, *options, *faults, "-o", str(log), *command],
        check=False, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def steps_of(log: Path) -> list[Step]:
    """Return what a trace tells of, in the order in which it began."""
    steps: list[Step] = []
    under_way: dict[str, Step] = {}
    for number, line in enumerate(log.read_text("ascii").splitlines()):
        found = _LINE.match(line)
        if found is None:
            continue  # a signal, or an end
        thread, call, mark, given = found.groups()
        if mark == "(":
            under_way[thread] = _step(call, number, given)
            steps.append(under_way[thread])
        if ended := _RESULT.search(given):
            step = under_way[thread]
            step.ended, step.result = number, int(ended[1])
    return steps


def _step(call: str, number: int, given: str) -> Step:
    text = _TEXT.search(given)
    rest = _TEXT.sub("", given).partition(") ")[0]
    numbers = tuple(map(int, re.findall(r"(?<![\w.])\d+", rest)))
    content = bytes.fromhex(text[1].replace("\\x", "")) if text else b""
    return Step(call, number, content, numbers, rest)


@dataclass
class File:
    """A file: what the disk surely has, and what was written since, in its order.

    A change is where it begins and what was written there; with None the file was cut off there.
    """

    certain: bytearray = field(default_factory=bytearray)
    since: list[tuple[int, bytes | None]] = field(default_factory=list[tuple[int, bytes | None]])
    size: int = 0

    def change(self, at: int, content: bytes | None) -> None:
        """Write, or cut off."""
        self.since.append((at, content))
        self.size = at if content is None else max(self.size, at + len(content))

    def image(self, chance: random.Random | None) -> bytearray:
        """Return what the disk has, by chance; without any, all that was written."""
        many = len(self.since)
        whole = [many] * (max(self.size, len(self.certain), *map(_end, self.since), 0) // PAGE + 1)
        lengths = [len(self.certain)]
        for at, content in self.since:
            end = _end((at, content))
            lengths.append(end if content is None else max(lengths[-1], end))
        if chance is None:
            return self._at(whole, lengths[-1])
        states = [chance.choice((0, many, chance.randint(0, many))) for _ in whole]
        return self._at(states, chance.choice(lengths))

    def _at(self, states: Sequence[int], length: int) -> bytearray:
        """Return the file when each page has seen so many changes, and it is so long."""
        image = bytearray(self.certain).ljust(len(states) * PAGE, b"\0")
        for number, (at, given) in enumerate(self.since):
            content = bytes(len(image) - at) if given is None else given
            end = at + len(content)
            for page in range(at // PAGE, -(-end // PAGE)):
                if number < states[page]:
                    first, last = max(at, page * PAGE), min(end, (page + 1) * PAGE)
                    image[first:last] = content[first - at : last - at]
        return image[:length].ljust(length, b"\0")

    def sync(self, chance: random.Random | None) -> None:
        """Let the disk have all of it; with a chance the sync fails, and it has what it has."""
        self.certain = self.image(chance)
        self.since.clear()


def _end(change: tuple[int, bytes | None]) -> int:
    at, content = change
    return at + len(content or b"")


class Disk:
    """A folder, as the calls of a trace have left it when its line `cut` was written."""

    def __init__(self, folder: Path, cut: int, chance: random.Random) -> None:
        self._folder, self._cut, self._chance = str(folder), cut, chance
        self.now: dict[str, File] = {}
        self._entries: list[dict[str, File]] = [{}]
        """The folder's certain entries, and all its states since."""
        self._open: dict[int, tuple[File | None, bool]] = {}
        self._at: dict[int, int] = {}
        self.said: list[str] = []

    def replay(self, steps: Iterable[Step]) -> None:
        """Do what was begun before the cut; a sync that had not ended does nothing."""
        for step in steps:
            if step.begun >= self._cut:
                return
            getattr(self, f"_{step.call}")(step)

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield the names and contents that the power cut leaves, by chance."""
        for name, file in self._chance.choice(self._entries).items():
            yield name, bytes(file.image(self._chance))

    def whole(self, name: str) -> bytes:
        """Return all that was written to a file, synced or not."""
        return bytes(self.now[name].image(None))

    def _openat(self, step: Step) -> None:
        path = step.text.decode()
        if step.result < 0 or not path.startswith(self._folder):
            return
        if path == self._folder:
            self._open[step.result] = None, False
            return
        name = path[len(self._folder) + 1 :]
        if name not in self.now:
            self.now[name] = File()
            self._entries.append(dict(self.now))
        self._open[step.result] = self.now[name], "O_APPEND" in step.flags
        self._at[step.result] = 0

    def _close(self, step: Step) -> None:
        self._open.pop(step.numbers[0], None)

    def _pwrite64(self, step: Step) -> None:
        file, _ = self._open.get(step.numbers[0], (None, False))
        if file is not None:
            file.change(step.numbers[2], step.text)

    def _write(self, step: Step) -> None:
        number = step.numbers[0]
        if number == 1:
            self.said.append(step.text.decode())
        file, appends = self._open.get(number, (None, False))
        if file is not None:
            at = file.size if appends else self._at[number]
            file.change(at, step.text)
            self._at[number] = at + len(step.text)

    def _ftruncate(self, step: Step) -> None:
        file, _ = self._open.get(step.numbers[0], (None, False))
        if file is not None:
            file.change(step.numbers[1], None)

    def _unlink(self, step: Step) -> None:
        name = step.text.decode()[len(self._folder) + 1 :]
        if step.result == 0 and name in self.now:
            del self.now[name]
            self._entries.append(dict(self.now))

    _unlinkat = _unlink

    def _fsync(self, step: Step) -> None:
        if step.numbers[0] not in self._open or step.ended >= self._cut:
            return
        file, _ = self._open[step.numbers[0]]
        if file is not None:
            file.sync(self._chance if step.result else None)
        elif step.result == 0:
            self._entries = [dict(self.now)]

    _fdatasync = _fsync
