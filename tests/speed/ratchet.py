"""A recorded figure that moves only on purpose."""

from typing import Final

SLACK: Final = 10
"""By how many parts in a hundred a figure may differ from its record: noise is a third of that."""

RECORD: Final = ".venv/bin/python bench/steps_count.py --record"
"""Writes down what is counted now."""


def complaint(name: str, recorded: int, found: int) -> str:
    """Return what is wrong with a figure, "" if it is within the slack of its record.

    A figure that has fallen is a complaint too: what was won could be lost again unseen.
    """
    if abs(found - recorded) * 100 <= recorded * SLACK:
        return ""
    change = found / recorded - 1
    told = f"{name} takes {found:,} instructions, {change:+.1%} beside the recorded {recorded:,}. "
    if change > 0:
        return told + f"Make it cheaper, or if it is worth that, raise the record: {RECORD}"
    return told + f"Well done. Keep it: lower the record: {RECORD}"
