"""Reports over a large ledger: how long they take, and what keeping their rollups costs.

python bench/usage.py --rows 10000000 --folder /var/tmp/usage

The folder keeps the ledger (about 400 MB per million rows), so that a second run only reads.
"""

import argparse
import sqlite3
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from headworks.core.levels import LevelKind
from headworks.core.pricing import Price, flat_price
from headworks.stores.budget_seeds import read_seeds
from headworks.stores.ledger_schema import PAGE_SIZE, migrate
from headworks.stores.rollup_schema import rollups_path
from headworks.stores.rollups import SLICE, Rollups
from headworks.stores.usage import Query, usage

DAYS = 30
START = 1_792_540_800
"""2026-10-21T00:00Z."""
MODELS = {
    f"model-{n}": flat_price((n + 1) * 250_000_000, (n + 1) * 10**9, (n + 1) * 25_000_000)
    for n in range(6)
}
CHUNK = 250_000

ROWS = """
    WITH RECURSIVE
    counted(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM counted WHERE n < :last),
    drawn AS MATERIALIZED (
        SELECT n, abs(random()) % 1000000 / 1e6 AS u, abs(random()) % 1000 AS a,
            abs(random()) % 1000 AS b, 200 + abs(random()) % 3000 AS input,
            10 + abs(random()) % 600 AS output, :begin + n * :step AS at
        FROM counted
    ),
    placed AS (
        SELECT *, person * 7919 % 1000 * (person * 7919 % 1000) * :keys / 1000000 AS key
        FROM (
            SELECT *, (CAST(:active * u * u AS INTEGER) + at / 86400000000000 * 7919) % :users
                AS person
            FROM drawn
        )
    ),
    meant AS (
        SELECT *, (feature + (a % 10 = 0) * 3) % 6 AS model, (a % 3 = 0) * input / 2 AS cached
        FROM (SELECT *, (key * 3 + (a > 500) + (a > 900)) % 12 AS feature FROM placed)
    )
    INSERT INTO attempts (
        seq, call, attempt, boot, state, certainty, outcome, held_at, settled_at, key_id, key_name,
        project, feature, user, session, tags, endpoint, upstream, credential, model_asked,
        model_sent, stream, estimate_nano, price_version, input, output, cached, written,
        written_12h, reasoning, tier, cost_nano, anomalies
    )
    SELECT n, printf('call_%020d', n - (n % 40 = 0)), 1 + (n % 40 = 0), 1, 'settled',
        CASE WHEN b < 970 THEN 'exact' ELSE 'estimated' END,
        CASE WHEN b < 970 THEN 'completed' WHEN n % 40 = 39 THEN 'upstream_timeout' ELSE 'cut' END,
        at, at + 2000000000, printf('key_%04d', key), printf('key %d', key),
        printf('project-%d', key % 8), printf('feature-%d', feature),
        printf('user-%06d', person), printf('session-%d', n / 7),
        CASE
            WHEN b % 20 = 0 THEN json_array(printf('team-%d', person % 40), printf('lab-%d', a % 9))
            WHEN b % 5 = 0 THEN json_array(printf('team-%d', person % 40))
        END,
        CASE WHEN model = 5 THEN 'embeddings' ELSE 'chat.completions' END,
        CASE model WHEN 4 THEN 'azure' ELSE 'openai' END, 'main',
        CASE WHEN feature < 6 THEN 'assistant' ELSE printf('model-%d', model) END,
        printf('model-%d', model), b % 2, 10000000, versions.version, input, output, cached, 0, 0,
        output / 4, CASE WHEN feature = 11 THEN 'flex' ELSE 'default' END,
        ((input - cached) * rate + cached * rate / 10 + output * rate * 4 + 999999) / 1000000, NULL
    FROM meant CROSS JOIN temp.versions USING (model)
"""


