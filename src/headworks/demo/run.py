"""Runs simulator, gateway and app beside each other, and compares what each of them counted."""

import asyncio
import os
import re
import secrets
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from headworks.demo.traffic import Outcome, Traffic
from headworks.simulator import FaultRule, Latency, SimulatorConfig, running
from headworks.simulator.config import FaultName
from headworks.stores.ledger_schema import ledger_path
from headworks.stores.usage import Query, Usages, usage
from headworks.system import SystemClock

_START_SECONDS = 30.0
_STOP_SECONDS = 20.0
_READY = re.compile(r"API (\S+),")
_CONFIGURATION = """\
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0"}}
store: sqlite:demo.db
log: {{level: warning, calls: false}}
upstreams:
  practice:
    base_url: {upstream}
    credentials: [{{name: main, api_key: sk-simulator}}]
models:
  assistant:
    routes: [practice/gpt-6-sol, practice/gpt-6-luna]
    patience: 1s
keys:
  - {{name: demo, secret: "{key}", project: demo}}
"""


def _fault(name: FaultName, share: float, **more: Any) -> FaultRule:
    return FaultRule(name, probability=share, model="gpt-6-sol", **more)


FAULTS = (
    _fault("status", 0.06, status=429, code="rate_limit_exceeded", retry_after=0.2),
    _fault("status", 0.03, status=429, code="rate_limit_exceeded", retry_after=20.0),
    _fault("status", 0.05, status=500),
    _fault("status", 0.04, status=502, html=True),
    _fault("status", 0.04, status=503, code="server_is_overloaded"),
    _fault("slow_first_token", 0.03, seconds=0.3),
    _fault("no_done", 0.06),
    _fault("duplicate_done", 0.06),
)
"""What goes wrong at the first model: all of it can be absorbed, and none of it is billed."""


class DemoFailed(Exception):
    """The demonstration could not be run to its end."""


@dataclass(frozen=True)
class Report:
    """What app, gateway and provider counted.

    Attributes:
        faults: Faults that struck, by kind.
        usage: The gateway's own usage report, by feature.
        invoice: What the provider bills, in nano-dollars.
        seconds: How long the traffic took.
    """

    outcome: Outcome
    faults: Counter[str]
    usage: Usages
    invoice: int
    seconds: float

    @property
    def ledger(self) -> int:
        """What the gateway booked, in nano-dollars."""
        return self.usage.total.cost_nano

    @property
    def is_well(self) -> bool:
        """Whether no call was lost and the books agree to the nano-dollar."""
        total = self.usage.total
        is_complete = total.calls == self.outcome.calls and not (total.unpriced or total.open)
        return not self.outcome.lost and is_complete and self.ledger == self.invoice


def demonstrate(calls: int, seed: int) -> Report:
    """Carry about `calls` calls through a gateway of its own, in a folder that is then removed.

    Raises:
        DemoFailed: The gateway did not start, or did not end in order.
    """
    practice = SimulatorConfig(
        latency=Latency(first_token=0.02, tokens_per_second=2000.0), faults=FAULTS, seed=seed
    )
    clock = SystemClock()
    with TemporaryDirectory(prefix="headworks-demo-") as folder, running(practice) as simulator:
        key = f"demo-{secrets.token_urlsafe(24)}"
        file = Path(folder) / "headworks.yaml"
        file.write_text(_CONFIGURATION.format(upstream=simulator.base_url, key=key))
        with _gateway(file) as base_url:
            begun = clock.now()
            outcome = asyncio.run(Traffic(base_url, key).run(calls))
            seconds = clock.now() - begun
        simulator.wait_settled()
        faults = Counter(_name(one) for one in simulator.attempts() if one["fault"])
        booked = usage(ledger_path(Path(folder) / "demo.db"), Query(by=("feature",)))
        return Report(outcome, faults, booked, simulator.invoice()["nano_usd"], seconds)


@contextmanager
def _gateway(file: Path) -> Generator[str]:
    """Run `headworks serve` beside us; yield the address of its API."""
    command = [sys.executable, "-m", "headworks", "serve", "--config", str(file)]
    environ = {name: value for name, value in os.environ.items() if not _steers(name)}
    with (file.parent / "log").open("w+") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command, cwd=file.parent, env=environ, stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            yield _address(process, log)
            process.terminate()
            if process.wait(_STOP_SECONDS):
                raise DemoFailed(f"The gateway ended with code {process.returncode}.{_said(log)}")
        except subprocess.TimeoutExpired:
            raise DemoFailed(f"The gateway did not end.{_said(log)}") from None
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _steers(variable: str) -> bool:
    """Whether a gateway would take a variable for a part of its configuration."""
    return variable.startswith("HEADWORKS_")


def _address(process: subprocess.Popen[str], log: IO[str]) -> str:
    """Return where the gateway is once it says so."""
    patience = threading.Timer(_START_SECONDS, process.kill)
    patience.start()
    try:
        for line in process.stdout or ():
            if found := _READY.search(line):
                return found[1]
    finally:
        patience.cancel()
    raise DemoFailed(f"The gateway did not start.{_said(log)}")


def _said(log: IO[str]) -> str:
    log.seek(0)
    return "\n" + log.read()[-2000:]


def _name(attempt: Mapping[str, Any]) -> str:
    """Return a fault as a reader knows it: the status that was answered, or what was odd."""
    fault = str(attempt["fault"]).partition("=")[0]
    return str(attempt["status"]) if fault == "status" else fault.replace("_", " ")
