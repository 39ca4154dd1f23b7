"""Answers that say what is not so: usage, lengths, types, encodings, and errors of every form."""

import gzip
import json
import re
import zlib
from typing import Any

import pytest

from tests.simulator.raw import CHAT, ENDPOINTS, Seen, objects, visit

USAGES = [
    ("zero_usage", lambda n: n == 0),
    ("negative_usage", lambda n: n < 0),
    ("huge_usage", lambda n: n >= 10**15),
    ("text_usage", lambda n: isinstance(n, str)),
]


@ENDPOINTS
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("fault", "is_right"), USAGES)
def test_usage_may_lie(simulator, path, stream, fault, is_right):
    """Every count is wrong as ordered; the invoice has what was really used."""
    more = {"stream_options": {"include_usage": True}} if stream and path == CHAT else {}
    seen = visit(simulator, fault, path, stream=stream, **more)

    used = usages(seen.content, stream=stream)
    assert len(used) == 1
    assert all(is_right(n) for n in counts(used[0]))
    assert simulator.invoice()["output_tokens"] in {8, 16}


@ENDPOINTS
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("fault", "times"), [("missing_usage", 0), ("null_usage", 0), ("double_usage", 2)]
)
def test_usage_may_be_missing_or_come_twice(simulator, path, stream, fault, times):
    """No usage, null, or two of them."""
    more = {"stream_options": {"include_usage": True}} if stream and path == CHAT else {}
    seen = visit(simulator, fault, path, stream=stream, **more)

    assert len(re.findall(rb'"usage":\{', seen.content)) == times


def usages(content: bytes, *, stream: bool) -> list[Any]:
    """Return every usage in an answer."""
    listed = objects(content) if stream else [json.loads(content)]
    found = [holder.get("usage") for each in listed for holder in (each, each.get("response", {}))]
    return [used for used in found if used]


def counts(used: Any) -> list[Any]:
    """Return every number of a usage."""
    return [
        n
        for value in used.values()
        for n in (counts(value) if isinstance(value, dict) else [value])
    ]


@pytest.mark.parametrize("stream", [True, False])
def test_a_body_may_be_compressed(simulator, stream):
    """The bytes are gzip, and say what they say without it."""
    seen = visit(simulator, "gzip", stream=stream)
    content = zlib.decompressobj(31).decompress(seen.content)

    assert b"content-encoding: gzip" in seen.head
    assert content.endswith(b"data: [DONE]\n\n") if stream else json.loads(content)["choices"]


def test_gzip_may_be_garbage(simulator):
    """What claims to be gzip is plain JSON."""
    seen = visit(simulator, "gzip_garbage", stream=False)

    assert b"content-encoding: gzip" in seen.head
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(seen.content)


@pytest.mark.parametrize("stream", [True, False])
def test_a_small_body_may_unpack_to_a_huge_one(simulator, stream):
    """A million bytes come as a few thousand."""
    seen = visit(simulator, "gzip_bomb=5000000", stream=stream)

    assert len(seen.content) < 20_000
    assert len(zlib.decompressobj(31).decompress(seen.content)) == 5_000_000


def lengths(seen: Seen) -> list[int]:
    """Return the content lengths that a head tells."""
    return [int(n) for n in re.findall(rb"content-length: (\d+)", seen.head)]


def test_lengths_may_be_wrong(simulator):
    """Too short, too long, two that differ, two that are equal, or beside chunks."""
    short = visit(simulator, "short_length=7", stream=False)
    long = visit(simulator, "long_length=9", stream=False)
    two = visit(simulator, "double_length=3", stream=False)
    equal = visit(simulator, "double_length=0", stream=False)
    both = visit(simulator, "length_and_chunks", stream=False)

    assert lengths(short) == [len(short.body) - 7]
    assert (lengths(long), long.end) == ([len(long.body) + 9], "fin")
    assert lengths(two) == [len(two.body), len(two.body) + 3]
    assert lengths(equal) == [len(equal.body)] * 2
    assert len(lengths(both)) == 1
    assert json.loads(both.content)["choices"]


def test_types_may_be_wrong(simulator):
    """Another content type, or none."""
    wrong = visit(simulator, "wrong_type=application/octet-stream")
    none = visit(simulator, "no_type")

    assert b"content-type: application/octet-stream" in wrong.head
    assert b"content-type" not in none.head
    assert none.content.endswith(b"data: [DONE]\n\n")


def test_interim_answers_may_flood(simulator):
    """Fifty 103s come before the answer."""
    data = visit(simulator, "info_flood=50").data

    assert data.count(b"HTTP/1.1 103 Early Hints\r\n") == 50
    assert data.count(b"HTTP/1.1 200 OK\r\n") == 1


def test_a_head_may_come_byte_by_byte(simulator):
    """The first packets hold a byte each."""
    seen = visit(simulator, "slow_head=0.001", stream=False)

    assert len(seen.packets) > 50
    assert json.loads(seen.content)["choices"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirection_leads_elsewhere(simulator, status):
    """The client is sent to the address that was ordered."""
    order = f"redirect={status},location=http://127.0.0.1:1/x"
    seen = visit(simulator, order)

    assert seen.data.startswith(b"HTTP/1.1 %d " % status)
    assert b"location: http://127.0.0.1:1/x" in seen.head


WAITS = [
    ("retry_after=2", [("retry-after", "2")]),
    ("retry_after=0", [("retry-after", "0")]),
    ("retry_after=1.5", [("retry-after", "1.5")]),
    ("retry_after=-1", [("retry-after", "-1")]),
    ("retry_after=1e9", [("retry-after", "1e9")]),
    ("retry_after=NaN", [("retry-after", "NaN")]),
    ("retry_after=soon", [("retry-after", "soon")]),
    ("retry_after=none", []),
    ("retry_after_ms=1500", [("retry-after-ms", "1500")]),
    ("retry_after=3,retry_after_ms=700", [("retry-after", "3"), ("retry-after-ms", "700")]),
]


@pytest.mark.parametrize(("order", "expected"), WAITS)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_takes_every_form(simulator, status, order, expected):
    """Numbers, nonsense, milliseconds or nothing: as ordered."""
    seen = visit(simulator, f"status={status},{order}")
    told = re.findall(r"(retry-after[a-z-]*): (.*)", seen.head.decode().replace("\r", ""))

    usual = [("retry-after", "1")] if status == 429 and "retry_after=" not in order else []
    assert told == usual + expected


def test_retry_after_may_be_a_date(simulator):
    """In HTTP's form, so many seconds ahead, or in the past."""
    seen = visit(simulator, "status=429,retry_after=date -86400")

    assert re.search(rb"retry-after: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", seen.head)


def test_an_error_may_be_huge_or_html(simulator):
    """A megabyte of error, and a proxy's page, at any status."""
    assert len(visit(simulator, "status=500,size=1000000").content) > 1_000_000
    assert visit(simulator, "status=418,html").content.startswith(b"<html>")


def test_any_status_can_be_answered(simulator):
    """From 200 to 599, also those that have no name."""
    for status in (200, 204, 304, 400, 402, 409, 418, 422, 425, 451, 529, 599):
        assert visit(simulator, f"status={status}").data.startswith(b"HTTP/1.1 %d " % status)
