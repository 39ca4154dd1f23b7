"""The provider behind all endpoints: its models, its books, and what it keeps."""

from collections.abc import Callable
from typing import final

from headworks.ports import Clock
from headworks.simulator import problems
from headworks.simulator.accounts import Account, Accounts, quota_exceeded
from headworks.simulator.asked import Asked
from headworks.simulator.batches import Batches
from headworks.simulator.charge import charge
from headworks.simulator.config import SimulatorConfig
from headworks.simulator.endpoints.chat_store import Chats
from headworks.simulator.endpoints.stored import Shelf
from headworks.simulator.invoice import Books
from headworks.simulator.limiter import UNLIMITED, Admission, Limiter
from headworks.simulator.meter import Meter
from headworks.simulator.models import Models
from headworks.simulator.problems import Refusal
from headworks.simulator.storage import Storage
from headworks.simulator.uploading import Uploads
from headworks.tokenizer import Tokenizer
from headworks.types import Usage


@final
class Provider:
    """What the endpoints of one simulator share.

    Attributes:
        strike: Returns the refusal with which one request of a batch meets its fault, None for none.
    """

    def __init__(
        self, config: SimulatorConfig, clock: Clock, tokenizer: Tokenizer | None = None
    ) -> None:
        self.config, self.clock = config, clock
        self.models = Models(config, clock)
        self.books = Books(self.models, clock, config.keep)
        self.tokenizer = tokenizer or Tokenizer()
        self.meter = Meter(self.tokenizer, self.models, clock)
        self.accounts = Accounts(config.credentials, config.organization)
        self.limiter = Limiter(config.limits, clock)
        self.shelf, self.chats = Shelf(), Chats()
        self.storage = Storage(clock, config.storage)
        self.batches = Batches(clock)
        self.uploads = Uploads(clock, self.storage)
        self.strike: Callable[[Asked, bytes], Refusal | None] = lambda _asked, _content: None
        self.books.before_reading = self.batches.catch_up_now

    def served_model(self, asked: Asked, kind: str) -> str:
        """Return the model that is asked for, or raise the refusal of one that is not served."""
        if not asked.model:
            raise problems.no_model()
        if not self.models.is_served(asked.model):
            raise problems.unknown_model(asked.model, kind)
        return asked.model

    def check_quota(self, asked: Asked, account: Account) -> None:
        """Return, or raise the refusal of a key that has spent its money; reading is free."""
        if account.quota is None or asked.method != "POST":
            return
        if self.books.spent(account.name) >= account.quota:
            raise quota_exceeded()

    def admit(self, asked: Asked, account: Account, usage: Usage) -> Admission:
        """Take a request's charge from its limits, or raise the refusal of one over a limit.

        `usage` tells the tokens of its prompt.
        """
        cost = charge(asked.path, asked.fields, usage.input, self.limiter.era(asked.model))
        if cost is None:
            return UNLIMITED
        return self.limiter.admit(cost, asked.model, account.organization, account.project)

    def reset(self) -> None:
        """Forget all that happened."""
        self.books.reset()
        self.meter.forget()
        self.limiter.reset()
        self.shelf.reset()
        self.chats.reset()
        self.batches.reset()
        self.uploads.reset()
        self.storage.reset()
