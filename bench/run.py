"""Measure headworks beside its peers, beside nginx, and beside no gateway at all, in one run.

    python bench/run.py [--quick] [--rounds N] [--seconds S] [--only nginx,headworks] [--docs]

Rounds are interleaved (A B C A B C), so that a disturbance hits all subjects alike. The gateways
run on CPU 0, the load generator and the mock upstream on CPU 1. The main figure is CPU time of the
gateway's whole process tree per call, which is steadier than calls per second. Peers are measured
in every other round: what they cost need not be known as exactly as what headworks costs.
"""

import argparse
import contextlib
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import accounting
import environments
import inprocess
import page
import plots
import report
import scaling
from features import measure_features, measure_queue
from gateways import GATEWAYS, started
from headworks_gateway import headworks
from headworks_settings import BARE
from result import Result
from scenarios import SCENARIOS, CallsFailed, Measurement, Scenario, measure, memory
from startup import measure_startup
from subjects import HERE, Subject, checked, direct

OURS = ("headworks", "headworks-bare")
NAMES = ("direct", "nginx", *OURS, *(one.name for one in GATEWAYS if one.name != "nginx"))
LEDGERS = HERE.parent / ".cache/bench"
_OPEN_FILES = 32_000


def main() -> None:
    """Run what the command line asks for."""
    options = _options()
    names = [] if options.scaling else _names(options.only)
    if sys.platform != "linux":
        raise SystemExit("the benchmark reads CPU time from /proc: Linux only")
    if not (HERE / "tools/llmload").exists():
        raise SystemExit("build the tools first: make -C bench/tools (make bench does it)")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_OPEN_FILES, most), most))
    folder = Path(tempfile.mkdtemp(prefix="headworks-bench-"))
    began = time.perf_counter()
    try:
        result = _run(names, folder, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    result.seconds = time.perf_counter() - began
    text = report.whole(result)
    print(text)
    saved = result.save(HERE / "results")
    saved.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    print(f"\n{result.seconds / 60:.0f} minutes. Saved: {saved}\n{plots.drawn(saved)}")
    if options.docs:
        print("\n".join(page.renewed(result, saved)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one short round of each")
    parser.add_argument("--rounds", type=int, default=0, help="rounds per scenario (5; quick: 1)")
    parser.add_argument("--seconds", type=float, default=0, help="of one measurement (1.5)")
    parser.add_argument("--only", default="", help=f"subjects, of {','.join(NAMES)}")
    parser.add_argument("--scenarios", default="", help="scenarios by name, and nothing else")
    parser.add_argument("--scaling", action="store_true", help="only how cost grows with size")
    parser.add_argument("--ledgers", type=Path, default=LEDGERS, help="where large ones are kept")
    parser.add_argument("--docs", action="store_true", help="renew README.md and the documents")
    options = parser.parse_args()
    if options.docs and (options.only or options.scenarios):
        parser.error("--docs shows all subjects and scenarios: leave --only and --scenarios out")
    if options.docs and not environments.is_installed("plots"):
        parser.error("--docs draws plots: make bench-peers ARGS=plots")
    options.rounds = options.rounds or (1 if options.quick else 3 if options.scaling else 5)
    options.seconds = options.seconds or (1.0 if options.quick else 1.5)
    known = {one.name for one in SCENARIOS}
    wanted = set(options.scenarios.split(",")) if options.scenarios else known
    if wanted - known:
        parser.error(f"no such scenario: {', '.join(sorted(wanted - known))}")
    options.loads = [one for one in SCENARIOS if one.name in wanted]
    options.streams = (0, 250, 1000) if options.quick else (0, 500, 1000, 2000)
    options.levels = (0.3, 0.7) if options.quick else (0.2, 0.5, 0.7, 0.9)
    return options


def _names(only: str) -> list[str]:
    names = only.split(",") if only else list(NAMES)
    if unknown := set(names) - set(NAMES):
        raise SystemExit(f"no such subject: {', '.join(sorted(unknown))}")
    for gateway in GATEWAYS:
        if gateway.name in names and gateway.missing:
            print(f"{gateway.name} is left out: {gateway.missing}", file=sys.stderr)
            names.remove(gateway.name)
    return names


def _run(names: list[str], folder: Path, options: argparse.Namespace) -> Result:
    result = Result(options.rounds)
    with direct(folder) as mock:
        if options.scaling:
            result.scaling = scaling.measure_all(folder, mock.port, options)
            return result
        if not options.scenarios and "headworks" in names:
            _measure_alone(result, mock, folder, options)
        with contextlib.ExitStack() as stack:
            subjects = _started(names, mock, folder, stack)
            result.versions = {one.name: one.version for one in subjects if one.version}
            if not options.scenarios:
                _measure_memory(result, subjects, folder, options.streams)
            _measure_all(result, subjects, folder, options)
            if not options.scenarios:
                _measure_loads(result, subjects, folder, options)
    return result


def _measure_alone(
    result: Result, mock: Subject, folder: Path, options: argparse.Namespace
) -> None:
    """Measure what concerns headworks only."""
    rounds, seconds = options.rounds, options.seconds
    _say("start and memory")
    result.startup = measure_startup(folder, mock.port, rounds)
    _say("limits and ledger")
    result.accounting = accounting.measure()
    _say("calls in process")
    result.in_process = inprocess.measure(mock.port)
    _say("what each feature costs, and waiting")
    result.features = measure_features(folder, mock.port, (rounds + 1) // 2, seconds)
    result.queue = measure_queue(folder, mock.port, rounds, seconds)


def _started(
    names: list[str], mock: Subject, folder: Path, stack: contextlib.ExitStack
) -> list[Subject]:
    subjects = [checked(mock)] if "direct" in names else []
    for gateway in GATEWAYS:
        if gateway.name in names:
            subject = stack.enter_context(started(gateway, folder, mock.port))
            subjects += [subject] if subject and "json" in subject.kinds else []
    if "headworks" in names:
        subjects.append(checked(stack.enter_context(headworks(folder, mock.port))))
    if "headworks-bare" in names:
        bare = headworks(folder, mock.port, BARE, name="headworks-bare")
        subjects.append(checked(stack.enter_context(bare)))
    return sorted(subjects, key=_by_name)


def _by_name(subject: Subject) -> int:
    return NAMES.index(subject.name)


def _measure_memory(
    result: Result, subjects: list[Subject], folder: Path, streams: Sequence[int]
) -> None:
    for subject in subjects:
        if subject.pid and "stream" in subject.kinds:
            _say(f"memory of {max(streams)} open streams: {subject.name}")
            result.memory[subject.name] = memory(subject, streams, folder)


def _measure_all(
    result: Result, subjects: list[Subject], folder: Path, options: argparse.Namespace
) -> None:
    for scenario in options.loads:
        for number in range(1, options.rounds + 1):
            _say(f"{scenario.title}: round {number} of {options.rounds}")
            for subject in subjects:
                if scenario.fits(subject) and _is_due(subject, number):
                    found = _measured(subject, scenario, options.seconds, folder)
                    result.add(scenario.name, subject.name, found)


def _is_due(subject: Subject, number: int) -> bool:
    return (number - 1) % subject.every == 0


def _measured(
    subject: Subject, scenario: Scenario, seconds: float, folder: Path
) -> Measurement | None:
    """Measure; a peer whose calls fail is told, one of ours ends the program."""
    try:
        return measure(subject, scenario, seconds, folder)
    except CallsFailed as failed:
        if subject.ours:
            raise
        print(failed, file=sys.stderr)
        return None


def _measure_loads(
    result: Result, subjects: list[Subject], folder: Path, options: argparse.Namespace
) -> None:
    """Measure latency at shares of what each subject can do, due at a fixed rate."""
    base = Scenario("load", "", 128)
    for level in options.levels:
        _say(f"latency at {level:.0%} of the load that each can carry")
        found: dict[str, list[Measurement]] = {}
        for number in range(1, options.rounds + 1, 2):
            for subject in subjects:
                most = result.median("json64", subject.name, "rate")
                if most is not None and subject.pid and _is_due(subject, (number + 1) // 2):
                    scenario = replace(base, rate=level * most)
                    one = _measured(subject, scenario, options.seconds, folder)
                    found.setdefault(subject.name, []).extend([one] if one else [])
        for name, rounds in found.items():
            if rounds:
                result.add_load(name, level, _medians(rounds))


def _medians(rounds: Sequence[Measurement]) -> tuple[float, float, float]:
    """Return calls a second, p50 and p99."""
    rate, p50, p99 = zip(*((one.rate, one.p50, one.p99) for one in rounds), strict=True)
    return statistics.median(rate), statistics.median(p50), statistics.median(p99)


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
