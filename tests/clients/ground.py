"""The ground on which clients are judged: a practice OpenAI whose models misbehave by name.

A gateway hands on no header that orders a fault, and an app sends none: so the model that is asked
decides what goes wrong, with the same request on every way to it.
"""

import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from headworks.simulator import FaultRule, SimulatedModel, SimulatorConfig
from headworks.simulator.config import BatchPace, Ending

MODEL = "gpt-6-sol"
EMBEDDER = "text-embedding-3-small"
MESSAGES: list[Any] = [{"role": "user", "content": "What does a headworks do?"}]
WAYS = ("chat", "responses")
"""The API's two ways to ask, as far as an app has both."""
CUTS: tuple[Ending, ...] = ("fin", "rst", "clean")
"""How a connection ends in mid-answer: closed, reset, or ended as if all were well."""
CUT_AT = range(11)
"""Output tokens before the cut; the shortest answers have 20."""

FAULTS = (
    *(
        FaultRule("cut_after", after=after, ending=ending, model=f"cut-{ending}-{after}")
        for ending in CUTS
        for after in CUT_AT
    ),
    FaultRule("stall_after", after=3, model="stalls"),
    FaultRule("stall_after", after=1, model="holds"),
    FaultRule("hang_before_head", model="hangs"),
    FaultRule("slow_first_token", seconds=1.0, model="thinks"),
    FaultRule("malformed_chunk", after=3, model="garbles"),
    FaultRule("error_event", after=3, code="server_error", model="gives-up"),
    FaultRule("json_instead_of_stream", model="never-streams"),
    FaultRule("no_done", model="forgets-done"),
    FaultRule("duplicate_done", model="done-twice"),
    FaultRule("status", status=500, model="fails"),
    FaultRule("status", status=503, html=True, model="fails-in-html"),
    FaultRule("status", status=500, model="fails-once", times=1),
    *(FaultRule("status", status=500, model=f"recovers-{way}", times=1) for way in WAYS),
    FaultRule("reset_before_head", model="hangs-up"),
    FaultRule("status", status=429, code="insufficient_quota", model="unpaid"),
    FaultRule("status", status=429, retry_after=90.0, code="rate_limit_exceeded", model="busy"),
    FaultRule("status", status=401, model="disowned"),
)
PRACTICE = SimulatorConfig(
    seed=7,
    faults=FAULTS,
    batches=BatchPace(validating=0.2, lines_per_second=5.0),
    models={**dict.fromkeys(fault.model for fault in FAULTS), "narrow": SimulatedModel(context=20)},
)
NO_FAULT = "slow_first_token=0"
"""What a direct request orders of the practice OpenAI, to hear the truth from any model."""

OPEN_KEY = "open-key-0123456789"
APPS = ("sync", "async", "elsewhere")
"""Each app that is judged has limited keys of its own, so that no two share a minute."""

_CONFIGURATION = """\
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0"}}
store: sqlite:{folder}/headworks.db
log: {{level: warning, calls: false}}
retry: {{first: 10ms, longest: 20ms}}
upstreams:
  practice:
    base_url: {upstream}
    credentials: [{{name: main, api_key: sk-simulator}}]
    breaker: false
    retry_budget: {{floor: 10000}}
models:
  {model}: {{routes: [practice/{model}]}}
  stalls: {{routes: [practice/stalls], timeouts: {{idle: 300ms}}}}
keys:
  - {{name: open, secret: {open_key}}}
{keys}
"""
_LIMITED = """\
  - {{name: narrow-{app}, secret: {narrow}, models: [{model}], limits: {{rpm: 2}}}}
  - {{name: single-{app}, secret: {single}, limits: {{parallel: 1, queue: 0}}}}
"""
_READY = re.compile(r"API (\S+),")
_STOP_SECONDS = 20.0


def narrow_key(app: str) -> str:
    """Return the app's key that may use one model, twice a minute."""
    return f"narrow-key-{app}-0123456789"


def single_key(app: str) -> str:
    """Return the app's key that may do one thing at a time."""
    return f"single-key-{app}-0123456789"


def write_configuration(folder: Path, upstream: str) -> Path:
    """Write a configuration with the practice OpenAI as upstream; its store is in `folder` too."""
    limited = (
        _LIMITED.format(app=app, narrow=narrow_key(app), single=single_key(app), model=MODEL)
        for app in APPS
    )
    file = folder / "headworks.yaml"
    written = _CONFIGURATION.format(
        folder=folder, upstream=upstream, model=MODEL, open_key=OPEN_KEY, keys="".join(limited)
    )
    file.write_text(written, encoding="utf-8")
    return file


@contextmanager
def running_gateway(file: Path) -> Generator[str]:
    """Run `headworks serve` as users do; yield the address of its API. It must end in order."""
    command = [sys.executable, "-m", "headworks", "serve", "--config", str(file)]
    with (
        (file.parent / "log").open("w+", encoding="utf-8") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            yield _address(process, log)
            process.terminate()
            assert process.wait(_STOP_SECONDS) == 0, _said(log)
        finally:
            process.kill()


def _address(process: subprocess.Popen[str], log: IO[str]) -> str:
    for line in process.stdout or ():
        if found := _READY.search(line):
            return found[1]
    raise AssertionError(f"the gateway did not start: {_said(log)}")


def _said(log: IO[str]) -> str:
    log.seek(0)
    return log.read()[-4000:]
