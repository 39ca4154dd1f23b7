"""Bounds how deep JSON is nested, so that no walk through it can exhaust the stack."""

import re

MOST_DEPTH = 200
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = re.compile(rb"[^\[\]{}]+")


def is_too_deep(content: bytes) -> bool:
    """Return whether valid JSON is nested more than `MOST_DEPTH` levels deep."""
    if content.count(b"[") + content.count(b"{") <= MOST_DEPTH:
        return False
    depth = 0
    for sign in _BRACKETS.sub(b"", _STRINGS.sub(b"", content)):
        depth += 1 if sign in b"[{" else -1
        if depth > MOST_DEPTH:
            return True
    return False
