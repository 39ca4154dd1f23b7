"""The table of all faults: what each of them does at each place of an answer where it can strike."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from headworks.simulator.breakage import bodies, early, edits, events, heads
from headworks.simulator.breakage.strike import Strike
from headworks.simulator.config import Ending, FaultRule
from headworks.simulator.reply import Body, Reply, Step

Start = Literal["at once", "after interim answers", "byte by byte"]
Late = Literal["nothing", "a second answer", "the end of the connection"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What one fault does. A place that it leaves alone has what changes nothing.

    Attributes:
        says: One line for people.
        fields: Fields of a rule that it uses; the first is the argument of the short form.
        early: Raises what comes instead of an answer.
        body: Puts another body in the place of the answer's.
        head: Changes the fields of the head.
        events: Changes the steps of a stream.
        whole: Changes a whole body.
        ending: What follows its break unless the rule says otherwise.
        start: How the head is sent.
        late: What follows a complete answer.
        is_apart: Whether what it yields is sent piece by piece, `seconds` apart.
        is_cut: Whether a whole answer counts as broken.
        is_free: Whether a whole answer costs nothing.
    """

    says: str
    fields: tuple[str, ...] = ()
    early: Callable[[Strike], None] = early.nothing
    body: Callable[[Body, Strike], Body] = bodies.same
    head: Callable[[heads.Fields, Strike], heads.Fields] = heads.same
    events: Callable[[Iterator[Step], Reply, Strike], Iterator[Step]] = events.as_they_are
    whole: Callable[[bytes, Strike], Iterator[bytes]] = bodies.as_it_is
    ending: Ending = "fin"
    start: Start = "at once"
    late: Late = "nothing"
    is_apart: bool = False
    is_cut: bool = False
    is_free: bool = False


_ERROR = (
    "status", "code", "type", "message", "html", "size", "retry_after", "retry_after_ms", "headers",
)  # fmt: skip
_BREAK = ("after", "after_bytes", "ending")


def _usage(says: str, edit: edits.Edit) -> Kind:
    return Kind(says, events=edits.each(edit), whole=edits.whole(edit))


