"""Streams that break or are spelled oddly: each takes the steps of a stream and gives others.

What breaks a stream strikes after so many output tokens, or so many bytes; an answer that ends
earlier meets its fault at its end.
"""

import re
import zlib
from collections.abc import Callable, Iterator

from headworks.simulator.breakage.strike import Broken, Strike
from headworks.simulator.reply import Reply, Step

_DONE = b"data: [DONE]\n\n"
_AFTER_DONE = b'data: {"id":"after-done","object":"chat.completion.chunk","choices":[]}\n\n'
_COMMENT = b": keep-alive\n\n"
_PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_EMPTY = b"event: ping\n\ndata:\n\n"
_ID = re.compile(rb'"id":"([^"]+)"')
_GZIP = 31  # zlib's number for gzip framing
_HUGE = 1_000_000
_BLOCK = b" " * 65_536
Steps = Iterator[Step]


def as_they_are(steps: Steps, _reply: Reply, _strike: Strike) -> Steps:
    """Return the steps."""
    return steps


def cut(steps: Steps, _reply: Reply, strike: Strike) -> Steps:
    """Yield the steps before the fault, then break."""
    if strike.rule.after_bytes is None:
        yield from _before(steps, strike)
    else:
        yield from _within(steps, strike.rule.after_bytes)
    raise Broken(strike.ending)