def make(path: Path, rows: int, users: int, active: int, keys: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size={PAGE_SIZE}")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=OFF")
        migrate(db, path)
        db.execute("CREATE TABLE temp.versions (model INTEGER PRIMARY KEY, version, rate)")
        for number, (model, price) in enumerate(MODELS.items()):
            note_price(db, number, model, price)
        step = DAYS * 86_400 * 10**9 // rows
        for first in range(1, rows + 1, CHUNK):
            last = min(first + CHUNK - 1, rows)
            bounds = {"first": first, "last": last, "begin": START * 10**9, "step": step}
            db.execute(ROWS, {**bounds, "users": users, "active": active, "keys": keys})
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def note_price(db: sqlite3.Connection, number: int, model: str, price: Price) -> None:
    numbers = msgspec.json.encode(price).decode()
    db.execute("INSERT INTO prices VALUES (?, ?, ?)", (price.version, model, numbers))
    rate = price.tiers["default"].input
    db.execute("INSERT INTO temp.versions VALUES (?, ?, ?)", (number, price.version, rate))


def roll_up(path: Path) -> None:
    slices: list[float] = []
    begun, busy = time.perf_counter(), time.process_time()
    with closing(Rollups(path)) as rollups:
        rows = rollups.behind()
        is_more = rows > 0
        while is_more:
            slice_begun = time.perf_counter()
            is_more = rollups.advance()
            slices.append(time.perf_counter() - slice_begun)
    if slices:
        took, busy = time.perf_counter() - begun, time.process_time() - busy
        print(
            f"rolled up {rows:,} rows in {took:.1f} s: {busy / rows * 1e6:.1f} µs of CPU a row; "
            f"slices of {SLICE:,} rows: median {statistics.median(slices) * 1e3:.0f} ms, "
            f"longest {max(slices) * 1e3:.0f} ms"
        )


END = START + DAYS * 86_400
BERLIN, KOLKATA = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata")
WEEK = END - 7 * 86_400 + 1234.5
REPORTS = {
    "--by model": Query(("model",)),
    "--by key": Query(("key",)),
    "--by project": Query(("project",)),
    "--by feature": Query(("feature",)),
    "--by endpoint": Query(("endpoint",)),
    "--by route": Query(("route",)),
    "--by outcome": Query(("outcome",)),
    "--by tag": Query(("tag",)),
    "--by user --top 25": Query(("user",), top=25),
    "--by hour": Query(("hour",)),
    "--by day": Query(("day",)),
    "--by day --tz Asia/Kolkata": Query(("day",), zone=KOLKATA),
    "--by feature,model": Query(("feature", "model")),
    "--by user,model --top 25": Query(("user", "model"), top=25),
    "--by key,model": Query(("key", "model")),
    "--by project,model": Query(("project", "model")),
    "--by tag,model": Query(("tag", "model")),
    "--by route,outcome": Query(("route", "outcome")),
    "--by day,feature,model": Query(("day", "feature", "model")),
    "--by day,user,model --top 25": Query(("day", "user", "model"), top=25),
    "--by day,key,model": Query(("day", "key", "model")),
    "--by day,project,model": Query(("day", "project", "model")),
    "--by day,tag,model": Query(("day", "tag", "model")),
    "--by day,route,outcome": Query(("day", "route", "outcome")),
    "--by hour,feature,model --since 7d": Query(("hour", "feature", "model"), since=WEEK),
    "--by hour,key,model --since 7d": Query(("hour", "key", "model"), since=WEEK),
    "--by hour,project,model --since 7d": Query(("hour", "project", "model"), since=WEEK),
    "--by hour,tag,model --since 7d": Query(("hour", "tag", "model"), since=WEEK),
    "--by hour,route,outcome --since 7d": Query(("hour", "route", "outcome"), since=WEEK),
    "--by hour,model --tz Europe/Berlin": Query(("hour", "model"), zone=BERLIN),
    "--by feature,model,outcome": Query(("feature", "model", "outcome")),
    "--by route --where key=…": Query(("route",), {"key": ["key 3"]}),
    "--by model --since 24h": Query(("model",), since=END - 86_400 + 1234.5),
    "--by model --since 7d": Query(("model",), since=WEEK),
    "--by model --where tag=… --since 7d": Query(("model",), {"tag": ["team-3"]}, since=WEEK),
    "--by model,feature --where user=…": Query(("model", "feature"), {"user": ["user-000042"]}),
    "--by user --since 7d --top 25": Query(("user",), since=WEEK, top=25),
    "--by user --top 25, six days from noon to noon": Query(
        ("user",), since=END - 7.5 * 86_400, until=END - 1.5 * 86_400, top=25
    ),
    "--by user --where project=… --top 25": Query(("user",), {"project": ["project-3"]}, top=25),
    "--by user,model --since 7d --top 25": Query(("user", "model"), since=WEEK, top=25),
    "--by feature --per user": Query(("feature",), has_users=True),
    "--by feature --per user --since 7d": Query(("feature",), since=WEEK, has_users=True),
    "--by day --per user": Query(("day",), has_users=True),
    "--by tag,feature --since 7d": Query(("tag", "feature"), since=WEEK),
    "--by hour,user --since 24h --top 25": Query(("hour", "user"), since=END - 86_400, top=25),
    "--by day --where user=… --tz Europe/Berlin": Query(
        ("day",), {"user": ["user-000042"]}, zone=BERLIN
    ),
    "--by session --since 1h --top 25": Query(("session",), since=END - 3600, top=25),
    "--by session --since 24h --top 25": Query(("session",), since=END - 86_400, top=25),
    "--by user,outcome --since 24h --top 25": Query(
        ("user", "outcome"), since=END - 86_400, top=25
    ),
}
SEEDS: dict[str, list[tuple[LevelKind, int]]] = {
    "organisation, in all": [("organisation", 0)],
    "every user, in all": [("user", 0)],
    "every kind, in all": [(kind, 0) for kind in ("organisation", "project", "key", "user", "tag")],
    "every user, a day in India": [("user", (END - 86_400 - 19_800) * 10**9)],
    "every tag, a day in India": [("tag", (END - 86_400 - 19_800) * 10**9)],
}


