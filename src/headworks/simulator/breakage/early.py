"""What strikes before the head of an answer."""

from headworks.simulator.breakage import refusals
from headworks.simulator.breakage.strike import Broken, Strike


def nothing(_strike: Strike) -> None:
    """Let the answer come."""


def refuse(strike: Strike) -> None:
    """Raise the ordered error."""
    raise strike.refusal()


def send_elsewhere(strike: Strike) -> None:
    """Raise a redirection."""
    raise refusals.redirect(strike.rule)


def filter_input(_strike: Strike) -> None:
    """Raise the refusal of a prompt."""
    raise refusals.filtered()


def break_off(strike: Strike) -> None:
    """End the connection, or let it hang."""
    raise Broken(strike.ending)
