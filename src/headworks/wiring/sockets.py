"""From a dispatcher and its surroundings to what WebSocket connections become."""

from headworks.core.permission import authorise_model
from headworks.dispatch import Dispatcher
from headworks.ports import InnerLimits, Journal, Ledger, Peer, UpstreamResponse
from headworks.session import Sessions
from headworks.tab import Books
from headworks.types import SocketRules


def sessions(
    dispatcher: Dispatcher,
    limits: InnerLimits,
    spent: Ledger,
    journal: Journal,
    rules: SocketRules,
) -> Sessions:
    """Return what opens sessions on the connections that the dispatcher makes.

    `spent` takes what could not be prevented.
    """
    books = Books(
        authorise=authorise_model,
        limits=limits,
        guards=(),
        estimator=dispatcher.estimator,
        router=dispatcher.router,
        homes=dispatcher.homes,
        ledger=dispatcher.ledger,
        spent=spent,
        journal=journal,
        clock=dispatcher.clock,
    )
    return Sessions(books, _peer, dispatcher.clock, rules)


def _peer(response: UpstreamResponse, rules: SocketRules) -> Peer:
    """Return the upstream's end of a connection; who has none does not load what it takes."""
    from headworks.upstream.websocket import peer_of

    return peer_of(response, rules)
