"""One batch: what it was created with, and what is told about it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headworks.simulator.asked import Asked
from headworks.simulator.reply import Body
from headworks.types import NO_USAGE, Usage

_STATES = (
    *("in_progress", "finalizing", "completed", "failed"),
    *("expired", "cancelling", "cancelled"),
)
_OVER = frozenset({"completed", "failed", "expired", "cancelled"})


@dataclass(frozen=True, slots=True)
class Order:
    """What a batch was created with.

    Attributes:
        owner: Name of the credential.
        created: Seconds since 1970; after `expires` nothing is begun.
        kept: Seconds that the files with the results live, None for ever.
        run: Answers one request, or raises its refusal.
    """

    id: str
    owner: str
    endpoint: str
    input_file: str
    created: float
    expires: float
    run: Callable[[Asked], Body]
    metadata: Mapping[str, str] | None = None
    kept: int | None = None


@dataclass(slots=True)
class Batch:
    """One batch.

    Attributes:
        times: When it came into each state, in whole seconds.
        output: Lines of the file of answers so far; `faults` those of the file of errors.
        files: Ids of the files that are written, by kind.
        reserved: Bytes of storage that it holds.
    """

    order: Order
    status: str = "validating"
    model: str | None = None
    errors: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    times: dict[str, int] = field(default_factory=dict[str, int])
    total: int = 0
    completed: int = 0
    failed: int = 0
    usage: Usage = NO_USAGE
    output: list[bytes] = field(default_factory=list[bytes])
    faults: list[bytes] = field(default_factory=list[bytes])
    files: dict[str, str] = field(default_factory=dict[str, str])
    reserved: int = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in _OVER

    def enter(self, status: str, when: float) -> None:
        """Come into another state."""
        self.status = status
        self.times[status] = int(when)

    def add(self, usage: Usage) -> None:
        """Count the tokens of one answer in."""
        old = self.usage
        self.usage = Usage(
            old.input + usage.input,
            old.output + usage.output,
            old.cached + usage.cached,
            reasoning=old.reasoning + usage.reasoning,
        )

    def told(self) -> dict[str, Any]:
        """Return the `batch` object."""
        order, usage = self.order, self.usage
        return {
            "id": order.id,
            "object": "batch",
            "endpoint": order.endpoint,
            "model": self.model,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "input_file_id": order.input_file,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.files.get("output"),
            "error_file_id": self.files.get("error"),
            "created_at": int(order.created),
            "expires_at": int(order.expires),
            **{f"{state}_at": self.times.get(state) for state in _STATES},
            "request_counts": {
                "total": self.total,
                "completed": self.completed,
                "failed": self.failed,
            },
            "usage": {
                "input_tokens": usage.input,
                "input_tokens_details": {"cached_tokens": usage.cached},
                "output_tokens": usage.output,
                "output_tokens_details": {"reasoning_tokens": usage.reasoning},
                "total_tokens": usage.input + usage.output,
            },
            "metadata": order.metadata,
        }
