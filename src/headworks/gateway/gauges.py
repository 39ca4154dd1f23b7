"""What a scrape shows of a running gateway beside its calls: its state, read when it is asked for."""

from collections.abc import Callable
from dataclasses import asdict

from headworks.build import Assembly
from headworks.config.settings import flat
from headworks.core.breaker import State
from headworks.stores.health import UpstreamHealth
from headworks.upstream.http1 import Statistics

_CONNECTIONS: tuple[tuple[str, str, Callable[[Statistics], int]], ...] = (
    ("connections_open", "Connections to the upstream, in any state.", lambda of: of.open),
    ("connections_busy", "Connections that carry a call, or are being opened.", lambda of: of.busy),
    ("connections_idle", "Connections that wait for a call.", lambda of: of.idle),
    ("waiting", "Calls that wait for a connection.", lambda of: of.waiting),
)
_DONE: tuple[tuple[str, str, Callable[[Statistics], int]], ...] = (
    ("connections_opened_total", "Connections opened.", lambda of: of.opened_total),
    ("connections_reused_total", "Calls that found a connection.", lambda of: of.reused_total),
    (
        "connections_discarded_total",
        "Connections closed before their time: broken, late, given up or not clean.",
        lambda of: of.discarded_total,
    ),
)
_STATES: dict[State, float] = {"closed": 0.0, "half-open": 1.0, "open": 2.0}


def show_state(assembly: Assembly) -> None:
    """Let the assembly's metrics show its upstreams, routes, ledger, journals and keys."""
    _show_upstreams(assembly)
    _show_health(assembly)
    _show_ledger(assembly)
    _show_queue(assembly)
    _show_idempotency(assembly)
    metrics, keys = assembly.metrics, assembly.keys
    metrics.gauge(
        "headworks_keys",
        "Keys known, revoked and expired ones included.",
        lambda: {"configured": keys.statistics().configured, "stored": keys.statistics().stored},
        "source",
    )
    metrics.gauge(
        "headworks_key_store_readable",
        "1 while the key store can be read, 0 while the keys last known are in force.",
        lambda: keys.statistics().unreadable_since is None,
    )
    metrics.counter(
        "headworks_journal_failures_total",
        "Calls that a journal did not take.",
        lambda: assembly.journals.statistics().failures,
        "journal",
    )


def _show_upstreams(assembly: Assembly) -> None:
    metrics = assembly.metrics
    metrics.gauge(
        "headworks_upstream_up",
        "1 if a connection to the upstream came about at the last look, 0 if not.",
        lambda: {
            name: state == "reachable"
            for name, state in assembly.reachability.states().items()
            if state != "unknown"
        },
        "upstream",
    )

    def by_upstream(read: Callable[[Statistics], int]) -> Callable[[], dict[str, float]]:
        return lambda: {name: read(one.statistics()) for name, one in assembly.clients.items()}

    for name, text, read in _CONNECTIONS:
        metrics.gauge(f"headworks_upstream_{name}", text, by_upstream(read), "upstream")
    for name, text, read in _DONE:
        metrics.counter(f"headworks_upstream_{name}", text, by_upstream(read), "upstream")


def _show_queue(assembly: Assembly) -> None:
    metrics, of = assembly.metrics, assembly.queue.statistics
    metrics.gauge(
        "headworks_queue_waiting",
        "Calls that wait for a limit.",
        lambda: of().waiting,
        "priority",
    )
    metrics.gauge("headworks_queue_bytes", "Size of the requests that wait.", lambda: of().size)
    metrics.gauge(
        "headworks_queue_in_flight", "Calls that the limits have let in.", lambda: of().in_flight
    )
    metrics.counter(
        "headworks_queue_served_total", "Calls let in after a wait.", lambda: of().served
    )
    metrics.counter(
        "headworks_queue_left_total",
        "Calls whose callers left while they waited.",
        lambda: of().left,
    )
    metrics.counter(
        "headworks_queue_refused_total",
        "Calls that were told to come back later.",
        lambda: of().refused,
        "reason",
    )


