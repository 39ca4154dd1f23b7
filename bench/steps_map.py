"""Which function belongs to which step of a call: one table, by where the functions stand."""

from functools import cache
from typing import Final

PACKAGE = "/src/headworks/"

STEPS: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    ("loop", "event loop and kernel: wake, read and write sockets", ()),
    (
        "aside",
        "what happens by the clock, not by the call",
        (
            "config/watch.py",
            "gateway/listener.py",
            "gateway/station.py|Station._notice",
            "gateway/sweep.py",
            "stores/keys.py|SqliteKeys._poll",
            "stores/keys.py|SqliteKeys.follow",
            "stores/keys.py|SqliteKeys.refresh",
            "upstream/pool.py|Pool._trim",
            "upstream/probe.py",
        ),
    ),
    (
        "read",
        "the caller's bytes: head and body, whole and sound",
        ("gateway/bodies.py", "gateway/heads.py", "gateway/protocol.py", "gateway/wire.py"),
    ),
    (
        "visit",
        "between the server and the engine: a task, who serves, who left",
        (
            "gateway/asgi.py",
            "gateway/client_tokens.py",
            "gateway/exchange.py|Exchange.on_departure",
            "gateway/exchange.py|Exchange.whole",
            "gateway/station.py",
            "gateway/worker.py",
        ),
    ),
    (
        "intake",
        "the request: JSON, model, options, what it is for",
        ("core/intake.py", "core/strict_json.py", "types/requests.py"),
    ),
    (
        "story",
        "the story itself, and steps that are switched off",
        (
            "absent.py",
            "engine.py",
            "stores/apart.py",
            "stores/idempotency.py",
            "system.py",
            "types/calls.py",
        ),
    ),
    (
        "authenticate",
        "whose key it is, what it may use, what of it may be told",
        (
            "core/client_tokens.py",
            "core/grants.py",
            "core/keys.py",
            "core/naming.py",
            "core/permission.py",
            "observe/tags.py",
            "stores/keys.py",
            "stores/pepper.py",
        ),
    ),
    (
        "estimate",
        "how many tokens it may take",
        ("core/outputs.py", "core/tokens.py", "tokenizer.py"),
    ),
    (
        "limits",
        "requests, tokens and calls at once, on every level",
        (
            "core/admission.py",
            "core/levels.py",
            "core/window.py",
            "stores/authority.py",
            "stores/limits.py",
            "stores/memory_authority.py",
            "stores/memory_rates.py",
        ),
    ),
    ("queue", "whether it must wait", ("core/queue.py", "core/queue_rules.py", "stores/queue.py")),
    (
        "route",
        "which routes there are, and the way from one to the next",
        (
            "attempt.py",
            "core/backoff.py",
            "core/course.py",
            "core/groups.py",
            "core/routing.py",
            "core/selection.py",
            "core/way.py",
            "dispatch.py",
            "hedging.py",
            "wiring/",
        ),
    ),
    (
        "health",
        "which route works and has room; what its answer says of that",
        (
            "core/breaker.py",
            "core/demand.py",
            "core/latency.py",
            "core/pace.py",
            "core/turnover.py",
            "core/upstream_",
            "stores/health",
        ),
    ),
    (
        "budgets",
        "what it may cost, held in every budget and put right",
        ("core/budget.py", "core/cost_bound.py", "core/periods.py", "stores/budget"),
    ),
    ("ledger", "the attempt's row: on disk before, and settled on disk", ("stores/ledger",)),
    (
        "send",
        "the request to the provider: head, body, a connection",
        (
            "upstream/connection.py|Connection.begin",
            "upstream/http1.py",
            "upstream/names.py",
            "upstream/openai.py",
            "upstream/origin.py",
            "upstream/pool.py",
        ),
    ),
    (
        "receive",
        "the provider's bytes: head, body or chunks",
        ("upstream/connection.py", "upstream/framing.py", "upstream/response.py"),
    ),
    (
        "answer",
        "the answer: events read, whole to the commit point, usage found",
        (
            "answer.py",
            "core/commit.py",
            "core/likeness.py",
            "core/recurring.py",
            "core/sse.py",
            "core/stream",
            "core/thoughts.py",
            "made.py",
            "reshaped.py",
        ),
    ),
    (
        "price",
        "usage and what it costs",
        ("build.py", "catalog/", "core/measures.py", "core/pricing.py", "core/shapes.py"),
    ),
    (
        "relay",
        "what goes on to the caller",
        ("core/buffering", "core/filtering.py", "core/wire.py", "relay.py"),
    ),
    (
        "write",
        "the answer to the caller's socket",
        ("gateway/exchange.py", "gateway/replies.py", "gateway/whole.py"),
    ),
    (
        "journal",
        "the line of the log",
        ("observe/journal.py", "observe/log.py", "observe/call_file.py"),
    ),
    (
        "metrics",
        "what is counted for Prometheus",
        ("core/tally.py", "observe/metrics.py", "observe/exposition.py"),
    ),
)
"""Name, what it is, and whose it is: files, folders or functions (`file|name`), the longest match.

Whatever is in none of them belongs to the step that calls it.
"""

NAMES: Final = tuple(name for name, _, _ in STEPS)
UNBOUNDED: Final = frozenset({"aside"})
"""Steps without a budget: they follow the clock."""
_PLACES = {place: number for number, (_, _, places) in enumerate(STEPS) for place in places}


@cache
def step_of(file: str, name: str) -> int:
    """Return the number of a function's step, -1 if it is its caller's."""
    _, package, path = file.rpartition(PACKAGE)
    found = [place for place in _PLACES if f"{path}|{name}".startswith(place)]
    return _PLACES[max(found, key=len)] if package and found else -1
