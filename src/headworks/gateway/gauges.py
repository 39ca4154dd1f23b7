"""What a scrape shows of a running gateway beside its calls: its state, read when it is asked for."""

from collections.abc import Callable

from headworks.build import Assembly
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


def show_state(assembly: Assembly) -> None:
    """Let the assembly's metrics show its upstreams, ledger, journals and keys."""
    _show_upstreams(assembly)
    _show_ledger(assembly)
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
        "Settlements given up; the next start books the estimate.",
        lambda: of().dropped,
    )
