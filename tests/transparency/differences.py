"""What became of a message on its way: nothing, or differences that can be named."""

from typing import NamedTuple

import msgspec

from tests.transparency.messages import Message

_UPSTREAM = "x-headworks-upstream-"
_OF_A_MESSAGE = frozenset({"content-length", "date", "transfer-encoding"})
"""Fields that whoever writes a message sets by itself."""


class Difference(NamedTuple):
    """Something that did not pass as it was.

    Attributes:
        where: The part of the exchange; `what` names the thing, `becomes` says what is done with it.
        shown: An example, for whoever has to find the reason.
    """

    where: str
    what: str
    becomes: str
    shown: str = ""


def of_fields(where: str, sent: Message, got: Message) -> list[Difference]:
    """Return the header fields that are not the same on both sides."""
    before, after = sent.values(), got.values()
    found = []
    for name, values in before.items():
        renamed = _UPSTREAM + name.removeprefix("x-")
        if after.get(renamed) == values:
            del after[renamed]
            found.append(Difference(where, name, "renamed"))
        elif name not in after:
            found.append(Difference(where, name, "dropped"))
        elif (now := after.pop(name)) != values:
            found.append(Difference(where, name, "replaced", f"{values} -> {now}"))
    found += [Difference(where, name, "added", str(values)) for name, values in after.items()]
    return [one._replace(becomes="set anew") if one.what in _OF_A_MESSAGE else one for one in found]


def kept_fields(sent: Message, got: Message) -> set[str]:
    """Return the header fields that are the same on both sides."""
    before, after = sent.values(), got.values()
    return {name for name, values in before.items() if after.get(name) == values} - _OF_A_MESSAGE


def of_json(where: str, sent: bytes, got: bytes) -> list[Difference]:
    """Return what differs between two objects, by their outermost fields."""
    if sent == got:
        return []
    try:
        before, after = _fields(sent), _fields(got)
    except msgspec.DecodeError:
        return [Difference(where, "all of it", "replaced", f"{sent[:300]!r} -> {got[:300]!r}")]
    found = [Difference(where, name, "dropped") for name in before if name not in after]
    found += [Difference(where, name, "added") for name in after if name not in before]
    found += [
        Difference(where, name, "replaced", f"{before[name][:200]!r} -> {after[name][:200]!r}")
        for name in before
        if name in after and before[name] != after[name]
    ]
    if [name for name in before if name in after] != [name for name in after if name in before]:
        found.append(Difference(where, "the order of the outermost fields", "changed"))
    if got != _written(after):
        found.append(Difference(where, "the bytes", "changed", f"{sent!r} -> {got!r}"))
    elif sent != _written(before):
        found.append(Difference(where, "white space around the outermost fields", "dropped"))
    return found


def _fields(content: bytes) -> dict[str, bytes]:
    raw = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    return {name: bytes(value) for name, value in raw.items()}


def _written(fields: dict[str, bytes]) -> bytes:
    """Write an object with nothing between its fields."""
    pairs = (msgspec.json.encode(name) + b":" + value for name, value in fields.items())
    return b"{" + b",".join(pairs) + b"}"
