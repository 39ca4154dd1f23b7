"""What some endpoints bill in the place of tokens: seconds, characters, images.

A price that has such a rate has it as a tier of that name, per million of the unit; and so a usage
that counts units is a usage of that tier: what is sent (characters, seconds of sound) as input,
what is made (images, seconds of video) as output.
"""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Literal, NamedTuple, get_args

import msgspec

from headworks.core.shapes import as_list
from headworks.types import Request, Usage

Measure = Literal["second", "character", "image"]
MEASURES: Final[frozenset[str]] = frozenset(get_args(Measure))
USUAL: Final = "token"
"""What everything else is billed by."""

_SLOWEST: Final = 2_000
"""Bytes in a second of speech, as sparsely as it is usually stored: 16 kbit/s."""
_CLIP: Final = 4
"""Seconds of a video that is not told how long to be."""
_MOST: Final = 10**6


class Counted(NamedTuple):
    """What a request came to; `is_exact` unless we had to guess."""

    usage: Usage
    is_exact: bool


def is_measured(path: str) -> bool:
    """Return whether requests there may be billed by another measure than tokens."""
    return path in _COUNTS


def counted(request: Request, priced: Collection[str], answer: bytes | None) -> Counted | None:
    """Return what a request comes to in the measure that its price is in.

    None, where it is billed by tokens, or nobody knows how. Without an answer it is what may come.
    """
    found = _COUNTS.get(request.path) if request.method == "POST" else None
    if found is None or found[0] not in priced:
        return None
    return found[1](request, _decoded(answer))


class _Answer(msgspec.Struct):
    duration: Any = None
    data: Any = None
    seconds: Any = None


_NO_ANSWER: Final = _Answer()


def _decoded(answer: bytes | None) -> _Answer:
    if answer is None:
        return _NO_ANSWER
    try:
        return msgspec.json.decode(answer, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _NO_ANSWER


def _characters(request: Request, _: _Answer) -> Counted:
    text = request.fields.get("input")
    length = len(text) if isinstance(text, str) else len(request.content)
    return Counted(Usage(length, tier="character"), isinstance(text, str))


def _sound(request: Request, answer: _Answer) -> Counted:
    told = _number(answer.duration)
    if told is not None:
        return Counted(Usage(math.ceil(told), tier="second"), is_exact=True)
    return Counted(Usage(-(-request.size // _SLOWEST), tier="second"), is_exact=False)


def _images(request: Request, answer: _Answer) -> Counted:
    if answer.data.__class__ is list:
        return Counted(Usage(output=len(as_list(answer.data)), tier="image"), is_exact=True)
    asked = _number(request.fields.get("n"))
    return Counted(Usage(output=max(1, math.ceil(asked or 1)), tier="image"), is_exact=False)


def _video(request: Request, answer: _Answer) -> Counted:
    told, asked = _number(answer.seconds), _number(request.fields.get("seconds"))
    length = math.ceil(told or asked or _CLIP)
    return Counted(Usage(output=length, tier="second"), is_exact=bool(told or asked))


def _number(value: object) -> float | None:
    """Return a sensible number, also one that a form or an answer spells as text."""
    if isinstance(value, str) and len(value) <= len(str(_MOST)):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= _MOST else None


_COUNTS: Final[Mapping[str, tuple[Measure, Callable[[Request, _Answer], Counted]]]] = {
    "/v1/audio/speech": ("character", _characters),
    "/v1/audio/transcriptions": ("second", _sound),
    "/v1/audio/translations": ("second", _sound),
    "/v1/images/generations": ("image", _images),
    "/v1/images/edits": ("image", _images),
    "/v1/images/variations": ("image", _images),
    "/v1/videos": ("second", _video),
}
