"""The provider behind all endpoints: its models, its books, and what it keeps."""

from typing import final

from headworks.ports import Clock
from headworks.simulator import problems
from headworks.simulator.accounts import Account, Accounts, quota_exceeded
from headworks.simulator.asked import Asked
from headworks.simulator.charge import charge
from headworks.simulator.config import SimulatorConfig
from headworks.simulator.invoice import Books
from headworks.simulator.limiter import UNLIMITED, Admission, Limiter
from headworks.simulator.meter import Meter
from headworks.simulator.models import Models
from headworks.tokenizer import Tokenizer
from headworks.types import Usage


@final
class Provider:
    """What the endpoints of one simulator share."""

    def __init__(
        self, config: SimulatorConfig, clock: Clock, tokenizer: Tokenizer | None = None
    ) -> None:
        self.config, self.clock = config, clock
        self.models = Models(config, clock)
        self.books = Books(self.models, clock, config.keep)
        self.meter = Meter(tokenizer or Tokenizer(), self.models)
        self.accounts = Accounts(config.credentials, config.organization)
        self.limiter = Limiter(config.limits, clock)

    def served_model(self, asked: Asked, kind: str) -> str:
        """Return the model that is asked for, or raise the refusal of one that is not served."""
        if not asked.model:
            raise problems.no_model()
        if not self.models.is_served(asked.model):
            raise problems.unknown_model(asked.model, kind)
        return asked.model

    def admit(self, asked: Asked, account: Account, usage: Usage) -> Admission:
        """Take a request's charge from its limits, or raise the refusal of one over a limit.

        `usage` tells the tokens of its prompt.
        """
        if account.quota is not None and self.books.spent(account.name) >= account.quota:
            raise quota_exceeded()
        cost = charge(asked.path, asked.fields, usage.input, self.limiter.era(asked.model))
        if cost is None:
            return UNLIMITED
        return self.limiter.admit(cost, asked.model, account.organization, account.project)

    def reset(self) -> None:
        """Forget all that happened."""
        self.books.reset()
        self.meter.forget()
        self.limiter.reset()
