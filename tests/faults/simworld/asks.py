"""What callers ask for, by the seed: kinds of requests, keys, patience."""

import random
from typing import Any, Final

from tests.faults.simworld.callers import Ask, Kind

KEYS: Final = {name: f"{name}-key-0123456789" for name in ("open", "tight", "narrow", "wrong")}
STORED: Final = "stored"
"""Stands for the key that lives in the store, whose secret is made when the world begins."""
NOBODY: Final = "gpt-of-nobody"
"""A model that no provider has."""
_WORDS: Final = [
    "please",
    "tell",
    "me",
    "about",
    "the",
    "quiet",
    "river",
    "near",
    "our",
    "old",
    "stone",
    "bridge",
    "in",
    "winter",
]
_LONG: Final = " ".join(_WORDS * 90) + " "
"""A preamble so long that the provider caches it."""
_MODELS: Final = ("assistant", "assistant", "single", "triple")


def callers(chance: random.Random, troubles: frozenset[str], span: float) -> list[list[Ask]]:
    """Return the calls of each caller, one after the other."""
    found: list[list[Ask]] = []
    count = 0
    crowd = 4 if "crowd" in troubles else 0
    for number in range(chance.randint(4, 12) + crowd):
        most = 12 if number < crowd else 4
        starts = sorted(chance.uniform(0, span) for _ in range(chance.randint(most // 4, most)))
        found.append([_ask(chance, troubles, count + n, at) for n, at in enumerate(starts)])
        count += len(starts)
    return found


def last_asks(count: int) -> list[Ask]:
    """Return calls for the time when all is well again, one after the other."""
    content = "are you well again"
    fields = {"model": "assistant", "stream": True, "max_completion_tokens": 5}
    return [
        Ask(
            tag := f"tag-{9000 + number}",
            "chat",
            KEYS["open"],
            {**fields, "messages": [{"role": "user", "content": f"{tag} {content}"}]},
        )
        for number in range(count)
    ]


def _ask(chance: random.Random, troubles: frozenset[str], number: int, at: float) -> Ask:
    tag = f"tag-{number:04}"
    kind: Kind = chance.choices(("chat", "embeddings", "responses", "models"), (12, 3, 4, 1))[0]
    fields = _fields(chance, kind, tag, has_long="long requests" in troubles)
    leaves, pace = None, (65_536, 0.0)
    if "leavers" in troubles and chance.random() < 0.4:
        leaves = chance.choice((0.0005, 0.05, 0.5, 2.0)) * chance.random()
    if "slow readers" in troubles and chance.random() < 0.3:
        leaves = leaves and leaves * 10
        pace = chance.choice(((300, 0.05), (2_000, 0.02), (4_000, 2.0), (1, 50.0)))
    stored = 3 if "revocation" in troubles else 0
    key = chance.choices((*KEYS, STORED), (7, 6, 1, 1, stored))[0]
    return Ask(
        tag,
        kind,
        KEYS.get(key, STORED),
        fields,
        at,
        leaves,
        resets=chance.random() < 0.5,
        pace=pace,
        deadline=chance.choice((1.0, 3.0)) if chance.random() < 0.1 else None,
    )


def _fields(chance: random.Random, kind: Kind, tag: str, *, has_long: bool) -> dict[str, Any]:
    words = " ".join(chance.choices(_WORDS, k=chance.randint(3, 40)))
    preamble = _LONG if chance.random() < 0.05 else ""
    prompt, model = f"{preamble}{tag} {words}", chance.choice(_MODELS)
    fields: dict[str, Any]
    if kind == "embeddings":
        fields = {"model": "embedder", "input": prompt, "dimensions": chance.choice((4, 64))}
        return {**fields, "encoding_format": "base64"} if chance.random() < 0.5 else fields
    turns: Any = [{"role": "user", "content": prompt}]
    if has_long and chance.random() < 0.5:
        turns = _turns(chance, tag)
        is_marked = any("headworks" in turn for turn in turns)
        model = "fitted" if is_marked else chance.choice(("fitted", "fitted", model))
    if kind == "chat":
        fields = {"model": model, "messages": turns}
        if chance.random() < 0.2:
            fields["max_completion_tokens"] = chance.randint(1, 30)
    else:
        fields = {"model": model, "input": prompt if len(turns) == 1 else turns}
    if chance.random() < 0.6:
        fields["stream"] = True
        if kind == "chat" and chance.random() < 0.3:
            fields["stream_options"] = {"include_usage": chance.random() < 0.7}
    if chance.random() < 0.03:
        fields["model"] = NOBODY
    return fields


def _turns(chance: random.Random, tag: str) -> list[dict[str, Any]]:
    """Return a conversation, perhaps a long one; a user has the last word."""
    turns: list[dict[str, Any]] = [{"role": "system", "content": f"{tag} is polite"}]
    for number in range(chance.choice((1, 4, 12, 30))):
        words = " ".join(chance.choices(_WORDS, k=chance.randint(3, 40)))
        role = "assistant" if number % 2 else "user"
        turns.append({"role": role, "content": f"{tag} {words} {number}"})
        if chance.random() < 0.1:
            turns[-1]["headworks"] = {"keep": True}
    return [*turns, {"role": "user", "content": f"{tag} and now?"}]
