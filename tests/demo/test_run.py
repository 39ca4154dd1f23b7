"""The demonstration does what it says, on any machine, and always ends."""

import asyncio
import sys
from pathlib import Path

import pytest

from headworks.demo import run
from headworks.demo.run import DemoFailed, demonstrate
from headworks.demo.traffic import Traffic


def test_the_main_job_is_done(monkeypatch):
    """All kinds of calls past faults: none lost, each booked, to the nano-dollar what is billed.

    Whatever the environment says of proxies or of headworks concerns the demonstration not at all.
    """
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("HEADWORKS_ENV", "production")
    monkeypatch.setenv("HEADWORKS__SERVER__LISTEN", "nonsense")
    monkeypatch.setenv("HEADWORKS_CONFIG", "nowhere.yaml")
    report = demonstrate(300, 7)  # as `make demo` runs it
    assert report.outcome.lost == []
    assert report.is_well, report
    assert report.ledger == report.invoice > 0
    assert report.outcome.calls >= 300
    assert len(report.outcome.kinds) == 6
    assert report.faults.total() > 0
    assert report.usage.total.attempts > report.usage.total.calls
    assert report.outcome.cached_tokens > 0


def pretend(monkeypatch, tmp_path: Path, script: str) -> None:
    """Let a script stand where the gateway would run."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


FAILURES = {
    "echo it is broken >&2; exit 1": ("did not start", "it is broken"),
    "echo hangs >&2; exec sleep 60": ("did not start", "hangs"),
    "echo API http://127.0.0.1:1/v1,; echo oops >&2; trap 'exit 3' TERM; while :; do sleep 0.01; done": (
        "ended with code 3",
        "oops",
    ),
    "echo API http://127.0.0.1:1/v1,; echo stays >&2; trap '' TERM; while :; do sleep 0.01; done": (
        "did not end",
        "stays",
    ),
}


@pytest.mark.parametrize("script", FAILURES)
def test_a_gateway_that_fails_is_told_with_what_it_said(monkeypatch, tmp_path, script: str):
    """It does not start, hangs, ends badly or not at all: the demonstration ends and says why."""
    pretend(monkeypatch, tmp_path, script)
    monkeypatch.setattr(run, "_START_SECONDS", 0.3)
    monkeypatch.setattr(run, "_STOP_SECONDS", 0.3)
    with pytest.raises(DemoFailed) as caught:
        demonstrate(8, 7)
    for word in FAILURES[script]:
        assert word in str(caught.value)


def test_calls_that_fail_are_counted_by_what_the_app_saw():
    """Where nobody answers, every call is lost and said to be; none ends the demonstration."""
    outcome = asyncio.run(Traffic("http://127.0.0.1:1/v1", "no-key").run(8))
    assert outcome.calls == 8
    assert len(outcome.lost) == 8
    assert all("APIConnectionError" in lost for lost in outcome.lost)
