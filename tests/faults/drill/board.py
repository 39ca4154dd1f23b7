"""The scoreboard: one line a scenario, one cell a column."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from tests.faults.drill.drill import Line, Result

SIGNS = {"pass": "✓", "safe": "~", "fail": "✗"}
_WIDTH = 23


def told(lines: Sequence[Line]) -> Iterator[str]:
    """Yield the board: verdict, attempts and seconds of each cell, and what is wrong with it."""
    words = max(len(line.scenario.does) for line in lines)
    columns = "".join(f"{one.column:<{_WIDTH}}" for one in lines[0].results)
    yield f"{'':<6}{'the provider':<{words + 2}}{columns}".rstrip()
    for line in lines:
        cells = "".join(f"{_cell(one):<{_WIDTH}}" for one in line.results)
        name = "" if line.scenario.is_safe else line.scenario.id
        yield f"{name:<6}{line.scenario.does:<{words + 2}}{cells}".rstrip()
        for one in line.results:
            if one.verdict != one.wanted or one.problems:
                yield f"{'':<6}  {one.column}: {'; '.join(one.problems) or 'passed'}"
    yield ""
    yield verdict(lines)


def verdict(lines: Sequence[Line]) -> str:
    """Return the last line."""
    counted = [line for line in lines if not line.scenario.is_safe]
    return f"{sum(line.is_passed for line in counted)} of {len(counted)} passed"


def as_json(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Return the board for programs."""
    return [
        {
            "id": line.scenario.id,
            "model": line.scenario.name,
            "provider": line.scenario.does,
            "counted": not line.scenario.is_safe,
            "passed": line.is_passed,
            "cells": [asdict(one) for one in line.results],
        }
        for line in lines
    ]


def _cell(one: Result) -> str:
    return f"{SIGNS[one.verdict]} {one.attempts:>2} × {one.seconds:6.2f} s"
