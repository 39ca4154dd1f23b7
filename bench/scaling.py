"""How the cost of a call grows: with chunks and bytes in proportion, with all else not at all.

Each size has a gateway of its own; all of a kind run at once and are measured in turn. Ledgers of
millions of rows take minutes to make: they are kept, and each run adds its few calls to them.
"""

import argparse
import contextlib
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import usage
from headworks.core.grants import Grant
from headworks.stores.keystore import KeyStore
from headworks.stores.ledger_schema import ledger_path
from headworks.stores.pepper import load_pepper
from headworks.stores.schema import open_store
from headworks_gateway import Edit, headworks
from headworks_settings import EVERYTHING
from scenarios import Scenario, measure
from subjects import Subject

PLACES = 64
STARTS = 3
CALL, CHUNK, READY = "CPU of a call in µs", "CPU of a chunk in µs", "time to ready in ms"
_KEY_ROW = "INSERT INTO keys (id, origin, name, digest, project, created) VALUES (?, ?, ?, ?, ?, ?)"
_PATIENCE = 60.0


def _calls(_: int) -> Scenario:
    return Scenario("calls", "", 32)


def _as_it_is(_: int, asked: dict[str, Any]) -> None:
    """Change nothing."""


@dataclass(frozen=True)
class Kind:
    """Something that there can be more and more of.

    Attributes:
        name: What it is, as "models".
        scenario: The load for a size; by default the same for all.
        prepare: Changes the settings, and the store, as a size needs it; may be called again.
        unit: What is measured.
        slow: How many times longer than others it is measured, and warmed up.
        has_starts: Whether it could make the start slower.
    """

    name: str
    sizes: Sequence[int]
    scenario: Callable[[int], Scenario] = _calls
    prepare: Callable[[int, dict[str, Any]], None] = _as_it_is
    unit: str = CALL
    slow: float = 1.0
    has_starts: bool = False

    def edit(self, size: int) -> Edit:
        """Return what changes the settings as a size needs it."""
        return partial(self.prepare, size)


def measure_all(
    folder: Path, mock_port: int, options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Return the figure of each size, by what is measured and what there is more of."""
    found: dict[str, dict[str, float]] = {}
    for kind in _kinds(options.ledgers, quick=options.quick):
        print(f"{kind.name}: {', '.join(f'{one:,}' for one in kind.sizes)}", file=sys.stderr)
        place = folder / kind.name.replace(" ", "-")
        place.mkdir()
        if kind.has_starts:
            found[f"{READY} by {kind.name}"] = _starts(kind, place, mock_port)
        found[f"{kind.unit} by {kind.name}"] = _costs(kind, place, mock_port, options)
    return found


def _kinds(ledgers: Path, *, quick: bool) -> list[Kind]:
    rows = (1000, 100_000) if quick else (1000, 100_000, 1_000_000, 10_000_000)
    waiting = (10, 100, 1000) if quick else (10, 100, 1000, 10_000)
    return [
        Kind("chunks in a stream", (10, 100, 1000, 10_000), _stream, unit=CHUNK),
        Kind("bytes of its request", (1000, 10_000, 50_000, 100_000, 200_000), _bytes),
        Kind("virtual keys", (1, 1000, 100_000), prepare=_keys, has_starts=True),
        Kind("models", (1, 10, 100, 1000), prepare=_models, has_starts=True),
        Kind("rows in the ledger", rows, prepare=partial(_rows, ledgers), has_starts=True),
        Kind("waiting calls", waiting, _crowd, _places, slow=4.0),
    ]


def _starts(kind: Kind, folder: Path, mock_port: int) -> dict[str, float]:
    """Return the milliseconds until each size is ready to serve, at best."""
    found: dict[str, float] = {}
    for size in kind.sizes:
        times: list[float] = []
        for _ in range(STARTS):
            with _started(kind, size, folder, mock_port) as subject:
                times.append(subject.ready * 1000)
        found[str(size)] = min(times)
    return found


def _costs(
    kind: Kind, folder: Path, mock_port: int, options: argparse.Namespace
) -> dict[str, float]:
    times: dict[int, list[float]] = {size: [] for size in kind.sizes}
    with contextlib.ExitStack() as stack:
        subjects = {
            size: stack.enter_context(_started(kind, size, folder, mock_port)) for size in times
        }
        for _ in range(options.rounds):
            for size, subject in subjects.items():
                slower = replace(subject, slow=kind.slow)
                found = measure(slower, kind.scenario(size), options.seconds, folder)
                times[size].append(found.cpu)
    return {str(size): statistics.median(all_) for size, all_ in times.items()}


def _started(
    kind: Kind, size: int, folder: Path, mock_port: int
) -> contextlib.AbstractContextManager[Subject]:
    edit, name = kind.edit(size), f"{size}"
    return headworks(folder, mock_port, EVERYTHING, edit, name=name, patience=_PATIENCE)


def _stream(chunks: int) -> Scenario:
    return Scenario("chunks", "", 8, "stream", f"s{chunks}-p0")


def _bytes(size: int) -> Scenario:
    return Scenario("bytes", "", 32, size=size)


def _crowd(waiting: int) -> Scenario:
    return Scenario("waiting", "", waiting + PLACES)


def _keys(count: int, asked: dict[str, Any]) -> None:
    """Put the keys where `headworks keys create` puts them, all in one go."""
    store, now = Path(asked["store"].removeprefix("sqlite:")), time.time()
    if store.exists():
        return
    KeyStore(store, time.time).create(Grant("k0"), load_pepper(store))
    rows = (
        (f"{number:012}", f"{number:012}", f"k{number}", number.to_bytes(32), "", now)
        for number in range(1, count)
    )
    with contextlib.closing(open_store(store)) as db:
        db.execute("BEGIN IMMEDIATE")
        db.executemany(_KEY_ROW, rows)
        db.execute("COMMIT")


def _models(count: int, asked: dict[str, Any]) -> None:
    more = {f"model-{n}": {"routes": [f"mock/model-{n}"]} for n in range(1, count)}
    asked["models"] = more | asked["models"]
    asked["keys"][0]["models"] = list(asked["models"])


def _rows(ledgers: Path, count: int, asked: dict[str, Any]) -> None:
    """Let the store be the one that has so many rows, which is made if there is none."""
    folder = ledgers / str(count)
    if not folder.exists():
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        ledger = ledger_path(part / "headworks.db")
        with contextlib.redirect_stdout(sys.stderr):
            usage.make(ledger, count, users=100_000, active=20_000, keys=50)
            usage.roll_up(ledger)
        part.rename(folder)
    asked["store"] = f"sqlite:{folder}/headworks.db"


def _places(_: int, asked: dict[str, Any]) -> None:
    """Leave more callers than places."""
    limits = asked["keys"][0]["limits"]
    asked["keys"][0]["limits"] = {**limits, "parallel": PLACES, "queue": 20_000}
    asked["queue"] = {"calls": 20_000, "max_wait": "1h"}
