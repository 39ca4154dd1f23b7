"""What a ledger and limits should say, in a few lines that leave nothing to doubt."""

from collections.abc import Iterable, Sequence

from tests.faults.simworld.scenario import PRICES


def price(model: str, input_: int, output: int, cached: int = 0) -> int:
    """Return nano-dollars, rounded up: tokens times the price per million, added, divided once."""
    rates = PRICES[model]
    dear = rates.input if rates.cached is None else rates.cached
    return -(-((input_ - cached) * rates.input + cached * dear + output * rates.output) // 10**6)


def most_in_a_minute(starts: Iterable[float], minute: float = 60.0) -> int:
    """Return the most starts in any 60 seconds, the first of them included, the last not."""
    times = sorted(starts)
    return max((sum(at <= other < at + minute for other in times) for at in times), default=0)


def most_at_once(spans: Iterable[tuple[float, float]]) -> int:
    """Return the most spans that run at one moment; one that ends when another begins is over."""
    edges: Sequence[tuple[float, int]] = sorted(
        edge for begin, end in spans for edge in ((begin, 1), (end, -1)) if begin < end
    )
    running = most = 0
    for _, step in edges:
        running += step
        most = max(most, running)
    return most
