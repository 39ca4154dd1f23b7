"""A connection that sends the same head again is read by the same rules as one that never did."""

import asyncio
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headworks.gateway.heads import Head, HttpLimits, Recurring
from tests.gateway.conftest import (
    LAST,
    Answer,
    Echo,
    answers,
    connected,
    everything,
    read_answer,
    serving,
)
from tests.gateway.messages import SHORT, WHOLE, cuts, post

pytestmark = pytest.mark.anyio

LENGTH = b"Content-Length: "
FIRST = post(b"X-A: 1", LENGTH + b"5", b"X-B: 2")


def second(length: bytes, body: bytes = b"hello", name: bytes = LENGTH) -> bytes:
    """Return the first request with another length."""
    return post(b"X-A: 1", name + length, b"X-B: 2", body=body)


def changed(old: bytes, new: bytes) -> bytes:
    assert old in FIRST
    return FIRST.replace(old, new)


FOLLOWING = {
    "the same": FIRST,
    "shorter": second(b"2", b"he"),
    "longer": second(b"10", b"0123456789"),
    "nothing": second(b"0", b""),
    "zeros": second(b"0005"),
    "15 digits": second(b"000000000000005"),
    "16 digits": second(b"0000000000000005"),
    "20 digits": second(b"00000000000000000005"),
    "more digits than a number has": second(b"9" * 30),
    "no digits": second(b""),
    "a sign": second(b"+5"),
    "negative": second(b"-5"),
    "a space before": second(b" 5"),
    "a space behind": second(b"5 "),
    "a tab": second(b"\t5"),
    "two numbers": second(b"5, 5"),
    "two others": second(b"5 5"),
    "hexadecimal": second(b"0x5"),
    "other digits": second("\N{ARABIC-INDIC DIGIT FIVE}".encode()),
    "a line more": second(b"5\r\nX-C: 3"),
    "a second length": second(b"5\r\nContent-Length: 2"),
    "another coding": second(b"5\r\nTransfer-Encoding: chunked"),
    "a folded line": second(b"5\r\n 5"),
    "a bare line feed": second(b"5\nX-C: 3"),
    "a bare return": second(b"5\rX"),
    "a nul": second(b"5\0"),
    "a second request within": second(b"5\r\n\r\nhelloGET /smuggled HTTP/1.1\r\nHost: a"),
    "other letters": second(b"5", name=b"content-length: "),
    "no colon": second(b"5", name=b"Content-Length "),
    "another path": changed(b"/ok", b"/other"),
    "another host": changed(b"Host: a", b"Host: b"),
    "no proper host": changed(b"Host: a", b"Host: a b"),
    "no host": changed(b"Host: a\r\n", b""),
    "another value behind": changed(b"X-B: 2", b"X-B: 3"),
    "a field behind": changed(b"X-B: 2", b"X-B: 2\r\nX-C: 3"),
    "a field less": changed(b"\r\nX-B: 2", b""),
    "an older version": changed(b"HTTP/1.1", b"HTTP/1.0"),
    "an empty line before": b"\r\n" + FIRST,
    "in chunks": post(b"Transfer-Encoding: chunked", b"Connection: close", body=WHOLE),
    "by GET": changed(b"POST", b"GET"),
    "no end": second(b"5\r\n", b"")[:-4],
}


async def told(sent: bytes, cut: str, *before: bytes) -> tuple[list[Answer], list[object]]:
    """Send requests on one connection; return what the last was answered, and what the app saw."""
    app = Echo()
    async with serving(app, SHORT) as server, connected(server.url) as (reader, writer):
        for piece in (*before, *cuts(sent)[cut], LAST):
            writer.write(piece)
            await asyncio.sleep(0)
        got = answers(re.sub(rb"date: [^\r]*", b"date: now", await everything(reader)))
    skipped = len(before)
    scopes = [
        {name: scope[name] for name in ("method", "path", "http_version", "headers")}
        for scope in app.scopes[skipped:]
    ]
    for answer in got:
        answer.headers.pop("x-request-id", None)
    return got[skipped:], [app.paths[skipped:], scopes, app.bodies[skipped:]]


