"""headworks as it is configured for the benchmark: with everything on, and with less and less."""

from pathlib import Path
from typing import Any

from subjects import EMBEDDING_MODEL, KEY, MODEL

HEADERS = ("x-headworks-user: u42", "x-headworks-tags: bench")
_LIMITS = {"rpm": 10**9, "tpm": 10**11, "rpd": 10**10, "tpd": 10**12, "parallel": 100_000}
_BUDGET = {"usd": 1_000_000, "per": "month"}

STEPS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("bare", "key check, ledger and metrics only", {}),
    ("log", "a log line per call", {"log": {"calls": True}}),
    ("breaker", "circuit breaker", {"breaker": True}),
    ("limits", "five limits of the key, and its queue", {"limits": True, "queue": {}}),
    ("everything", "limits on five levels under three budgets", {"levels": True}),
)
"""What is switched on, each step beside those above it."""
BARE, EVERYTHING = STEPS[0][0], STEPS[-1][0]


def settings(step: str, folder: Path, port: int, admin: int, mock_port: int) -> dict[str, Any]:
    """Return the configuration with the features up to `step`."""
    on: dict[str, Any] = {"log": {"calls": False}, "queue": False, "breaker": False}
    for name, _, more in STEPS:
        on |= more
        if name == step:
            break
    key: dict[str, Any] = {"name": "bench", "secret": KEY, "project": "bench"}
    key["models"] = [MODEL, EMBEDDING_MODEL]
    if on.get("limits"):
        key["limits"] = _LIMITS
    found: dict[str, Any] = {
        "server": {"listen": f"127.0.0.1:{port}", "admin": f"127.0.0.1:{admin}"},
        "store": f"sqlite:{folder}/headworks.db",
        "log": on["log"],
        "queue": on["queue"],
        "upstreams": {
            "mock": {
                "base_url": f"http://127.0.0.1:{mock_port}/v1",
                "credentials": [{"name": "main", "api_key": "upstream-credential"}],
                "breaker": on["breaker"],
                "connections": 20_000,
            }
        },
        "models": {name: {"routes": [f"mock/{name}"]} for name in key["models"]},
        "keys": [key],
    }
    if on.get("levels"):
        key["budget"] = _BUDGET
        found["limits"], found["budget"] = _LIMITS, _BUDGET
        found["projects"] = {"bench": {"limits": _LIMITS, "budget": _BUDGET}}
        found["users"] = {"default": {"limits": _LIMITS}}
        found["tags"] = {"bench": {"limits": _LIMITS}}
    return found
