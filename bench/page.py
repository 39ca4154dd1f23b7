"""Writes what a run found into README.md and docs/benchmark.md, each between two marks."""

from pathlib import Path

import plots
import report
from result import Result
from subjects import HERE

ROOT = HERE.parent
README, PAGE, PLOTS = ROOT / "README.md", ROOT / "docs/benchmark.md", ROOT / "docs/benchmark"


def renewed(result: Result, saved: Path) -> list[str]:
    """Renew all that the run has figures for, and tell what it was."""
    told = [plots.drawn(saved, PLOTS)]
    if result.scaling:
        _rewrite(PAGE, "scaling", report.scaling(result, PLOTS.name))
        return [*told, f"{PAGE.name}: cost by size renewed"]
    _rewrite(README, "bench", report.short(result))
    _rewrite(PAGE, "bench", report.whole(result, PLOTS.name))
    return [*told, f"{README.name}, {PAGE.name}: tables renewed"]


def _rewrite(file: Path, name: str, text: str) -> None:
    """Replace what stands between the two marks."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, mark, rest = file.read_text(encoding="utf-8").partition(begin)
    _, last, after = rest.partition(end)
    if not mark or not last:
        raise SystemExit(f"{file} has no {begin} … {end}")
    file.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
