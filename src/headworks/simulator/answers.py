"""What the practice OpenAI says: the same words whenever the same request comes with the same seed.

An answer is a row of pieces, each one token as far as characters allow, so that a stream can send
one token a delta, and a cut stream knows what it sent.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from headworks.simulator.chance import Chance
from headworks.simulator.examples import example
from headworks.simulator.words import sentences

_EFFORTS = {"low": 64, "medium": 128, "high": 256, "xhigh": 512, "max": 1024}
_PADDING, _STEP = "a8Kc2mZq7TxR4vLp", 16
_ASIDE = frozenset(
    {
        *("stream", "stream_options", "seed", "user", "metadata", "service_tier", "store"),
        *("n", "stop", "max_tokens", "max_completion_tokens", "max_output_tokens"),
        *("best_of", "echo", "logprobs", "top_logprobs", "moderation", "prediction"),
        "safety_identifier",
        *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"),
    }
)
"""Fields that do not change what is said, only how much of it and in which form."""


class Piece(NamedTuple):
    """Text that is sent at once, and the tokens it costs."""

    text: str
    tokens: int


Split = Callable[[str], list[Piece]]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that an answer may call, or a custom tool, which takes any text."""

    name: str
    parameters: object
    is_custom: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """What an answer must be like, whichever endpoint it was asked at.

    Attributes:
        key: Seed and digest of the request; decides every word.
        limit: Most output tokens, reasoning included.
        tool: The function to call instead of saying something.
        schema: What the text must be valid under as JSON; None for words.
        effort: How long to think first; "" for not at all.
        size: Least and about the most tokens of text.
    """

    model: str
    key: str
    limit: int | None = None
    stop: tuple[str, ...] = ()
    tool: Tool | None = None
    schema: object = None
    effort: str = ""
    size: tuple[int, int] = (20, 60)


@dataclass(frozen=True, slots=True)
class Answer:
    """One choice: text, or the arguments of a call of `tool`.

    Attributes:
        head: Tokens of the tool's name, which opens a call.
        is_cut: Whether the limit ended it.
        serial: 24 digits for ids.
    """

    pieces: tuple[Piece, ...]
    tool: str
    head: int
    reasoning: int
    is_cut: bool
    serial: str

    @property
    def text(self) -> str:
        """The whole text, or the arguments of the call."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def tokens(self) -> int:
        """All output tokens."""
        return self.reasoning + self.head + sum(piece.tokens for piece in self.pieces)


def digest(fields: Mapping[str, Any], seed: int) -> str:
    """Return what decides the words of an answer: the request's own seed if it has one."""
    own = fields.get("seed")
    said = {k: value for k, value in fields.items() if value is not None and k not in _ASIDE}
    packed = msgspec.json.encode(said, order="deterministic")
    return f"{seed if own is None else own}:{hashlib.blake2b(packed, digest_size=16).hexdigest()}"


def compose(ask: Ask, index: int, split: Split) -> Answer:
    """Return choice number `index` of the answer to `ask`."""
    chance = Chance(ask.key, index)
    serial = chance.hex(24)
    left = ask.limit if ask.limit is not None else 1 << 30
    reasoning = min(_EFFORTS.get(ask.effort, 0), left)
    left -= reasoning
    name = ask.tool.name if ask.tool else ""
    head = min(sum(piece.tokens for piece in split(name)) if name else 0, left)
    said = _pieces(ask, chance, split)
    kept = _within(said, left - head)
    is_cut = len(kept) < len(said)
    return Answer(tuple(kept), name, head, reasoning, is_cut, serial)


def obfuscation(text: str) -> str:
    """Return padding that makes events of different texts about equally long."""
    return _PADDING[len(text) % _STEP :]


def _pieces(ask: Ask, chance: Chance, split: Split) -> Sequence[Piece]:
    if ask.tool and not ask.tool.is_custom:
        return split(_json(example(ask.tool.parameters, chance)))
    if ask.schema is not None:
        return split(_json(example(ask.schema, chance)))
    return _stopped(_words(ask, chance), ask.stop)


def _words(ask: Ask, chance: Chance) -> list[Piece]:
    least, most = ask.size
    wanted = least + chance.below(max(1, most - least - 12))
    pieces: list[Piece] = []
    for sentence in sentences(chance):
        first = (" " if pieces else "") + sentence[0]
        pieces += [Piece(text, 1) for text in (first, *sentence[1:])]
        if len(pieces) >= wanted:
            break
    return pieces


def _stopped(pieces: list[Piece], stops: tuple[str, ...]) -> list[Piece]:
    """Return what stands before the first of `stops`."""
    if not stops:
        return pieces
    text = "".join(piece.text for piece in pieces)
    found = [place for place in (text.find(stop) for stop in stops) if place >= 0]
    left, kept = min(found, default=len(text)), list[Piece]()
    for piece in pieces:
        if left <= 0:
            break
        kept.append(Piece(piece.text[:left], piece.tokens))
        left -= len(piece.text)
    return kept


def _within(pieces: Sequence[Piece], limit: int) -> list[Piece]:
    kept: list[Piece] = []
    for piece in pieces:
        limit -= piece.tokens
        if limit < 0:
            break
        kept.append(piece)
    return kept


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
