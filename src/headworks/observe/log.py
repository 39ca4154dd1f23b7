"""What the process writes to its log: no secret, no control character, one line a record."""

import base64
import json
import logging
import re
import sys
import urllib.parse
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Literal, TextIO

from typing_extensions import override

from headworks.core.memo import Memo
from headworks.types import Secret

_SHORTEST = 4
"""Secrets below this length are left alone: a log without the letter `a` helps nobody."""

_MOST_WORDS = 4096
_LONGEST = 200

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Redaction:
    """Replaces every known secret by `***`, in whichever form it appears.

    Forms: as it is, in JSON, percent-encoded, and in base64 at each of the three places that it can
    have in a longer text (as in `Authorization: Basic`).

    Attributes:
        word: As `apply`, for a short text that comes again and again, such as a feature's name.
        words: As `word`, for several that come together; each is cut to 200 characters.
    """

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._forms: tuple[str, ...] = ()
        self._starts: frozenset[str] = frozenset()
        self._shortest = 0
        self._words = Memo(self._shown, _MOST_WORDS)
        self._groups = Memo(self._all_shown, _MOST_WORDS)
        self.word: Callable[[str], str] = self._words.__getitem__
        self.words: Callable[[tuple[str, ...]], tuple[str, ...]] = self._groups.__getitem__
        self.learn(secrets)

    def learn(self, secrets: Iterable[Secret]) -> None:
        """Know more secrets from now on; what was known stays known."""
        forms = set(self._forms)
        for secret in secrets:
            forms.update(_forms(secret.reveal()))
        self._forms = tuple(sorted(forms, key=len, reverse=True))
        self._starts = frozenset(form[:_SHORTEST] for form in forms)
        self._shortest = min(map(len, forms), default=0)
        self._words.clear()
        self._groups.clear()

    def _shown(self, text: str) -> str:
        return self.apply(text) if self._may_hold(text) else text

    def _all_shown(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple([self.word(text[:_LONGEST]) for text in texts])

    def _may_hold(self, text: str) -> bool:
        """Whether a secret may stand in a text: one look, however many secrets there are."""
        ends = range(_SHORTEST, len(text) - self._shortest + _SHORTEST + 1)
        return not self._starts.isdisjoint([text[end - _SHORTEST : end] for end in ends])

    def apply(self, text: str) -> str:
        """Return the text without any secret."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, "***")
        return text


def _forms(value: str) -> set[str]:
    """Return how a secret may look in a text."""
    if len(value) < _SHORTEST:
        return set()
    forms = {
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        urllib.parse.quote(value, safe=""),
        urllib.parse.quote(value),
        urllib.parse.quote_plus(value),
        repr(value)[1:-1],
    }
    raw = value.encode()
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + raw).decode()
        core = encoded[(0, 2, 3)[shift] : (len(raw) + shift) * 8 // 6]
        if len(core) > _SHORTEST:
            forms |= {core, core.replace("+", "-").replace("/", "_")}
    return forms


def escape(text: str) -> str:
    """Return the text with control characters spelled out, so that it stays one harmless line."""
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class _Line(logging.Formatter):
    """Writes a record as one line of text, without secrets."""

    def __init__(self, redaction: Redaction) -> None:
        super().__init__()
        self._redaction = redaction

    @override
    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname.lower()
        return f"{_moment(record.created)} {level:<8} {record.name}: {self.message(record)}"

    def message(self, record: logging.LogRecord) -> str:
        """Return what the record says, with its traceback, safe to show."""
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return escape(self._redaction.apply(text))


class _JsonLine(_Line):
    """Writes a record as one line of JSON, without secrets."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(
            {
                "time": _moment(record.created),
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": self.message(record),
            },
            ensure_ascii=False,
        )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def configure_logging(
    redaction: Redaction,
    *,
    style: Literal["json", "text"] = "text",
    level: str = "INFO",
    stream: TextIO | None = None,
) -> None:
    """Send the log of the whole process to `stream` (stderr), one line a record."""
    out = logging.StreamHandler(stream or sys.stderr)
    out.setFormatter(_JsonLine(redaction) if style == "json" else _Line(redaction))
    root = logging.getLogger()
    root.handlers[:] = [out]
    root.setLevel(level)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
