"""How much fits a model: what lists say, what providers say when it did not fit, what is asked.

Providers write how long their window is and how much they counted into the message of an error.
The forms are those of OpenAI's endpoints and of servers that speak its API (vLLM, llama.cpp).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from headworks.core.tokens import output_bound
from headworks.errors import CallError

_TOTALS = frozenset({400_000, 1_050_000})
"""Windows of models that bound their input apart: these are the sums of input and output."""

_RESERVE, _SHARE = 4_000, 4
_LEAST, _MOST = 16, 100_000_000
_MOST_FACTOR = 2.0
_NEAR, _LITTLE, _HALF = 0.8, 0.95, 0.5
_BAD_REQUEST = 400
_TOO_LONG = "context_length_exceeded"

_TOTAL = re.compile(
    r"maximum context length (?:is|of) ([\d,]+)|available context size \(?([\d,]+)", re.IGNORECASE
)
_INPUT = re.compile(r"exceed the configured limit of ([\d,]+)", re.IGNORECASE)
_ASKED = re.compile(r"requested (?:about )?([\d,]+) tokens", re.IGNORECASE)
_COMPLETION = re.compile(r"([\d,]+) (?:in|for) the completion", re.IGNORECASE)
_COUNTED = re.compile(
    r"resulted in ([\d,]+) tokens|has ([\d,]+) input tokens|request \(([\d,]+) tokens\)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Window:
    """The most tokens that a model takes; None is not known.

    Attributes:
        input: Of a request.
        total: Of a request and its answer together.
        factor: How many tokens the provider counts for each of ours, at least 1.
    """

    input: int | None = None
    total: int | None = None
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Told:
    """What a provider said of a request that was too long; None is what it kept to itself.

    Attributes:
        counted: Tokens of the request alone, without its answer's.
    """

    input: int | None = None
    total: int | None = None
    counted: int | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """What one request may hold.

    Attributes:
        window: The limit that binds.
        reserved: Tokens of it that are kept free for the answer.
    """

    window: int
    reserved: int

    @property
    def room(self) -> int:
        """Most tokens of the request; below 0 if the answer alone is too long."""
        return self.window - self.reserved


def listed(most_input: int | None, most_output: int | None) -> Window:
    """Return the window of a model that a list describes by its longest request and answer.

    Lists name the input where a model bounds it apart, else the whole window.
    """
    if most_input is None:
        return Window()
    both = most_input + (most_output or 0)
    return Window(most_input, both if both in _TOTALS else most_input)


def budget(
    window: Window, fields: Mapping[str, Any], most: int | None, reserve: int | None
) -> Budget | None:
    """Return what a request may hold, None when nothing is known that would bound it.

    The answer's part is what the request asks for, else `reserve`, else 4,000 or a quarter of the
    window. `most` bounds the request as a window of the operator's own.
    """
    total = min((one for one in (window.total, most) if one is not None), default=None)
    asked = output_bound(fields) or reserve
    whole = None
    if total is not None:
        whole = Budget(total, min(_RESERVE, total // _SHARE) if asked is None else asked)
    if window.input is not None and (whole is None or whole.room > window.input):
        return Budget(window.input, 0)
    return whole


def is_too_long(error: CallError) -> bool:
    """Return whether a provider refused a request for its length."""
    if error.code == _TOO_LONG:
        return True
    return error.status == _BAD_REQUEST and _TOTAL.search(str(error)) is not None


def told(message: str) -> Told:
    """Return what the message of such an error says."""
    asked, completion = _number(_ASKED, message), _number(_COMPLETION, message)
    counted = _number(_COUNTED, message)
    if counted is None and asked is not None:
        counted = asked - (completion or 0)
    return Told(_number(_INPUT, message), _number(_TOTAL, message), counted)


def corrected(window: Window, said: Told, ours: int) -> Window:
    """Return the window as a refusal shows it to be; `ours` is what we had counted, uncorrected.

    A provider that told nothing has less room than it was sent: a little less where that was
    about what we knew to fit, else half.
    """
    if said == Told():
        sent = ours * window.factor
        known = min((one for one in (window.input, window.total) if one), default=None)
        is_near = known is not None and sent >= known * _NEAR
        return replace(window, input=int(sent * (_LITTLE if is_near else _HALF)))
    factor = window.factor if said.counted is None else said.counted / max(1, ours)
    return replace(
        window,
        input=said.input or window.input,
        total=said.total or window.total,
        factor=min(max(1.0, factor), _MOST_FACTOR),
    )


def _number(pattern: re.Pattern[str], message: str) -> int | None:
    found = pattern.search(message)
    if found is None:
        return None
    digits = next(group for group in found.groups() if group is not None).replace(",", "")
    number = int(digits[:12] or 0)
    return number if _LEAST <= number <= _MOST else None