def timed(action: Callable[[], object]) -> str:
    """Return how long it takes at first, at best, and of the CPU's time, in milliseconds."""
    times, busy = list[float](), list[float]()
    for _ in range(5):
        begun, worked = time.perf_counter(), time.thread_time()
        action()
        times.append((time.perf_counter() - begun) * 1e3)
        busy.append((time.thread_time() - worked) * 1e3)
    return f"{times[0]:.0f} | {min(times):.0f} | {min(busy):.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--active", type=int, default=20_000, help="users a day")
    parser.add_argument("--keys", type=int, default=50)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    path = given.folder / f"{given.rows}-{given.users}-{given.active}-{given.keys}.ledger.db"
    if not path.exists():
        given.folder.mkdir(parents=True, exist_ok=True)
        begun = time.perf_counter()
        make(path, given.rows, given.users, given.active, given.keys)
        print(f"made {given.rows:,} rows in {time.perf_counter() - begun:.0f} s")
    roll_up(path)
    sizes = [file.stat().st_size / 1e6 for file in (path, rollups_path(path))]
    print(f"ledger {sizes[0]:,.0f} MB, rollups {sizes[1]:,.0f} MB\n")
    print("| report | first, ms | best, ms | CPU, ms | lines | rows read |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, query in REPORTS.items():
        told = timed(partial(usage, path, query))
        found = usage(path, query)
        print(f"| `{name}` | {told} | {len(found.lines)} | {found.rows_read} |", flush=True)
    print("\n| budgets begin with what was spent | first, ms | best, ms | CPU, ms |")
    print("| --- | ---: | ---: | ---: |")
    for name, wanted in SEEDS.items():
        print(f"| {name} | {timed(partial(read_seeds, path, wanted))} |", flush=True)


if __name__ == "__main__":
    main()
