"""The probabilities that the practice OpenAI gives its own words: made up, but in good order."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import log
from typing import Any

from headworks.simulator.answers import Piece
from headworks.simulator.chance import Chance
from headworks.simulator.words import NOUNS

_LEAST = 0.4
"""The least probability of a word that is said; so it is always the most probable one."""


def probabilities(pieces: Sequence[Piece], most: int, key: str) -> list[list[dict[str, Any]]]:
    """Return for each piece the entries of its tokens, each with the `most` likeliest tokens."""
    chance = Chance(key, "logprobs")
    return [[_entry(token, most, chance) for token in _tokens(piece)] for piece in pieces]


def _entry(token: bytes, most: int, chance: Chance) -> dict[str, Any]:
    likely = _LEAST + (1 - _LEAST) * chance.unit()
    said = _told(token, log(likely))
    rest, top = 1 - likely, [said]
    for other in _others(token, most - 1, chance):
        share = rest * (0.5 + 0.4 * chance.unit())
        top.append(_told(other, log(max(min(share, likely), 1e-9))))
        likely, rest = share, rest - share
    return {**said, "top_logprobs": top[:most]}


def _others(token: bytes, most: int, chance: Chance) -> Iterator[bytes]:
    first = chance.below(len(NOUNS))
    for place in range(first, first + min(most, len(NOUNS) - 1)):
        other = f" {NOUNS[place % len(NOUNS)]}".encode()
        yield other if other != token else f" {NOUNS[first - 1]}".encode()


def _told(token: bytes, logprob: float) -> dict[str, Any]:
    return {"token": _spelled(token), "logprob": logprob, "bytes": list(token)}


def _spelled(token: bytes) -> str:
    """Return a token as text, or where it is but a part of a character, as its bytes."""
    try:
        return token.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)


def _tokens(piece: Piece) -> list[bytes]:
    """Return the bytes of each token; of a piece of several, in parts about equally long."""
    content, count = piece.text.encode(errors="replace"), max(1, piece.tokens)
    bounds = [len(content) * place // count for place in range(count + 1)]
    return [content[start:end] for start, end in pairwise(bounds)]
