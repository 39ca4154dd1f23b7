"""Measure headworks against nginx and against no gateway at all, as ratios of one run.

    python bench/run.py [--quick] [--rounds N] [--seconds S] [--only direct,nginx,headworks] [--readme]

Rounds are interleaved (A B C A B C), so that a disturbance hits all subjects alike. The gateway
runs on CPU 0, the load generator and the mock upstream on CPU 1. The main figure is CPU time of
the gateway's whole process tree per call, which is steadier than calls per second.
"""

import argparse
import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

import accounting
import report
from scenarios import SCENARIOS, measure
from startup import Startup, measure_startup
from subjects import GATEWAYS, HERE, Subject, check, direct, has_nginx


def main() -> None:
    """Run what the command line asks for."""
    options = _options()
    names = _names(options.only)
    if sys.platform != "linux":
        raise SystemExit("the benchmark reads CPU time from /proc: Linux only")
    if not (HERE / "tools/llmload").exists():
        raise SystemExit("build the tools first: make -C bench/tools (make bench does it)")
    folder = Path(tempfile.mkdtemp(prefix="headworks-bench-"))
    try:
        result = _run(names, folder, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table = report.table(result)
    print(table)
    saved = report.save(result, table, HERE / "results")
    print(f"\nSaved: {saved}")
    if options.readme:
        report.rewrite(HERE.parent / "README.md", table)
        print("README.md: table renewed")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one short round: under a minute")
    parser.add_argument("--rounds", type=int, default=0, help="rounds per scenario (5; quick: 1)")
    parser.add_argument("--seconds", type=float, default=0, help="per measurement (2; quick: 1)")
    parser.add_argument("--only", default="", help="subjects, as direct,nginx,headworks")
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.seconds = options.seconds or (1.0 if options.quick else 2.0)
    return options


def _names(only: str) -> list[str]:
    names = only.split(",") if only else ["direct", *GATEWAYS]
    unknown = set(names) - {"direct", *GATEWAYS}
    if unknown:
        raise SystemExit(f"no such subject: {', '.join(sorted(unknown))}")
    if "nginx" in names and not has_nginx():
        print("nginx is not installed: no ratios (apt-get install nginx-light)", file=sys.stderr)
        names.remove("nginx")
    return names


def _run(names: list[str], folder: Path, options: argparse.Namespace) -> report.Result:
    with contextlib.ExitStack() as stack:
        mock = stack.enter_context(direct(folder))
        startup: Startup | None = None
        steps: dict[str, float] = {}
        if "headworks" in names:
            startup = measure_startup(folder, mock.port, options.rounds)
            print("limits and ledger", file=sys.stderr)
            steps = accounting.measure()
        subjects = [mock] if "direct" in names else []
        subjects += [
            stack.enter_context(start(folder, mock.port))
            for name, start in GATEWAYS.items()
            if name in names
        ]
        for subject in subjects:
            check(subject)
        measured = _measure_all(subjects, folder, options)
        versions = {subject.name: subject.version for subject in subjects if subject.version}
    return report.Result(versions, measured, startup, steps, options.rounds)


def _measure_all(
    subjects: list[Subject], folder: Path, options: argparse.Namespace
) -> report.Rounds:
    measured: report.Rounds = {}
    for scenario in SCENARIOS:
        for number in range(1, options.rounds + 1):
            print(f"{scenario.title}: round {number} of {options.rounds}", file=sys.stderr)
            for subject in subjects:
                found = measure(subject, scenario, options.seconds, folder)
                measured.setdefault(scenario.name, {}).setdefault(subject.name, []).append(found)
    return measured


if __name__ == "__main__":
    main()
