"""How much a report may take: where others wait for the machine, it is given up instead."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from headworks.errors import ConfigurationError


class UsageTooWide(ConfigurationError):
    """A report takes longer, or says more, than whoever asks for it may have."""


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a report may take.

    Attributes:
        is_over: Whether its time is up. Asked often, by the thread that reads.
        groups: How many groups it may have.
    """

    is_over: Callable[[], bool] = _never
    groups: int = 2**63 - 1

    def check(self, groups: int) -> None:
        """Raise `UsageTooWide` if there are too many groups."""
        if groups > self.groups:
            problem = (
                f"--by: the report has more than {self.groups:,} groups; group by less, narrow it "
                "with where, since and until, or run `headworks usage` where the ledger lies"
            )
            raise UsageTooWide([problem])


NO_BOUNDS: Final = Bounds()


def too_slow(rows: int) -> UsageTooWide:
    """Return the refusal of a report whose time is up, and which reads so many rows."""
    problem = (
        f"--by: the report reads {rows:,} of the ledger's rows one by one, which takes longer than "
        "is allowed here; narrow since and until, group by axes that sums are kept of, or run "
        "`headworks usage` where the ledger lies"
    )
    return UsageTooWide([problem])
