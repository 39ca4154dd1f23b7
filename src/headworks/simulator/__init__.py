"""The practice OpenAI: true token counts, readable answers, an invoice, and faults on demand.

with running(SimulatorConfig(seed=7)) as simulator:
    client = openai.OpenAI(base_url=simulator.base_url, api_key="sk-simulator")
"""

from headworks.simulator.app import Simulator
from headworks.simulator.config import (
    REALISTIC,
    UNHURRIED,
    BatchPace,
    FaultRule,
    Latency,
    Phase,
    RateLimit,
    Scenario,
    SimulatedCredential,
    SimulatedModel,
    SimulatedPrice,
    SimulatorConfig,
    load,
)
from headworks.simulator.server import RunningSimulator, running, running_application, serve_forever

__all__ = [
    "REALISTIC",
    "UNHURRIED",
    "BatchPace",
    "FaultRule",
    "Latency",
    "Phase",
    "RateLimit",
    "RunningSimulator",
    "Scenario",
    "SimulatedCredential",
    "SimulatedModel",
    "SimulatedPrice",
    "Simulator",
    "SimulatorConfig",
    "load",
    "running",
    "running_application",
    "serve_forever",
]
