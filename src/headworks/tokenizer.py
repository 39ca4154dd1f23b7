"""Counts tokens: at once by length, exactly once the vocabulary is there.

A vocabulary takes a quarter of a second and some 50 MB to load, so it is loaded in the background,
and only when somebody first asks for an exact count in its encoding.
"""

import threading
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, final

from headworks.core.tokens import Encoding, Kind, count_request, encoding_of, guess, output_bound
from headworks.types import Request, Usage

DEFAULT_OUTPUT = 1_000
"""Output tokens that are assumed when a request sets no bound."""

_MOST_CHOICES = 128
_KINDS: Mapping[str, Kind] = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/moderations": "embeddings",
    "/v1/responses/input_tokens": "responses",
}
_WRITES = frozenset({"/v1/chat/completions", "/v1/responses", "/v1/completions"})
_TIERS = {"flex": "flex", "priority": "priority", "fast": "priority"}


@final
class Tokenizer:
    """Counts tokens of requests and texts. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loads: dict[Encoding, threading.Event] = {}

    def estimate(self, request: Request) -> Usage:
        """Return what `request` may use: four bytes a token, and its own bound for the answer."""
        output = 0
        if request.path in _WRITES:
            output = (output_bound(request.fields) or DEFAULT_OUTPUT) * _choices(request.fields)
        return Usage(guess(len(request.content)), output, tier=_tier(request.fields))

    def recount(self, request: Request, text: str) -> Usage:
        """Return what a broken answer used, `text` being its output so far.

        Exact once the vocabulary is loaded. The first call starts loading it; until it is there
        the answer is by length, upwards.
        """
        encoding, tier = encoding_of(request.model), _tier(request.fields)
        kind = _KINDS.get(request.path)
        if kind is None or not self.is_loaded(encoding):
            self.load_soon([encoding] if kind else [])
            output = 0 if kind == "embeddings" else guess(text.encode("utf-8", "replace"))
            return Usage(guess(len(request.content)), output, tier=tier)
        count = partial(self.count, encoding=encoding)
        output = 0 if kind == "embeddings" else count(text)
        return Usage(count_request(request.fields, count, kind), output, tier=tier)

    def load_soon(self, encodings: Iterable[Encoding]) -> None:
        """Begin to load vocabularies in the background; those on their way are left alone."""
        for encoding in encodings:
            with self._lock:
                if encoding in self._loads:
                    continue
                loaded = self._loads[encoding] = threading.Event()
            threading.Thread(
                target=_load, args=(encoding, loaded), name=f"load-{encoding}", daemon=True
            ).start()

    def wait_loaded(self, seconds: float | None = None) -> bool:
        """Block until all vocabularies asked for are there; return whether they are."""
        with self._lock:
            loads = list(self._loads.values())
        return all(loaded.wait(seconds) for loaded in loads)

    def is_loaded(self, encoding: Encoding) -> bool:
        """Return whether counts in `encoding` are exact, and at once."""
        loaded = self._loads.get(encoding)
        return loaded is not None and loaded.is_set()

    def count(self, text: str, encoding: Encoding) -> int:
        """Return the exact number of tokens. Blocks while the vocabulary loads."""
        return self.truncate(text, 0, encoding)[1]

    def truncate(self, text: str, most: int, encoding: Encoding) -> tuple[str, int]:
        """Return the longest prefix of at most `most` tokens, and the tokens of the whole text.

        The cut is between two characters. Characters that UTF-8 cannot say (lone surrogates)
        count as, and become, question marks. Blocks while the vocabulary loads.
        """
        if not self.is_loaded(encoding):
            self.load_soon([encoding])
            self._loads[encoding].wait()
        try:
            return _truncate(text, most, encoding)
        except UnicodeEncodeError:
            return _truncate(text.encode(errors="replace").decode(), most, encoding)


def _load(encoding: Encoding, loaded: threading.Event) -> None:
    _truncate("", 0, encoding)
    loaded.set()


def _truncate(text: str, most: int, encoding: Encoding) -> tuple[str, int]:
    """Ask the library, imported late: it maps 9 MB. Unlike its `batch_count` this costs no pool."""
    import toktok

    cut: tuple[str, int] = toktok.truncate(text, most, encoding)
    return cut


def _choices(fields: Mapping[str, Any]) -> int:
    value = fields.get("n")
    if isinstance(value, int) and not isinstance(value, bool):
        return min(max(value, 1), _MOST_CHOICES)
    return 1


def _tier(fields: Mapping[str, Any]) -> str:
    tier = fields.get("service_tier")
    return _TIERS.get(tier, "default") if isinstance(tier, str) else "default"
