"""Runs worlds: `python -m tests.faults.simworld 1234 --trace`, or `--seeds 10000` from a seed on."""

import argparse
import sys
import time
from collections import Counter
from functools import partial

from tests.faults.simworld.running import happenings, run


def fingerprint(seed: int) -> str:
    """Return what tells a world from every other one."""
    return run(seed).fingerprint


def main() -> int:
    """Run what the command line asks for; return 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.simworld", description=__doc__)
    parser.add_argument("seed", type=int, nargs="?", default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds")
    parser.add_argument("--trace", action="store_true", help="print all that happened")
    options = parser.parse_args()
    tell = partial(print, flush=True)
    failed, seen, begun = 0, Counter[str](), time.perf_counter()
    for seed in range(options.seed, options.seed + options.seeds):
        world = run(seed, keeps_trace=options.trace)
        failed += bool(world.findings)
        seen.update(happenings(world))
        for line in (*world.trace, *(f"FOUND {one}" for one in world.findings)):
            tell(f"{seed} {line}" if options.seeds > 1 else line)
    seconds = time.perf_counter() - begun
    tell(f"{options.seeds} worlds in {seconds:.1f} s, {failed} with findings")
    for what, count in sorted(seen.items()):
        tell(f"{count:>9} {what}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
