"""What an app saw in a cell of the drill, and what is demanded of it.

A cell passes when it meets every demand of its scenario. It is *safe* when it does not, but the app
got a prompt error of a type that it can catch, and nothing false. Everything else fails.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import openai

from tests.faults.drill.upstream import STEADY, Attempt

Verdict = Literal["pass", "safe", "fail"]
PROMPT = 35.0
"""Seconds after which an error is not prompt any more: the client's own patience, and some."""
CAP = 3
"""Attempts of one call, over all routes."""


@dataclass
class Reply:
    """What an app got for one call; times are in seconds from the call on.

    Attributes:
        first: When its first content came.
        usage: The tokens of prompt and answer, None where nothing is told.
    """

    at: float
    text: str = ""
    model: str = ""
    finish: str | None = None
    usage: tuple[int, int] | None = None
    first: float | None = None
    seconds: float = 0.0
    error: Exception | None = None


@dataclass
class Cell:
    """One scenario by one face, plain or streamed.

    Attributes:
        primary: The model that fails.
        truth: What each model answers when nothing goes wrong.
        replies: What came back for the scenario's calls, in their order.
        after: What came back for a plain question afterwards.
        attempts: What the providers were asked for the scenario's calls.
        rows: The ledger's rows for them: attempt, model, outcome, certainty and cost.
        invoice: What the providers bill for models that have a price, in nano-dollars.
        filtered: What the log of calls notes for review, None where there is no log.
    """

    primary: str
    truth: Mapping[str, str]
    streamed: bool
    replies: list[Reply] = field(default_factory=list[Reply])
    after: Reply | None = None
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    rows: list["Row"] = field(default_factory=list["Row"])
    invoice: int = 0
    filtered: list[str] | None = None

    @property
    def reply(self) -> Reply:
        """The first call's."""
        return self.replies[0]

    def asked(self, model: str = "") -> list[Attempt]:
        """Return the attempts on one model, by default the failing one."""
        return [one for one in self.attempts if one.model == (model or self.primary)]

    def is_full(self, reply: Reply) -> bool:
        """Return whether a reply is all that the model it names has to say, usage included."""
        is_ended = reply.error is None and reply.finish == "stop" and reply.usage is not None
        return is_ended and reply.text == self.truth.get(reply.model)


@dataclass(frozen=True)
class Row:
    """One row of the ledger."""

    attempt: int
    model: str
    outcome: str
    certainty: str
    cost: int | None


Demand = Callable[[Cell], str]
"""Says what is wrong, "" for nothing."""


def judge(cell: Cell, demands: Sequence[Demand]) -> tuple[Verdict, list[str]]:
    """Return the verdict on a cell, and what is wrong with it."""
    wrong = [problem for demand in (*ALWAYS, *demands) if (problem := demand(cell))]
    if not wrong:
        return "pass", wrong
    is_safe = all(cell.is_full(reply) or _is_honest(reply) for reply in cell.replies)
    has_error = any(reply.error is not None for reply in cell.replies)
    is_bounded = len(cell.attempts) <= CAP * len(cell.replies)
    return ("safe" if is_safe and has_error and is_bounded else "fail"), wrong


def _is_honest(reply: Reply) -> bool:
    return is_typed(reply.error) and reply.seconds <= PROMPT


def is_typed(error: Exception | None) -> bool:
    """Return whether an error is the official client's own, and says what happened."""
    return isinstance(error, openai.APIError) and error.code not in {None, "", "internal_error"}


def told(reply: Reply) -> str:
    """Return how a call ended, in a few words."""
    if reply.error is not None:
        code = getattr(reply.error, "code", "")
        return f"{type(reply.error).__name__} {code or reply.error}"
    return f"{len(reply.text.split())} words of {reply.model}, ended by {reply.finish}"


# Of every cell.


def books_every_attempt(cell: Cell) -> str:
    """The ledger has one row for each attempt, and no other."""
    seen, booked = len(cell.attempts), len(cell.rows)
    return "" if seen == booked else f"{seen} attempts, but {booked} rows"


def keeps_the_cap(cell: Cell) -> str:
    """No call costs more than three attempts."""
    made, most = len(cell.attempts), CAP * len(cell.replies)
    return "" if made <= most else f"{made} attempts, at most {most} are allowed"


