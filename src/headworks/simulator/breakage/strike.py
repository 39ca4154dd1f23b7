"""What a fault knows when it strikes, and how it breaks an answer off."""

from dataclasses import dataclass

from headworks.simulator.breakage.refusals import ordered
from headworks.simulator.config import Ending, FaultRule
from headworks.simulator.problems import Refusal


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault on one answer.

    Attributes:
        ending: What follows the break.
        time: Seconds since 1970.
    """

    rule: FaultRule
    model: str
    ending: Ending
    time: float

    def refusal(self) -> Refusal:
        """Return the error that the rule asks for."""
        return ordered(self.rule, self.model, self.time)


class Broken(Exception):
    """The answer ends here."""

    def __init__(self, how: Ending) -> None:
        super().__init__(how)
        self.how: Ending = how