def malformed(steps: Steps, _reply: Reply, strike: Strike) -> Steps:
    """Yield an event that is no JSON in the place of one."""
    return _replaced(steps, strike, lambda data: data[: len(data) * 2 // 3].rstrip() + b"\n\n")


def half(steps: Steps, _reply: Reply, strike: Strike) -> Steps:
    """Yield the first half of an event in its place."""
    return _replaced(steps, strike, lambda data: data[: len(data) // 2])


def failed(steps: Steps, reply: Reply, strike: Strike) -> Steps:
    """Yield an error event, then break."""
    count = 0
    for step in _before(steps, strike):
        count += 1
        yield step
    yield Step("token", reply.error(strike.refusal(), count))
    raise Broken(strike.ending)


def unfinished(steps: Steps, _reply: Reply, strike: Strike) -> Steps:
    """Yield all words, then end as if that were all: no event says how the answer ended."""
    for step in steps:
        if step.kind in {"close", "usage", "done"}:
            break
        yield step
    raise Broken(strike.ending)


def without_done(steps: Steps, _reply: Reply, strike: Strike) -> Steps:
    """Yield all but the last event."""
    yield from (step if step.kind != "done" else Step("done", b"") for step in steps)
    if strike.ending != "clean":
        raise Broken(strike.ending)


def with_done_twice(steps: Steps, _reply: Reply, _strike: Strike) -> Steps:
    """Yield the last event twice."""
    return _mapped(steps, "done", lambda data: data * 2)


def with_more(steps: Steps, _reply: Reply, _strike: Strike) -> Steps:
    """Yield events after the last one."""
    return _mapped(steps, "done", lambda data: data + _AFTER_DONE + _DONE)


def spelled(change: Callable[[bytes], bytes]) -> Callable[[Steps, Reply, Strike], Steps]:
    """Return what spells every event by `change`."""

    def spell(steps: Steps, _reply: Reply, _strike: Strike) -> Steps:
        return (step._replace(data=change(step.data)) for step in steps)

    return spell


with_crlf = spelled(lambda data: data.replace(b"\n", b"\r\n"))
with_cr = spelled(lambda data: data.replace(b"\n", b"\r"))
without_space = spelled(lambda data: data.replace(b"data: ", b"data:", 1))
on_several_lines = spelled(lambda data: data.replace(b"data: {", b"data: {\ndata: ", 1))
with_comments = spelled(lambda data: _COMMENT + data)
with_pings = spelled(lambda data: _PING + data)
with_empty_events = spelled(lambda data: _EMPTY + data)


def with_mark(steps: Steps, _reply: Reply, _strike: Strike) -> Steps:
    """Yield a byte order mark first."""
    mark = b"\xef\xbb\xbf"
    for step in steps:
        yield step._replace(data=mark + step.data)
        mark = b""


def with_ids(steps: Steps, _reply: Reply, _strike: Strike) -> Steps:
    """Yield events with `id` and `retry` lines."""
    for number, step in enumerate(steps):
        yield step._replace(data=b"id: %d\nretry: 3000\n%b" % (number, step.data))


def with_changing_ids(steps: Steps, _reply: Reply, _strike: Strike) -> Steps:
    """Yield events of which each names another id, as if two answers were interleaved."""
    for number, step in enumerate(steps):
        yield step._replace(data=_ID.sub(rb'"id":"\g<1>%d"' % (number % 2), step.data, count=1))


def with_huge(steps: Steps, _reply: Reply, strike: Strike) -> Steps:
    """Yield one event that is huge, and still right."""
    size = _HUGE if strike.rule.size is None else strike.rule.size
    return _at(steps, strike, lambda data: padded(data, size))


def with_invalid_text(steps: Steps, _reply: Reply, strike: Strike) -> Steps:
    """Yield one event that is no UTF-8."""
    return _at(steps, strike, spoiled)


def in_slices(steps: Steps, _reply: Reply, strike: Strike) -> Steps:
    """Yield the same bytes in pieces of so many."""
    size = max(1, strike.rule.count)
    for step in steps:
        data = step.data
        pieces = [data[at : at + size] for at in range(0, len(data), size)] or [data]
        yield from (step._replace(data=piece, tokens=0) for piece in pieces[:-1])
        yield step._replace(data=pieces[-1])


def glued(steps: Steps, _reply: Reply, _strike: Strike) -> Steps:
    """Yield everything as one step."""
    listed = list(steps)
    tokens = sum(step.tokens for step in listed)
    yield Step("token", b"".join(step.data for step in listed), tokens)
    yield Step("done", b"")


def compressed(steps: Steps, _reply: Reply, _strike: Strike) -> Steps:
    """Yield the events compressed, each so that it can be read at once."""
    packer = zlib.compressobj(wbits=_GZIP)
    for step in steps:
        data = packer.compress(step.data) + packer.flush(zlib.Z_SYNC_FLUSH)
        yield step._replace(data=data + packer.flush() if step.kind == "done" else data)


def bombed(steps: Steps, _reply: Reply, strike: Strike) -> Steps:
    """Yield a comment that is small on the wire and huge when it is unpacked."""
    size = _HUGE if strike.rule.size is None else strike.rule.size
    yield Step("open", bomb(size))
    yield from (step._replace(data=b"") for step in steps)


def bomb(size: int) -> bytes:
    """Return so many spaces, compressed."""
    packer = zlib.compressobj(9, wbits=_GZIP)
    parts = [packer.compress(_BLOCK) for _ in range(size // len(_BLOCK))]
    return b"".join([*parts, packer.compress(_BLOCK[: size % len(_BLOCK)]), packer.flush()])


def padded(data: bytes, size: int) -> bytes:
    """Return JSON that is longer by a field of so many bytes; what holds none stays as it is."""
    end = data.rfind(b"}")
    return data if end < 0 else b'%b,"padding":"%b"%b' % (data[:end], b"x" * size, data[end:])


def spoiled(data: bytes) -> bytes:
    """Return JSON with bytes that are no UTF-8."""
    end = data.rfind(b"}")
    return data if end < 0 else b'%b,"spoiled":"\xff\xfe\xc3"%b' % (data[:end], data[end:])


def _is_due(step: Step, said: int, strike: Strike) -> bool:
    return step.kind != "open" and (said >= strike.rule.after or step.kind == "close")


def _before(steps: Steps, strike: Strike) -> Steps:
    said = 0
    for step in steps:
        if _is_due(step, said, strike):
            return
        said += step.tokens if step.kind == "token" else 0
        yield step


def _within(steps: Steps, left: int) -> Steps:
    for step in steps:
        if len(step.data) > left:
            yield step._replace(data=step.data[:left], tokens=0)
            return
        left -= len(step.data)
        yield step


def _replaced(steps: Steps, strike: Strike, change: Callable[[bytes], bytes]) -> Steps:
    """Yield one step changed where the fault is due, and go on after it if that is the ending."""
    changed = Step("token", b"")
    for step, is_struck in _marked(steps, strike):
        if not is_struck:
            yield step
            continue
        changed = step._replace(data=change(step.data), tokens=0)
        yield changed
        if strike.ending != "on":
            break
    raise Broken(strike.ending)


def _at(steps: Steps, strike: Strike, change: Callable[[bytes], bytes]) -> Steps:
    """Yield one step changed where the fault is due, all others as they are."""
    for step, is_struck in _marked(steps, strike):
        yield step._replace(data=change(step.data)) if is_struck else step


def _marked(steps: Steps, strike: Strike) -> Iterator[tuple[Step, bool]]:
    """Yield each step, and whether it is the one that the fault strikes."""
    said, is_over = 0, False
    for step in steps:
        is_struck = not is_over and _is_due(step, said, strike)
        is_over = is_over or is_struck
        said += step.tokens if step.kind == "token" else 0
        yield step, is_struck


def _mapped(steps: Steps, kind: str, change: Callable[[bytes], bytes]) -> Steps:
    return (step._replace(data=change(step.data)) if step.kind == kind else step for step in steps)
