"""Answers whose usage lies.

The account is kept of what was really generated, whatever the answer says.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from headworks.simulator.breakage.strike import Strike
from headworks.simulator.fields import is_map
from headworks.simulator.reply import Reply, Step

_HUGE = 10**15
_DATA = b"data: "
_decode, _encode = msgspec.json.decode, msgspec.json.encode
Object = dict[str, Any]
Edit = Callable[[Object], None]
Steps = Iterator[Step]


def each(edit: Edit) -> Callable[[Steps, Reply, Strike], Steps]:
    """Return what edits the JSON of every event of a stream."""

    def edit_events(steps: Steps, _reply: Reply, _strike: Strike) -> Steps:
        return (step._replace(data=_event(step.data, edit)) for step in steps)

    return edit_events


def whole(edit: Edit) -> Callable[[bytes, Strike], Iterator[bytes]]:
    """Return what edits a whole JSON body."""

    def edit_body(content: bytes, _strike: Strike) -> Iterator[bytes]:
        yield _json(content, edit)

    return edit_body


def usage(change: Callable[[Object], object]) -> Edit:
    """Return the edit that puts `change(usage)` in the place of every usage that is there."""

    def edit(content: Object) -> None:
        for holder in (content, content.get("response")):
            if is_map(holder) and is_map(holder.get("usage")):
                holder["usage"] = change(holder["usage"])

    return edit


def without_usage(content: Object) -> None:
    """Take every usage out of an object."""
    for holder in (content, content.get("response")):
        if is_map(holder) and is_map(holder.get("usage")):
            del holder["usage"]


def numbers(change: Callable[[int], object]) -> Callable[[Object], object]:
    """Return what puts `change(n)` in the place of each number of a usage."""

    def change_all(used: Object) -> object:
        return {
            name: change_all(value) if is_map(value) else change(value)
            for name, value in used.items()
        }

    return change_all


null = usage(lambda _: None)
zero = usage(numbers(lambda _: 0))
negative = usage(numbers(lambda n: -n - 1))
huge = usage(numbers(lambda n: n + _HUGE))
text = usage(numbers(lambda n: f"{n} tokens"))


def no_usage(steps: Steps, reply: Reply, strike: Strike) -> Steps:
    """Yield a stream without its usage, be it an event or a field."""
    return each(without_usage)((step for step in steps if step.kind != "usage"), reply, strike)


def doubled_usage(steps: Steps, _reply: Reply, _strike: Strike) -> Steps:
    """Yield the usage of a stream twice: its chunk, or the field of its last event."""
    for step in steps:
        if step.kind == "usage":
            yield step
            yield step
        else:
            yield step._replace(data=_event(step.data, _nothing, twice=True))


def doubled_usage_whole(content: bytes, _strike: Strike) -> Iterator[bytes]:
    """Yield a JSON body that has its usage twice."""
    yield _json(content, _nothing, twice=True)


def _nothing(_content: Object) -> None:
    pass


def _event(data: bytes, edit: Edit, *, twice: bool = False) -> bytes:
    """Edit the JSON in one event; its name follows its type."""
    at = data.find(_DATA)
    if at < 0 or not data.startswith(b"{", at + len(_DATA)):
        return data
    content = _json(data[at + len(_DATA) :].rstrip(b"\n"), edit, twice=twice)
    name = data[:at]
    if name:
        name = b"event: %b\n" % str(_decode(content).get("type", "")).encode()
    return b"%bdata: %b\n\n" % (name, content)


def _json(content: bytes, edit: Edit, *, twice: bool = False) -> bytes:
    try:
        read = _decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return content
    if not is_map(read):
        return content
    edit(read)
    written = _encode(read)
    if not twice:
        return written
    response = read.get("response")
    used = _encode(read.get("usage") or (response.get("usage") if is_map(response) else None))
    field = b'"usage":' + used
    return written.replace(field, field + b"," + field) if used != b"null" else written
