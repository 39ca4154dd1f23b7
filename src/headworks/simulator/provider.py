"""The provider behind all endpoints: its models, its books, and what it keeps."""

from typing import final

from headworks.ports import Clock
from headworks.simulator import problems
from headworks.simulator.asked import Asked
from headworks.simulator.config import SimulatorConfig
from headworks.simulator.invoice import Books
from headworks.simulator.meter import Meter
from headworks.simulator.models import Models
from headworks.tokenizer import Tokenizer


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

    def served_model(self, asked: Asked, kind: str) -> str:
        """Return the model that is asked for, or raise the refusal of one that is not served."""
        if not asked.model:
            raise problems.no_model()
        if not self.models.is_served(asked.model):
            raise problems.unknown_model(asked.model, kind)
        return asked.model

    def reset(self) -> None:
        """Forget all that happened."""
        self.books.reset()
        self.meter.forget()