def stays_alive(cell: Cell) -> str:
    """The next call is answered as if nothing had been."""
    reply = cell.after
    if reply is not None and cell.is_full(reply) and reply.seconds < 5:
        return ""
    return f"the next call: {told(reply) if reply else 'none'}"


ALWAYS: tuple[Demand, ...] = (books_every_attempt, keeps_the_cap, stays_alive)


# Of some scenarios.


def answered(cell: Cell) -> str:
    """Every call got a full answer, and usage."""
    others = [told(reply) for reply in cell.replies if not cell.is_full(reply)]
    return f"no full answer: {others[0]}" if others else ""


def answered_by(model: str) -> Demand:
    """Return the demand that a model gave the answer."""
    return lambda cell: "" if cell.reply.model == model else f"answered by {cell.reply.model!r}"


def answered_by_primary(cell: Cell) -> str:
    """The model that had failed gave the answer."""
    return answered_by(cell.primary)(cell)


failed_over = answered_by(STEADY)


def answered_or_told(cell: Cell) -> str:
    """The call got a full answer or an error that says what happened."""
    reply = cell.reply
    return "" if cell.is_full(reply) or is_typed(reply.error) else f"neither: {told(reply)}"


def ended_within(seconds: float) -> Demand:
    """Return the demand that the call took no longer."""
    return lambda cell: (
        "" if cell.reply.seconds <= seconds else f"took {cell.reply.seconds:.1f} s of {seconds:g}"
    )


def began_within(seconds: float) -> Demand:
    """Return the demand that content came in time."""

    def demand(cell: Cell) -> str:
        first = cell.reply.first
        is_met = first is not None and first <= seconds
        return "" if is_met else f"first content after {first} s, {seconds:g} are allowed"

    return demand


def asked_exactly(count: int) -> Demand:
    """Return the demand that the failing model was asked so often."""
    return lambda cell: (
        "" if len(cell.asked()) == count else f"{len(cell.asked())} attempts on {cell.primary}"
    )


def asked_at_most(count: int, within: float) -> Demand:
    """Return the demand that there were no more attempts in the first seconds."""

    def demand(cell: Cell) -> str:
        begin = cell.attempts[0].at if cell.attempts else 0.0
        made = sum(one.at - begin <= within for one in cell.attempts)
        return "" if made <= count else f"{made} attempts in {within:g} s"

    return demand


def waited(seconds: float) -> Demand:
    """Return the demand that the failing model was left alone for so long."""

    def demand(cell: Cell) -> str:
        times = [one.at for one in cell.asked()]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        return "" if all(gap >= seconds for gap in gaps) else f"came back after {min(gaps):.2f} s"

    return demand


def let_go(within: float) -> Demand:
    """Return the demand that no attempt on the failing model was kept open for longer."""

    def demand(cell: Cell) -> str:
        kept = [one for one in cell.asked() if one.until is None or one.until - one.at > within]
        return f"{len(kept)} attempts were kept open" if kept else ""

    return demand


def refused_with(kind: type[openai.APIStatusError], code: str, word: str) -> Demand:
    """Return the demand that the app got the provider's own refusal."""

    def demand(cell: Cell) -> str:
        error = cell.reply.error
        is_met = isinstance(error, kind) and error.code == code and word in error.message
        return "" if is_met else f"not the provider's own reason: {told(cell.reply)}"

    return demand


def noted_for_review(cell: Cell) -> str:
    """The log of calls shows what a content filter stopped."""
    is_met = cell.filtered is None or cell.filtered == [cell.primary]
    return "" if is_met else f"the log notes {cell.filtered}"


def sent_no_prefill(cell: Cell) -> str:
    """No model was asked to go on with another one's words."""
    prefilled = sum(one.is_prefilled for one in cell.attempts)
    return f"{prefilled} attempts had a prefill" if prefilled else ""


def booked_to_the_nano(cell: Cell) -> str:
    """What was booked is what the providers bill."""
    booked = sum(row.cost or 0 for row in cell.rows)
    rows = [row.model for row in cell.rows]
    seen = [one.model for one in cell.attempts]
    if rows != seen:
        return f"rows of {rows}, attempts on {seen}"
    return "" if booked == cell.invoice > 0 else f"booked {booked}, billed {cell.invoice}"
