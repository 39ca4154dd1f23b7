"""JSON as others may write it: every spelling that means the same, and fields that nobody knows."""

from itertools import cycle
from typing import Any

UNKNOWN = '"x_unknown"'
"""How the name of a field that no description has is spelled."""

_UNKNOWN_VALUES = (
    '{"deep":[1.0,1e3,-0.0,1E-7,123456789012345678901234567890,0.1000]}',
    '["\\u00e9\\ud83d\\ude00\\/\\u0041","\u00e9\U0001f600/A"]',
    "1.50e+2",
    "null",
    '"\\u2028\u2028 data: [DONE]"',
)
_INTEGERS = ("{}", "{}.0", "{}e0", "{}")


class Speller:
    """Writes values as JSON, each as another writer would; every object has an unknown field.

    Spaced, it puts white space wherever JSON allows it. With `plain` the numbers and the object
    around all of it are as everybody writes them.
    """

    def __init__(self, *, plain: bool = False) -> None:
        self._plain = plain
        self._unknown = cycle(_UNKNOWN_VALUES)
        self._integers = cycle(_INTEGERS)
        self._turn = 0

    def spell(self, value: Any, *, spaced: bool = False) -> bytes:
        """Return a value's bytes."""
        comma, colon, line = (" , ", " : ", "\r\n\t ") if spaced else (",", ":", "")
        return self._spell(value, comma, colon, line).encode()

    def _spell(self, value: Any, comma: str, colon: str, line: str) -> str:
        if isinstance(value, dict):
            pairs = [
                self._text(name) + colon + self._spell(one, comma, colon, line)
                for name, one in value.items()
            ]
            self._turn += 1
            pairs.insert(len(pairs) * (self._turn % 2), UNKNOWN + colon + next(self._unknown))
            return "{" + line + comma.join(pairs) + line + "}"
        if isinstance(value, list):
            return "[" + comma.join(self._spell(one, comma, colon, line) for one in value) + "]"
        return self._scalar(value)

    def _scalar(self, value: Any) -> str:
        match value:
            case None:
                return "null"
            case bool():
                return "true" if value else "false"
            case str():
                return self._text(value)
            case int() if not self._plain:
                return next(self._integers).format(value)
            case _:
                return repr(value)

    def _text(self, text: str) -> str:
        """Write a text, every second one with escapes for all that may be escaped."""
        self._turn += 1
        if self._turn % 2 or self._plain:
            return '"' + "".join(_NEEDED.get(letter, letter) for letter in text) + '"'
        return '"' + "".join(map(_escaped, text)) + '"'


_NEEDED = {chr(n): f"\\u{n:04X}" for n in range(32)} | {'"': '\\"', "\\": "\\\\", "\n": "\\n"}


def _escaped(letter: str) -> str:
    if letter.isascii() and letter.isalnum():
        return letter
    if letter == "/":
        return "\\/"
    units = letter.encode("utf-16-be").hex()
    return "".join(f"\\u{units[n : n + 4]}" for n in range(0, len(units), 4))