KINDS: Mapping[str, Kind] = {
    # before the head
    "status": Kind("an error of any status, with any form of Retry-After", _ERROR, early.refuse),
    "refuse": Kind(
        "the connection is reset: without conditions by model or chance as soon as it is made",
        early=early.break_off,
        ending="rst",
    ),
    "reset_before_head": Kind(
        "the connection is reset, nothing is answered", early=early.break_off, ending="rst"
    ),
    "close_before_head": Kind(
        "the connection is closed, nothing is answered", early=early.break_off, ending="fin"
    ),
    "hang_before_head": Kind("nothing comes", early=early.break_off, ending="hang"),
    "early_answer": Kind(
        "an error is answered as soon as the request's head is there; not by model",
        _ERROR,
        early.refuse,
    ),
    "redirect": Kind(
        "301, 302, 307 or 308 with a Location",
        ("status", "location", "headers"),
        early.send_elsewhere,
    ),
    "input_filter": Kind("400: the prompt is flagged", early=early.filter_input),
    # the head
    "info_flood": Kind(
        "so many 103 Early Hints before the answer", ("count",), start="after interim answers"
    ),
    "slow_head": Kind("the head comes byte by byte", ("seconds",), start="byte by byte"),
    "wrong_type": Kind("another Content-Type", ("value",), head=heads.with_type),
    "no_type": Kind("no Content-Type", head=heads.without_type),
    "short_length": Kind(
        "a Content-Length so many bytes too small", ("count",), head=heads.shorter
    ),
    "long_length": Kind(
        "a Content-Length so many bytes too large, then the end of the connection",
        ("count", "ending"),
        head=heads.longer,
        late="the end of the connection",
    ),
    "double_length": Kind(
        "two Content-Lengths that differ by so many; 0: two equal ones",
        ("count",),
        head=heads.doubled,
    ),
    "length_and_chunks": Kind(
        "Content-Length beside Transfer-Encoding: chunked", head=heads.twice_framed
    ),
    "gzip": Kind(
        "the body compressed, whatever the client accepts",
        head=heads.gzipped,
        events=events.compressed,
        whole=bodies.compressed,
    ),
    "gzip_garbage": Kind("Content-Encoding: gzip on a body that is not", head=heads.as_gzip),
    "gzip_bomb": Kind(
        "a compressed body of so many bytes",
        ("size",),
        head=heads.gzipped,
        events=events.bombed,
        whole=bodies.bombed,
    ),
    # time
    "slow": Kind("every wait is so many times longer", ("factor",)),
    "slow_first_token": Kind("the first token comes so much later", ("seconds",)),
    # the answer breaks
    "cut_after": Kind(
        "the answer ends after so many tokens or bytes",
        _BREAK,
        events=events.cut,
        whole=bodies.cut,
        is_cut=True,
    ),
    "stall_after": Kind(
        "nothing more comes after so many tokens or bytes",
        ("after", "after_bytes"),
        events=events.cut,
        whole=bodies.cut,
        ending="hang",
        is_cut=True,
    ),
    "malformed_chunk": Kind(
        "one event, or the body, is not JSON",
        ("after", "ending"),
        events=events.malformed,
        whole=bodies.half,
        ending="clean",
        is_cut=True,
    ),
    "half_event": Kind(
        "the answer ends in the middle of an event",
        ("after", "ending"),
        events=events.half,
        whole=bodies.half,
        ending="clean",
        is_cut=True,
    ),
    "error_event": Kind(
        "an error inside the stream, or in the place of the body, with status 200",
        ("after", "code", "status", "type", "message", "ending"),
        events=events.failed,
        whole=bodies.failed,
        ending="clean",
        is_cut=True,
        is_free=True,
    ),
    "no_finish": Kind(
        "a stream ends well but never says why: no finish_reason, no end",
        ("ending",),
        events=events.unfinished,
        ending="clean",
    ),
    # the form of a stream
    "no_done": Kind(
        "the last event of a stream is missing",
        ("ending",),
        events=events.without_done,
        ending="clean",
    ),
    "duplicate_done": Kind("the last event comes twice", events=events.with_done_twice),
    "after_done": Kind("events come after the last one", events=events.with_more),
    "crlf": Kind("lines end with CR LF", events=events.with_crlf),
    "cr": Kind("lines end with CR", events=events.with_cr),
    "bom": Kind("a byte order mark comes first", events=events.with_mark, whole=bodies.with_mark),
    "comments": Kind("a comment comes before each event", events=events.with_comments),
    "pings": Kind("an `event: ping` with JSON comes before each event", events=events.with_pings),
    "ids": Kind("events have `id` and `retry` lines", events=events.with_ids),
    "empty_events": Kind("events without data come between", events=events.with_empty_events),
    "multi_line": Kind(
        "the JSON of each event is spread over two `data` lines", events=events.on_several_lines
    ),
    "no_space": Kind("no space follows `data:`", events=events.without_space),
    "huge_event": Kind(
        "one event, or the body, has a field of so many bytes",
        ("size", "after"),
        events=events.with_huge,
        whole=bodies.with_huge,
    ),
    "invalid_utf8": Kind(
        "one event, or the body, is no UTF-8",
        ("after",),
        events=events.with_invalid_text,
        whole=bodies.with_invalid_text,
    ),
    "changing_ids": Kind("events name two ids in turn", events=events.with_changing_ids),
    "slices": Kind(
        "the same bytes in packets of so many",
        ("count", "seconds"),
        events=events.in_slices,
        whole=bodies.in_slices,
        is_apart=True,
    ),
    "glued": Kind("all events in one packet", events=events.glued),
    # other bodies
    "json_instead_of_stream": Kind("a whole answer to a stream request", body=bodies.unstreamed),
    "error_in_ok": Kind(
        "an error object with status 200",
        ("code", "status", "type", "message"),
        body=bodies.error,
    ),
    "html_in_ok": Kind("a proxy's HTML page with status 200", body=bodies.page),
    "empty_body": Kind("status 200 and no body", body=bodies.empty),
    # usage
    "missing_usage": Kind(
        "no usage", events=edits.no_usage, whole=edits.whole(edits.without_usage)
    ),
    "null_usage": _usage("usage is null", edits.null),
    "zero_usage": _usage("all counts are 0", edits.zero),
    "negative_usage": _usage("all counts are negative", edits.negative),
    "huge_usage": _usage("all counts are above 10^15", edits.huge),
    "text_usage": _usage("all counts are texts", edits.text),
    "double_usage": Kind(
        "usage comes twice", events=edits.doubled_usage, whole=edits.doubled_usage_whole
    ),
    # what is said: the endpoints know how
    "content_filter": Kind("a filter ends the answer early: finish_reason, or incomplete_details"),
    "refusal": Kind("the answer is a refusal"),
    "failed": Kind("a response fails: its status says so; other answers are as they are"),
    # after the answer
    "surplus": Kind(
        "a second answer follows on the same connection, after so long",
        ("seconds",),
        late="a second answer",
    ),
}

NO_FAULT = Kind("nothing")


def kind_of(rule: FaultRule | None) -> Kind:
    """Return what a rule does, which is nothing for None."""
    return NO_FAULT if rule is None else KINDS[rule.fault]
