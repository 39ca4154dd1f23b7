"""The failure drill: sixteen ways in which a provider fails, none of which an app need care about."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

from tests.faults.drill import board
from tests.faults.drill.drill import Line, drill
from tests.faults.drill.judging import (
    Cell,
    Demand,
    Reply,
    Row,
    Verdict,
    answered,
    answered_or_told,
    judge,
)
from tests.faults.drill.scenarios import SCENARIOS, Scenario
from tests.faults.drill.upstream import (
    KEY,
    MESSAGES,
    NO_PREFILL,
    Attempt,
    running_upstream,
    truth,
)

pytestmark = [pytest.mark.timeout(180), pytest.mark.anyio]


@pytest.fixture(scope="module")
def lines(tmp_path_factory) -> Mapping[str, Line]:
    """The whole drill, run once: in real time, on real sockets, all cells at the same time."""
    run = asyncio.run(drill(tmp_path_factory.mktemp("drill"), SCENARIOS))
    return {line.scenario.name: line for line in run}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[one.name for one in SCENARIOS])
def test_a_provider_may_fail_like_this(
    lines: Mapping[str, Line], scenario: Scenario, figure: Callable[[str], None]
):
    """Plain or streamed, by the gateway or in process, the app gets what it may expect."""
    line = lines[scenario.name]
    if not line.is_passed or scenario is SCENARIOS[-1]:
        figure("\n".join(board.told(list(lines.values()))))
    assert line.is_passed, line.results


def test_there_are_sixteen():
    """Each scenario has a letter of its own, from U-A to U-P; what is shown beside does not count."""
    assert [one.id for one in SCENARIOS if not one.is_safe] == [
        f"U-{c}" for c in "ABCDEFGHIJKLMNOP"
    ]


async def test_the_fallback_that_refuses_prefill_does_so():
    """In U-N an answer that was begun cannot be continued: only a restart is served."""
    begun = [*MESSAGES, {"role": "assistant", "content": "A headworks is"}]
    with running_upstream([]) as upstream:
        async with openai.AsyncOpenAI(base_url=upstream.base_url, api_key=KEY) as client:
            with pytest.raises(openai.BadRequestError):
                await client.chat.completions.create(model=NO_PREFILL, messages=begun)
            told = await truth(upstream, [])
    assert len(told[NO_PREFILL].split()) >= 55


@dataclass(frozen=True)
class Command:
    words: tuple[str, ...]
    code: int
    says: str


COMMANDS = (
    Command(("U-M",), 0, "1 of 1 passed"),
    Command(("u-m", "--json"), 0, '"passed": true'),
    Command(("U-Z",), 2, "unknown: U-Z"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=[" ".join(one.words) for one in COMMANDS])
async def test_the_drill_is_a_command(command: Command):
    """I may choose scenarios, read the board or parse it, and go by the exit code."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.drill", *command.words,
        cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()

    assert command.says in said.decode()
    assert process.returncode == command.code


# How cells are judged.

FULL = "The gate holds back the flood."
TRUTH = {"steady": FULL, "u-x": "The wheel stands still."}


def error(code: str | None) -> openai.APIError:
    met = openai.APIError("cut", request=None, body=None)  # type: ignore[arg-type] # nobody looks
    met.code = code
    return met


def full(text: str = FULL, **fields: object) -> Reply:
    given = {"model": "steady", "finish": "stop", "usage": (9, 6), "seconds": 1.0, **fields}
    return Reply(0.0, text, **given)  # type: ignore[arg-type] # those of a reply


def cell(
    reply: Reply, attempts: int = 1, rows: int | None = None, after: Reply | None = None
) -> Cell:
    asked = [Attempt("u-x", "u-x", {"messages": []}, 0.0, 0.1) for _ in range(attempts)]
    booked = [Row(n, "u-x", "completed", "exact", 1) for n in range(rows or attempts)]
    return Cell("u-x", TRUTH, True, [reply], after or full(), asked, booked)  # noqa: FBT003 - of no matter


@dataclass(frozen=True)
class Case:
    says: str
    cell: Cell
    verdict: Verdict
    demand: Demand = answered


CASES = (
    Case("a full answer", cell(full()), "pass"),
    Case("a typed error", cell(Reply(0.0, error=error("upstream_idle_timeout"))), "safe"),
    Case(
        "a typed error where one will do",
        cell(Reply(0.0, "The gate", error=error("upstream_idle_timeout"))),
        "pass",
        answered_or_told,
    ),
    Case("the end is missing, but it ends well", cell(full("The gate holds")), "fail"),
    Case(
        "the same where an error would do", cell(full("The gate holds")), "fail", answered_or_told
    ),
    Case("another model's words", cell(full(model="u-x")), "fail"),
    Case("no reason for its end", cell(full(finish=None)), "fail"),
    Case("no usage", cell(full(usage=None)), "fail"),
    Case("an error that says nothing", cell(Reply(0.0, error=error(None))), "fail"),
    Case("an error of our own making", cell(Reply(0.0, error=error("internal_error"))), "fail"),
    Case("what the client's library met", cell(Reply(0.0, error=OSError("reset"))), "fail"),
    Case("a late error", cell(Reply(0.0, seconds=60.0, error=error("timeout"))), "fail"),
    Case("four attempts", cell(full(), attempts=4), "fail"),
    Case("an attempt that is not booked", cell(full(), attempts=3, rows=2), "fail"),
    Case("the next call fails", cell(full(), after=Reply(0.0, error=error("x"))), "fail"),
)


@pytest.mark.parametrize("case", CASES, ids=[case.says for case in CASES])
def test_cells_are_judged_strictly(case: Case):
    """A cell passes, is safe or fails by what its app saw and what was asked and booked."""
    verdict, problems = judge(case.cell, [case.demand])

    assert verdict == case.verdict
    assert bool(problems) is (verdict != "pass")
