"""The judge of the kill loop condemns what it should: a loss, a double, a lie about money."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.faults.processes import Reply
from tests.faults.verdicts import (
    assert_billed_is_booked,
    assert_closed,
    assert_received_is_booked,
    assert_seen_is_booked,
)
from tests.faults.witnesses import Bill

Rows = list[dict[str, Any]]


def row(**more: Any) -> dict[str, Any]:
    """Return the row of a call that went well."""
    return {
        "call": "call-1", "attempt": 1, "user": "tag", "state": "settled", "certainty": "exact",
        "outcome": "completed", "input": 15, "output": 5, "cost_nano": 80, "estimate_nano": 900,
        **more,
    }  # fmt: skip


def reply(**more: Any) -> Reply:
    """Return what the caller of that call received."""
    headers = {
        "x-headworks-call": "call-1",
        "x-headworks-attempts": "1",
        "x-headworks-cost": "0.000000080",
        "content-length": "9",
    }
    return Reply(200, {**headers, **more}, b'{"usage":{}}', has_ended=True)


def judge(booked: Rows, told: Reply | None = None) -> None:
    """Judge one call that the provider saw once and billed at 80 nano-dollars."""
    assert_received_is_booked({"tag": told or reply()}, booked)
    assert_closed(booked)
    assert_seen_is_booked(Counter({"tag": 1}), booked)
    assert_billed_is_booked({"tag": Bill(80, 20)}, booked)


def test_what_is_right_is_right():
    """A call that is booked as it was passes; so does one that a kill interrupted."""
    judge([row()])
    cut = Reply(200, {}, b"", has_ended=False)
    recovered = row(outcome="recovered", certainty="unknown", cost_nano=900)
    judge([recovered], cut)
    judge([recovered, row(call="call-2", outcome="abandoned", certainty="estimated")], cut)
    judge([row(certainty="estimated", cost_nano=90, output=6)], cut)


@dataclass(frozen=True)
class Wrong:
    """What a ledger must never hold of a call whose answer was received."""

    name: str
    booked: Callable[[], Rows]
    told: Reply | None = None


CUT = Reply(200, {}, b"", has_ended=False)
WRONG = [
    Wrong("no row", list),
    Wrong("another call's row", lambda: [row(call="call-2")]),
    Wrong("two rows for one attempt", lambda: [row(), row()]),
    Wrong("a row too many", lambda: [row(), row(attempt=2)]),
    Wrong("a row too few", lambda: [row()], reply(**{"x-headworks-attempts": "2"})),
    Wrong("an open row", lambda: [row(state="held", certainty=None)]),
    Wrong("a row that was found open", lambda: [row(outcome="recovered", certainty="unknown")]),
    Wrong("a cost that is not the header's", lambda: [row(cost_nano=81)]),
    Wrong("a cost that is not the bill", lambda: [row(cost_nano=81)], CUT),
    Wrong("nothing for what was billed", lambda: [row(cost_nano=0, certainty="estimated")], CUT),
    Wrong("less than could be seen", lambda: [row(output=4, certainty="estimated")], CUT),
    Wrong("a gift", lambda: [row(outcome="recovered", certainty="unknown", cost_nano=5)], CUT),
    Wrong("an attempt that was not seen", lambda: [row(), row(attempt=2)], CUT),
    Wrong("an attempt that was not booked", list, CUT),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.name)
def test_what_is_wrong_is_found(case):
    """Each way to lose, double or misprice a row is condemned."""
    with pytest.raises(AssertionError):
        judge(case.booked(), case.told)