def _show_health(assembly: Assembly) -> None:
    metrics, of = assembly.metrics, assembly.health.statistics
    metrics.gauge(
        "headworks_breaker_state",
        "Whether calls pass to the route: 0 closed (they do), 1 half-open, 2 open; the worst of its "
        "credentials.",
        lambda: _breaker_states(assembly),
        "route",
    )
    metrics.gauge(
        "headworks_upstream_paced_routes",
        "Routes that are held to a pace since the provider asked to slow down.",
        lambda: {one.name: sum(route.pace is not None for route in one.routes) for one in of()},
        "upstream",
    )
    metrics.gauge(
        "headworks_upstream_limit_left_ratio",
        "Share left of the upstream's nearest limit: requests or tokens, of any account and model.",
        lambda: {one.name: left for one in of() if (left := _least_left(one)) is not None},
        "upstream",
    )
    metrics.gauge(
        "headworks_upstream_line",
        "Calls that wait until the upstream's limits have room for them.",
        lambda: {one.name: one.waiting for one in of()},
        "upstream",
    )
    metrics.gauge(
        "headworks_retry_budget_left",
        "Retries that the upstream may get now.",
        lambda: {one.name: one.retries_left for one in of()},
        "upstream",
    )
    metrics.counter(
        "headworks_breaker_opened_total",
        "Times that a breaker opened because calls failed.",
        lambda: {one.name: one.opened for one in of()},
        "upstream",
    )
    metrics.counter(
        "headworks_route_cooldowns_total",
        "Pauses that the provider asked for, and credentials found without quota.",
        lambda: {one.name: one.cooldowns for one in of()},
        "upstream",
    )
    metrics.counter(
        "headworks_retries_refused_total",
        "Retries that were not made because the budget was used up.",
        lambda: {one.name: one.refused for one in of()},
        "upstream",
    )


def _least_left(upstream: UpstreamHealth) -> float | None:
    shares = (max(0.0, one.left) / one.limit for route in upstream.routes for one in route.limits)
    return min(shares, default=None)


def _breaker_states(assembly: Assembly) -> dict[str, float]:
    """Return each route's state; those of models that nobody has announced are one route."""
    ways = (way for model in assembly.config.models.values() for way in flat(model.routes))
    states = {str(way): 0.0 for way in ways}
    for upstream in assembly.health.statistics():
        for one in upstream.routes:
            route = f"{one.upstream}/{assembly.metrics.label(one.model)}"
            states[route] = max(states.get(route, 0.0), _STATES[one.state])
    return states


def _show_ledger(assembly: Assembly) -> None:
    metrics, of = assembly.metrics, assembly.ledger.statistics
    gauge, counter = metrics.gauge, metrics.counter
    gauge("headworks_ledger_rows", "Attempts in the ledger.", lambda: of().rows)
    gauge("headworks_ledger_open_holds", "Attempts under way.", lambda: of().open_holds)
    gauge("headworks_ledger_owed", "Settlements that wait for the disk.", lambda: of().owed)
    gauge(
        "headworks_ledger_recovered",
        "Attempts that an earlier process left open, settled at their estimates at the start.",
        lambda: of().recovered,
    )
    gauge(
        "headworks_ledger_late",
        "Attempts that were made though the ledger could not be written, which wait for the disk.",
        lambda: of().late,
    )
    gauge(
        "headworks_ledger_damage",
        "What was found to be damaged at the start: the file, its log, rows that do not fit the "
        "chain, lines of the spool.",
        lambda: asdict(of().damage),
        "part",
    )
    counter(
        "headworks_ledger_failures_total", "Writes that the disk refused.", lambda: of().failures
    )
    counter(
        "headworks_ledger_duplicates_total",
        "Settlements of attempts that were settled before; they changed nothing.",
        lambda: of().duplicates,
    )
    counter(
        "headworks_ledger_dropped_total",
        "Settlements given up, whose estimates the next start books, and attempts in no row.",
        lambda: of().dropped,
    )


def _show_idempotency(assembly: Assembly) -> None:
    metrics, of = assembly.metrics, assembly.idempotency.statistics
    metrics.counter(
        "headworks_idempotent_replays_total",
        "Calls that got the answer of an earlier one, by their idempotency key.",
        lambda: of().replayed,
    )
    metrics.counter(
        "headworks_idempotency_failures_total",
        "Answers that could not be kept for their idempotency key.",
        lambda: of().failures,
    )
