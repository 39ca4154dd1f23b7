"""Counts tokens: at once by length, exactly once the vocabulary is there.

A vocabulary takes a quarter of a second and some 50 MB to load, so it is loaded in the background,
and only when somebody first asks for an exact count in its encoding.
"""

import threading
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, final

from headworks.core.thoughts import Thoughts
from headworks.core.tokens import (
    Encoding,
    Kind,
    choices,
    count_request,
    encoding_of,
    guess,
    output_bound,
)
from headworks.types import Request, Usage

DEFAULT_OUTPUT = 1_000
"""Output tokens that are assumed when a request sets no bound."""

_MEDIA = 200
"""Bytes of a file for each token that it may count as: sound at 16 kbit/s has ten tokens a second,
and a picture of a megabyte some thousands."""

_PAUSE = 0.1
"""Seconds until a vocabulary is loaded that a broken answer asked for: loading stops the process for
a moment, in which a provider that is being left would write on."""

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
        self._thoughts = Thoughts()

    def estimate(self, request: Request) -> Usage:
        """Return what `request` may use: four bytes a token, and its own bound for the answer."""
        fields, output = request.fields, 0
        if request.path in _WRITES:
            output = output_bound(fields) or DEFAULT_OUTPUT
            if "n" in fields:
                output *= choices(fields)
        tier = _tier(fields) if "service_tier" in fields else "default"
        return Usage(_length(request), output, tier=tier)

    def learn(self, request: Request, model: str, usage: Usage) -> None:
        """Learn from what `model` reported of its answer how long it thinks unseen."""
        self._thoughts.learn(model, request.fields, usage)

    def recount(self, request: Request, text: str, lost: int = 0) -> Usage:
        """Return what a broken answer used, `text` being its output so far, `lost` tokens behind it.

        Exact once the vocabulary is loaded, but for what the model has thought unseen. The first
        call starts loading it; until it is there the answer is by length, upwards.
        """
        encoding, tier = encoding_of(request.model), _tier(request.fields)
        kind = _KINDS.get(request.path)
        if kind is None or not self.is_loaded(encoding):
            self.load_soon([encoding] if kind else [], after=_PAUSE)
            output = 0
            if kind != "embeddings":
                output = guess(text.encode("utf-8", "replace"))
                output = self._with_unseen(request, output, lost)
            return Usage(_length(request), output, tier=tier)
        count = partial(self.count, encoding=encoding)
        output = 0 if kind == "embeddings" else self._with_unseen(request, count(text), lost)
        return Usage(count_request(request.fields, count, kind), output, tier=tier)

    def _with_unseen(self, request: Request, output: int, lost: int) -> int:
        """Return the output with what was thought and what was lost, as far as its bound allows."""
        if request.path not in _WRITES:
            return output
        fields = request.fields
        whole = output + lost + self._thoughts.likely(request.model, fields)
        bound = output_bound(fields)
        return whole if bound is None else max(output, min(whole, bound * choices(fields)))

    def load_soon(self, encodings: Iterable[Encoding], *, after: float = 0.0) -> None:
        """Load vocabularies in the background, in so many seconds; those on their way are left."""
        for encoding in encodings:
            with self._lock:
                if encoding in self._loads:
                    continue
                loaded = self._loads[encoding] = threading.Event()
            loading = threading.Timer(after, _load, (encoding, loaded))
            loading.name, loading.daemon = f"load-{encoding}", True
            loading.start()

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


def _length(request: Request) -> int:
    """Guess the tokens of a request by its bytes: text has four to a token, sound many more."""
    if request.upload is None and request.model_at is None:
        return guess(len(request.content))
    return -(-request.size // _MEDIA)


def _tier(fields: Mapping[str, Any]) -> str:
    tier = fields.get("service_tier")
    return _TIERS.get(tier, "default") if isinstance(tier, str) else "default"
