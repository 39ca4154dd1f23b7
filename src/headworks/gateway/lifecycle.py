"""Where a server is in its life, and how many requests it is carrying."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LifecycleStatistics:
    """A snapshot of a `Lifecycle`."""

    started: bool
    draining: bool
    in_flight: int
    finished: int


class Lifecycle:
    """The life of one server, shared by its listeners, its connections and its readiness probe.

    Attributes:
        started: Whether it takes requests.
        draining: Whether it is on its way out: not ready any more, still serving.
        in_flight: Requests whose answer has not been handed over to the last byte.
        finished: Requests served since the start.
    """

    __slots__ = ("draining", "finished", "in_flight", "started")

    def __init__(self) -> None:
        self.started = False
        self.draining = False
        self.in_flight = 0
        self.finished = 0

    @property
    def is_ready(self) -> bool:
        """Whether a load balancer should send requests here."""
        return self.started and not self.draining

    def statistics(self) -> LifecycleStatistics:
        """Return what is known now."""
        return LifecycleStatistics(self.started, self.draining, self.in_flight, self.finished)
