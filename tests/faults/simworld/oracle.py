"""What a ledger should say, in a few lines that leave nothing to doubt."""

from tests.faults.simworld.scenario import PRICES


def price(model: str, input_: int, output: int, cached: int = 0) -> int:
    """Return nano-dollars, rounded up: tokens times the price per million, added, divided once."""
    rates = PRICES[model]
    dear = rates.input if rates.cached is None else rates.cached
    return -(-((input_ - cached) * rates.input + cached * dear + output * rates.output) // 10**6)
