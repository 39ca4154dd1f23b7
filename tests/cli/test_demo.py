"""`headworks demo`: what it says when all is well, and when something is not."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from headworks.cli import app
from headworks.cli.demo import _json, _text
from headworks.demo import run
from headworks.demo.run import DemoFailed, Report
from headworks.demo.traffic import Outcome
from headworks.stores.usage import Line, Usages

TOTAL = Line(
    group=(),
    calls=3,
    attempts=4,
    input=30,
    output=60,
    cached=0,
    reasoning=0,
    cost_nano=1_500_000,
    estimated_nano=0,
    waste_nano=0,
    unpriced=0,
    open=0,
    open_nano=0,
)
WELL = Report(
    outcome=Outcome(Counter(plain=2, tools=1), overheads=[0.2, 0.4, 9.0], cached_tokens=1024),
    faults=Counter({"429": 1}),
    usage=Usages(
        by=("feature",),
        lines=(replace(TOTAL, group=("plain",)), replace(TOTAL, group=("",))),
        total=TOTAL,
    ),
    invoice=1_500_000,
    seconds=0.5,
)


def without_margins(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_report_reads_as_a_report():
    """Calls, faults, money on both sides, latency, and where to look next."""
    lines = without_margins(_text(WELL))
    assert "calls 3 plain 2, tools 1" in lines
    assert "faults 1 429 1" in lines
    assert "lost 0 calls that the app saw fail" in lines
    assert "cost $0.001500000 by headworks' ledger" in lines
    assert "$0.001500000 by the practice OpenAI's invoice: equal" in lines
    assert "$0.001500000 for other (3 calls, 90 tokens)" in lines
    assert (
        "latency 0.40 ms p50, 9.00 ms p99 added by headworks (6 calls/s, all on this machine)"
        in lines
    )
    assert "All is well." in lines


BAD = {
    "money that differs": replace(WELL, invoice=1_500_001),
    "a call that was lost": replace(
        WELL, outcome=replace(WELL.outcome, lost=["plain: APIError: x"])
    ),
    "a call that is not in the books": replace(WELL, usage=replace(WELL.usage, total=replace(TOTAL, calls=2))),
    "a row that is open": replace(WELL, usage=replace(WELL.usage, total=replace(TOTAL, open=1))),
    "a price that is unknown": replace(WELL, usage=replace(WELL.usage, total=replace(TOTAL, unpriced=1))),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_report_never_hides_what_is_wrong(monkeypatch, what: str):
    """Whatever does not add up is said, and the exit code is 1."""
    monkeypatch.setattr(run, "demonstrate", lambda _calls, _seed: BAD[what])
    done = CliRunner().invoke(app, ["demo"])
    assert done.exit_code == 1
    assert "Something is wrong" in done.stdout
    assert "All is well" not in done.stdout
    assert ("NOT EQUAL" in done.stdout) == (what == "money that differs")
    assert ("plain: APIError: x" in done.stdout) == (what == "a call that was lost")
    assert json.loads(_json(BAD[what]))["ok"] is False


def test_no_calls_at_all_make_a_report():
    """A report of nothing is a report."""
    empty = replace(WELL, outcome=Outcome(), seconds=0.1)
    assert "0.00 ms p50" in _text(empty)


def test_programs_read_json(monkeypatch):
    """With --json stdout is one document and nothing else."""
    monkeypatch.setattr(run, "demonstrate", lambda _calls, _seed: WELL)
    done = CliRunner().invoke(app, ["demo", "--json", "--calls", "16", "--seed", "1"])
    assert done.exit_code == 0
    report = json.loads(done.stdout)
    assert report["ok"] is True
    assert report["ledger_nano_usd"] == report["invoice_nano_usd"] == 1_500_000
    assert (report["calls"], report["kinds"]) == (3, {"plain": 2, "tools": 1})


def test_a_gateway_that_fails_is_told_with_its_log(monkeypatch):
    """No traceback of ours: what the gateway said last, and exit code 1."""

    def fail(_calls: int, _seed: int) -> Report:
        raise DemoFailed("The gateway did not start.\nits log")

    monkeypatch.setattr(run, "demonstrate", fail)
    done = CliRunner().invoke(app, ["demo", "--json"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "The gateway did not start.\nits log\n"


def test_without_the_official_client_the_way_to_it_is_named(tmp_path):
    """The demo calls by the `openai` package; where that is missing, one line says how to get it."""
    program = "import sys; sys.modules['openai'] = None; from headworks.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "demo"], cwd=tmp_path, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "pip install 'headworks[client]'" in line
