"""The judge finds what is wrong, and nothing else."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.invoice.judge import judge

USED = {"input": 10, "output": 4, "cached": 0, "reasoning": 0, "tier": "default"}
NONE = {"input": 0, "output": 0, "cached": 0, "reasoning": 0, "tier": "default"}


def row(cost=100, certainty="exact", **more):
    given = {"user": "a", "model_sent": "m", "state": "settled", "outcome": "completed"}
    return {**given, "certainty": certainty, "cost_nano": cost, **USED, **more}


def line(cost=100, **more):
    given = {"client_request_id": "a", "model": "m", "outcome": "completed", "fault": ""}
    return {**given, "cost": cost, "usage": USED, **more}


def nothing(**more):
    return row(0, **NONE, **more)


RELEASED = row(0, None, state="released", **NONE)
REFUSED = line(0, usage=NONE, fault="status=500")


@dataclass(frozen=True)
class Case:
    id: str
    rows: list[Any]
    lines: list[Any]
    findings: int = 0


CASES = [
    Case("nothing", [], []),
    Case("equal", [row()], [line()]),
    Case("a nano-dollar too much", [row(101)], [line()], 1),
    Case("a nano-dollar too little", [row(99)], [line()], 1),
    Case("equal in sum alone", [row(99), row(101)], [line(), line()], 2),
    Case("equal money for other tokens", [row(output=5)], [line()], 1),
    Case("equal money at another tier", [row(tier="flex")], [line()], 1),
    Case("no row", [], [line()], 1),
    Case("no row for a second attempt", [row()], [line(), line()], 1),
    Case("two rows for one line", [row(), row()], [line()], 1),
    Case("a row of another call", [row(user="b")], [line()], 2),
    Case("a row of another model", [row(model_sent="n")], [line()], 2),
    Case("a refusal, then an answer", [nothing(), row()], [REFUSED, line()]),
    Case("the first attempt never came", [row(110, "unknown"), row()], [line()]),
    Case("estimated above", [row(110, "estimated")], [line()]),
    Case("estimated below", [row(99, "estimated")], [line()], 1),
    Case("unknown below", [row(99, "unknown")], [line()], 1),
    Case("never sent", [RELEASED], []),
    Case("never sent, and billed", [RELEASED], [line()], 1),
    Case("never sent, and dear", [RELEASED | {"cost_nano": 5}], [], 1),
    Case("open", [row(None, None, state="held")], [line()], 1),
    Case("no price", [row(None)], [line()], 1),
    Case("no price at the provider", [row()], [line(None)], 1),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_it_finds(case):
    """Every line has one row, exact to the nano-dollar, or flagged and not below."""
    verdict = judge(case.rows, case.lines)

    assert len(verdict.findings) == case.findings, verdict.findings
    assert verdict.lines == len(case.lines)


def test_what_it_counts():
    """Estimates are compared with their lines in sum, by how sure they are."""
    rows = [row(), row(120, "estimated", user="b"), row(300, "unknown", user="c")]
    lines = [line(), line(client_request_id="b"), line(client_request_id="c")]

    verdict = judge(rows, lines)

    assert verdict.rows == {"exact": 1, "estimated": 1, "unknown": 1, "released": 0}
    assert [round(verdict.above(kind), 6) for kind in ("exact", "estimated", "unknown")] == [
        0,
        20,
        200,
    ]
    assert round(verdict.above("exact", "estimated", "unknown"), 6) == 73.333333
    assert judge([], []).above("estimated") == 0