@pytest.mark.parametrize("cut", ["whole", "by line"])
@pytest.mark.parametrize("name", FOLLOWING)
async def test_what_came_before_changes_no_reading(name: str, cut: str):
    """A request is served or refused the same way whether or not one like it came before."""
    alone = await told(FOLLOWING[name], cut)
    assert await told(FOLLOWING[name], cut, FIRST) == alone


async def test_requests_with_one_head_are_answered_in_order():
    """Sent at once, with bodies of all lengths, each gets its own body back, and no other."""
    bodies = [b"x" * size for size in (5, 0, 17, 4, 1000, 3)]
    sent = b"".join(second(b"%d" % len(body), body) for body in bodies)
    app = Echo()
    async with serving(app) as server, connected(server.url) as (reader, writer):
        writer.write(sent + post(LENGTH + b"1", b"Connection: close", body=b"z"))
        got = answers(await everything(reader))
    assert [answer.body.removeprefix(b"/ok ") for answer in got] == [*bodies, b"z"]
    lengths = [dict(scope["headers"])[b"content-length"] for scope in app.scopes]
    assert lengths == [b"%d" % len(body) for body in (*bodies, b"z")]


async def test_each_who_asks_is_told_to_go_on():
    """A client that waits for 100 before its body gets one each time, with the same head again."""
    asking = post(LENGTH + b"5", b"Expect: 100-continue", body=b"")
    app = Echo()
    async with serving(app) as server, connected(server.url) as (reader, writer):
        for body in (b"first", b"again"):
            writer.write(asking)
            go_on = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            assert go_on.startswith(b"HTTP/1.1 100 ")
            writer.write(body)
            assert (await read_answer(reader)).body == b"/ok " + body


async def test_what_follows_chunks_in_their_packet_is_no_part_of_them():
    """A second request behind a chunked one changes neither its body nor what is served."""
    app = Echo()
    async with serving(app, SHORT) as server, connected(server.url) as (reader, writer):
        writer.write(post(b"Transfer-Encoding: chunked", body=WHOLE) * 2)
        got = answers(await everything(reader))
    assert [answer.body for answer in got] == [b"/ok hello"]
    assert app.bodies == [b"hello"]


async def test_what_an_app_does_to_its_scope_reaches_no_other_request():
    """A middleware that adds to a request's fields adds to that request alone."""
    app = Echo()

    async def adding(scope, receive, send) -> None:
        scope["headers"].append((b"x-added", b"1"))
        await app(scope, receive, send)

    async with serving(adding) as server, connected(server.url) as (reader, writer):
        writer.write(FIRST * 2 + post(LENGTH + b"1", b"Connection: close", body=b"z"))
        await everything(reader)
    assert [scope["headers"].count((b"x-added", b"1")) for scope in app.scopes] == [1, 1, 1]


DIGIT = st.binary(max_size=20) | st.integers(0, 10**20).map(lambda number: b"%d" % number)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DIGIT, st.binary(max_size=8), st.integers(0, 200))
def test_only_the_same_head_is_known_again(digits: bytes, behind: bytes, cut: int):
    """What is known is the head to its last byte, with a number of at most 15 digits in it."""
    before, after = FIRST[: -len(b"hello")].split(b"5")
    known = Recurring.of(before + b"5" + after, Head("POST", "/ok", b"", []), HttpLimits())
    assert known is not None
    data = (before + digits + after + behind)[: None if cut > 100 else cut]
    is_number = digits.isdigit() and digits[:1] != b"0" and len(digits) <= 15
    is_same = is_number and len(data) >= len(before + digits + after)
    assert known.find(data) == ((int(digits), len(before + digits + after)) if is_same else None)


def test_a_long_head_is_not_kept():
    """What an idle connection keeps is small, whatever its caller sent."""
    head = post(b"X: " + b"a" * 5000, LENGTH + b"5", body=b"")
    assert Recurring.of(head, Head("POST", "/ok", b"", []), HttpLimits()) is None
