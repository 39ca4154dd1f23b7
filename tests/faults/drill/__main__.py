"""The failure drill on the command line.

python -m tests.faults.drill               all sixteen scenarios, about a minute
python -m tests.faults.drill U-F U-G       some of them
python -m tests.faults.drill --json        the board for programs
"""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
from pathlib import Path

from tests.faults.drill import board
from tests.faults.drill.drill import drill
from tests.faults.drill.scenarios import SCENARIOS


def main() -> int:
    """Run the drill and print its board; return 1 unless all of it is as it must be."""
    ids = sorted({one.id for one in SCENARIOS})
    parser = argparse.ArgumentParser(description="Rehearse how providers fail.")
    parser.add_argument("ids", nargs="*", metavar="ID", help=f"{ids[0]} … {ids[-1]}; default: all")
    parser.add_argument("--json", action="store_true", help="print the board as JSON")
    options = parser.parse_args()
    wanted = {one.upper() for one in options.ids}
    if unknown := wanted - set(ids):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(ids)}")
    logging.getLogger("headworks").addHandler(logging.NullHandler())  # the board says it all
    scenarios = [one for one in SCENARIOS if not wanted or one.id in wanted]
    with tempfile.TemporaryDirectory(prefix="headworks-drill-") as folder:
        lines = asyncio.run(drill(Path(folder), scenarios))
    written = (
        json.dumps(board.as_json(lines), indent=2) if options.json else "\n".join(board.told(lines))
    )
    sys.stdout.write(f"{written}\n")
    return 0 if all(line.is_passed for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
