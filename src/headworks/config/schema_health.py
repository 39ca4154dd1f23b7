"""What may stand in headworks.yaml about routes that fail: when they are left alone, and repeats."""

from typing import Annotated

from msgspec import Meta

from headworks.config.section import Duration, Section

Share = Annotated[float, Meta(ge=0.01, le=1)]


class Breaker(Section, frozen=True, kw_only=True):
    """When a route is left alone because its calls fail, and for how long."""

    failures: Annotated[
        Share, Meta(description="Share of the calls of 30 s that must fail.", examples=[0.3])
    ] = 0.5
    calls: Annotated[
        int,
        Meta(ge=1, le=1_000_000, description="Fewer calls in 30 s prove nothing.", examples=[10]),
    ] = 20
    slow: Annotated[
        Duration | None,
        Meta(
            description="An answer that begins later counts as slow; when unset, none does.",
            examples=["30s"],
        ),
    ] = None
    slow_share: Annotated[
        Share, Meta(description="Share of the calls of 30 s that must be slow.", examples=[0.5])
    ] = 0.8
    open: Annotated[
        Duration,
        Meta(
            description="First wait before probes, doubled after each that fails. A route without "
            "a healthy alternative is asked every 5s at least.",
            examples=["10s"],
        ),
    ] = "5s"
    longest: Annotated[Duration, Meta(description="Upper bound of that wait.")] = "60s"
    probes: Annotated[
        int,
        Meta(ge=1, le=100, description="Calls that must succeed before all may pass again."),
    ] = 3


class RetryBudget(Section, frozen=True, kw_only=True):
    """How often an upstream is asked again by calls that it has failed."""

    share: Annotated[
        float,
        Meta(ge=0, le=1, description="Retries per request of the last 10 s.", examples=[0.1]),
    ] = 0.2
    floor: Annotated[
        float,
        Meta(
            ge=0, le=10_000, description="Retries a second that are allowed beside.", examples=[1]
        ),
    ] = 3.0
