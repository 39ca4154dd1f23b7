"""A ledger with simple prices, and calls to book in it."""

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from headworks.core.pricing import Price, flat_price
from headworks.stores.ledger import SqliteLedger
from headworks.testing import FakeClock
from headworks.types import Call, Caller, Request, Route, Tags

MODEL = "gpt-test"
PRICE = flat_price(2 * 10**9, 10 * 10**9, 10**9)
"""2,000 nano-dollars a token of input, 10,000 of output, 1,000 of cached input."""


class Book:
    """Prices that a test can change."""

    def __init__(self, prices: Mapping[str, Price] | None = None) -> None:
        self.prices = dict({MODEL: PRICE} if prices is None else prices)

    def price(self, model: str) -> Price | None:
        """Return the price."""
        return self.prices.get(model)


def open_ledger(path: Path, clock: FakeClock | None = None) -> SqliteLedger:
    """Open a ledger in virtual time."""
    return SqliteLedger(path, Book(), clock or FakeClock(), checkpointing=False)


def call(name: str = "c1", attempt: int = 1, **tags: Any) -> Call:
    """Return a call that is about to make an attempt."""
    request = Request(
        "POST", "/v1/chat/completions", fields={"model": "assistant"}, tags=Tags(**tags)
    )
    caller = Caller("web", "key_1", "shop")
    return Call(name, request, 0.0, 0.0, caller, attempts=attempt)


def route(model: str = MODEL, upstream: str = "openai") -> Route:
    """Return a route."""
    return Route(upstream, model, "main")


def rows(path: Path, columns: str = "*") -> list[dict[str, Any]]:
    """Return the ledger's rows as another program sees them."""
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        found = db.execute(f"SELECT {columns} FROM attempts ORDER BY seq")  # noqa: S608 - a test's own words
        return [dict(row) for row in found]


def crash(ledger: SqliteLedger) -> None:
    """Let go of the file as a killed process does: without a word."""
    ledger._writer.db.close()
    os.close(ledger._writer.file._lock)
