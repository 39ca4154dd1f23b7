"""Runs the drill: every scenario in every column, all at once and in real time."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.drill.columns import Column, Face, column
from tests.faults.drill.judging import Cell, Verdict, judge
from tests.faults.drill.scenarios import Scenario
from tests.faults.drill.upstream import NARROW, STEADY, running_upstream, truth

COLUMNS: tuple[tuple[Face, bool], ...] = (
    ("gateway", False),
    ("gateway", True),
    ("in process", False),
    ("in process", True),
)
"""Face, and whether calls are streamed."""


@dataclass(frozen=True)
class Result:
    """What became of one cell; `seconds` are those of its longest call."""

    column: str
    verdict: Verdict
    wanted: Verdict
    problems: list[str]
    attempts: int
    seconds: float


@dataclass(frozen=True)
class Line:
    """One scenario in all columns."""

    scenario: Scenario
    results: list[Result] = field(default_factory=list[Result])

    @property
    def is_passed(self) -> bool:
        """Whether every cell is as it must be."""
        return all(one.verdict == one.wanted for one in self.results)


async def drill(folder: Path, scenarios: Sequence[Scenario]) -> list[Line]:
    """Run scenarios in all four columns, whose ledgers and logs stay in `folder`."""
    async with _columns(folder, scenarios) as columns:
        names = [one.name for one in scenarios if one.name != NARROW]
        told = await truth(columns[0].upstream, names)
        for one in columns:
            one.upstream.begin()
        plays = [_play(one, scenario, told) for scenario in scenarios for one in columns]
        cells = iter(await asyncio.gather(*plays))
    return [
        Line(scenario, [_result(scenario, one, next(cells)) for one in columns])
        for scenario in scenarios
    ]


@asynccontextmanager
async def _columns(folder: Path, scenarios: Sequence[Scenario]) -> AsyncGenerator[list[Column]]:
    faults = [rule for scenario in scenarios for rule in scenario.faults]
    async with AsyncExitStack() as stack:
        upstreams = [stack.enter_context(running_upstream(faults)) for _ in COLUMNS]
        opened = [
            column(face, folder / f"{number}", upstream, streamed=streamed)
            for number, ((face, streamed), upstream) in enumerate(
                zip(COLUMNS, upstreams, strict=True)
            )
        ]
        yield await asyncio.gather(*(stack.enter_async_context(one) for one in opened))


async def _play(column: Column, scenario: Scenario, told: Mapping[str, str]) -> Cell:
    """Make the calls of one cell, and a plain one afterwards."""
    cell = Cell(scenario.name, told, column.streamed)
    await scenario.calls(column, cell)
    cell.after = await column.ask(STEADY, "afterwards")
    return cell


def _result(scenario: Scenario, column: Column, cell: Cell) -> Result:
    """Judge a cell by what all sides have written down."""
    cell.attempts = [one for one in column.upstream.attempts if one.name == scenario.name]
    cell.rows = column.rows(scenario.name)
    cell.invoice, cell.filtered = column.upstream.invoice(), column.filtered()
    verdict, problems = judge(cell, scenario.demands)
    wanted: Verdict = "safe" if scenario.is_safe and column.streamed else "pass"
    longest = max(reply.seconds for reply in cell.replies)
    return Result(column.name, verdict, wanted, problems, len(cell.attempts), longest)
