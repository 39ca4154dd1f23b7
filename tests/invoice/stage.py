"""A provider that bills, and the gateways before it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from headworks.simulator import (
    FaultRule,
    Latency,
    RunningSimulator,
    SimulatorConfig,
)
from tests.faults.processes import UPSTREAM_KEY, Gateway, gateway_of
from tests.invoice.traffic import DRAINS

CONFIGURATION = """\
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", drain: 5s, max_body: 1MB}}
store: sqlite:{folder}/books.db
log: {{level: warning}}
retry: {{first: 10ms, longest: 20ms}}
upstreams:
  up:
    base_url: {base_url}
    credentials: [{{name: main, api_key: "${{env:UPSTREAM_KEY}}"}}]
    timeouts: {{first_byte: 8s, idle: 2s}}
models:
  thinker: {{routes: [up/gpt-6-sol, up/gpt-6-luna]}}
  second: {{routes: [up/gpt-6-luna]}}
  plain: {{routes: [up/gpt-4o, up/gpt-4.1-mini]}}
  hedged: {{routes: [up/gpt-4.1, up/gpt-4o-mini], hedge: {{after: 300ms, share: 1.0}}}}
  embedder: {{routes: [up/text-embedding-3-small]}}
keys:
  - {{name: app, secret: "${{env:CALLER_KEY}}"}}
  - {{name: drains, secret: "{drains}", on_disconnect: drain}}
"""
FAULTS = (
    FaultRule("status", status=500, probability=0.04),
    FaultRule("status", status=502, html=True, probability=0.02),
    FaultRule("status", status=429, retry_after=0, probability=0.02, model="gpt-4o", times=3),
    FaultRule("reset_before_head", probability=0.01),
    FaultRule("error_in_ok", probability=0.01),
    FaultRule("slow_first_token", seconds=1.0, probability=0.1, model="gpt-4.1"),
    FaultRule("cut_after", after=25, ending="rst", probability=0.02),
    FaultRule("cut_after", after=10, ending="clean", probability=0.02),
    FaultRule("cut_after", after=40, ending="fin", probability=0.02),
    FaultRule("error_event", after=15, probability=0.01),
    FaultRule("stall_after", after=12, probability=0.005),
    FaultRule("malformed_chunk", after=20, probability=0.01),
    FaultRule("half_event", after=30, probability=0.01),
    FaultRule("missing_usage", probability=0.03),
    FaultRule("null_usage", probability=0.01),
    FaultRule("negative_usage", probability=0.01),
    FaultRule("huge_usage", probability=0.01),
    FaultRule("text_usage", probability=0.01),
    FaultRule("double_usage", probability=0.01),
)


def practice(seed: int) -> SimulatorConfig:
    """Return a provider that fails in every way now and then."""
    return SimulatorConfig(
        latency=Latency(first_token=0.02, tokens_per_second=160.0),
        answer_tokens=(30, 110),
        faults=FAULTS,
        credentials={"main": UPSTREAM_KEY},
        seed=seed,
    )


def configure(folder: Path, provider: RunningSimulator) -> Path:
    """Write the configuration of a gateway before a provider."""
    file = folder / "headworks.yaml"
    text = CONFIGURATION.format(folder=folder, base_url=provider.base_url, drains=DRAINS)
    file.write_text(text)
    return file


@asynccontextmanager
async def gateway_before(provider: RunningSimulator, folder: Path) -> AsyncGenerator[Gateway]:
    """Run a gateway before a provider, with both vocabularies at hand."""
    async with gateway_of(configure(folder, provider)) as gateway:
        tokenizer = gateway.assembly.tokenizer
        tokenizer.load_soon(["o200k_base", "cl100k_base"])
        assert tokenizer.wait_loaded(30)
        yield gateway
