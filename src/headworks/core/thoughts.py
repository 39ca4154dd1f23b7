"""How long models think unseen: as long as they lately did, else as long as they were told to.

Providers bill for thoughts and do not show them. An answer that reports its usage tells how many
tokens they took; of one that broke off they are expected to be within what 95 of 100 such answers
took, model by model and effort by effort, and until there are twenty within the most of them.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from headworks.core.tokens import choices, effort_of, is_reasoning, output_bound, told_thoughts
from headworks.types import Usage

_KEPT: Final = 64
"""Answers that are remembered of each kind."""
_KINDS: Final = 1_000


class Thoughts:
    """What was reported of late, by model and effort; kinds that were met first are forgotten."""

    def __init__(self) -> None:
        self._latest: dict[tuple[str, str], deque[int]] = {}

    def learn(self, model: str, fields: Mapping[str, Any], usage: Usage) -> None:
        """Take in what an answer to a request with these fields reported.

        One that was as long as it may be tells nothing: its thoughts may have been cut short.
        """
        if not usage.reasoning and not is_reasoning(model):
            return
        count = choices(fields) if "n" in fields else 1
        bound = output_bound(fields)
        if bound is not None and usage.output >= bound * count:
            return
        kind = model, effort_of(model, fields)
        latest = self._latest.get(kind)
        if latest is None:
            if len(self._latest) >= _KINDS:
                del self._latest[next(iter(self._latest))]
            latest = self._latest[kind] = deque(maxlen=_KEPT)
        latest.append(-(-usage.reasoning // count))

    def likely(self, model: str, fields: Mapping[str, Any]) -> int:
        """Return the tokens of unseen thoughts that an answer is expected to have at most."""
        effort = effort_of(model, fields)
        latest = self._latest.get((model, effort))
        if not latest:
            return told_thoughts(effort) * choices(fields)
        within = len(latest) * 95 // 100
        return sorted(latest)[min(within, len(latest) - 1)] * choices(fields)
