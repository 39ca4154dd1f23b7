"""Where an answer ends, however its bytes are cut."""

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from headworks.errors import MalformedResponse
from headworks.types import Headers
from headworks.upstream.framing import Framer, Progress
from headworks.upstream.http1 import ClientLimits
from headworks.upstream.response import HttpResponse
from tests.upstream.scripted import chunked, whole

pytestmark = pytest.mark.filterwarnings("error")


@dataclass
class Taken(HttpResponse):
    """An answer that only remembers."""

    status: int = 0
    headers: Headers = ()
    body: list[bytes] = field(default_factory=list[bytes])

    @override
    def on_head(self, status: int, headers: Headers, declared: int | None) -> None:
        assert not self.status
        self.status, self.headers = status, headers
        assert declared is None or declared >= 0

    @override
    def on_body(self, data: bytes) -> None:
        assert data
        self.body.append(data)


def fed(*packets: bytes, no_body: bool = False) -> tuple[Progress, Taken, Framer]:
    """Feed packets until the answer ends; the packets after that would be late ones."""
    taken = Taken()
    framer = Framer(taken, ClientLimits(head_bytes=300, head_fields=9), no_body=no_body)
    progress: Progress = "more"
    for packet in packets:
        if progress == "more":
            progress = framer.receive(memoryview(packet))
    return progress, taken, framer


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
        CHUNKED + b"content-length: 2\r\n\r\n",
        HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\nab",
        HEAD + b"content-length: 2, 3\r\n\r\nab",
        HEAD + b"content-length: +2\r\n\r\nab",
        HEAD + b"content-length: -2\r\n\r\nab",
        HEAD + b"content-length:\r\n\r\nab",
        HEAD + b"content-length: 99999999999999999999999\r\n\r\n",
        HEAD + b"transfer-encoding: gzip\r\n\r\nab",
        HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n",
        HEAD + b"transfer-encoding: chunked, gzip\r\n\r\n",
        CHUNKED + b"transfer-encoding: chunked\r\n\r\n",
        HEAD + b"transfer-encoding: identity\r\n\r\n",
        HEAD + b"transfer-encoding:\r\n\r\n",
        HEAD + b"a: b\r\n c\r\n\r\n",
        HEAD + b"a : b\r\n\r\n",
        HEAD + b"no colon\r\n\r\n",
        HEAD + b"a: b\0\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n" + b" " * 300,
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 999 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"ICE/1.0 200 OK\r\n\r\n",
        b"\r\n" + HEAD + b"content-length: 0\r\n\r\n",
        b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01",
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\ncontent-length: 1\r\n\r\n",
        b"HTTP/1.1 103 Hints\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nconnection: close\r\n\r\n" + whole(b"x"),
        b"HTTP/1.0 100 Continue\r\n\r\n" + whole(b"x"),
        b"HTTP/1.1 100 Continue\r\n\r\n" * 9,
        b"HTTP/1.1 100 Continue\r\n\r\n\r\n" + whole(b"x"),
        HEAD + b"a: " + b"b" * 300 + b"\r\n\r\n",
        HEAD + b"a: " + b"b" * 300,
        HEAD + b"a: b\r\n" * 10 + b"\r\n",
        CHUNKED + b"\r\nz\r\nab\r\n",
        CHUNKED + b"\r\n-1\r\nab\r\n",
        CHUNKED + b"\r\nfffffffffffffffff\r\nab\r\n",
        CHUNKED + b"\r\n2\r\nabc\r\n",
        CHUNKED + b"\r\n2\nab\n0\n\n",
        CHUNKED + b"\r\n2;" + b"x" * 400,
        CHUNKED + b"\r\n0\r\nt: " + b"x" * 400,
        CHUNKED + b"\r\n0\r\n" + b"t: x\r\n" * 10 + b"\r\n",
    ],
    ids=lambda answer: repr(answer[:70]),
)
def test_an_answer_that_two_readers_could_read_differently_is_refused(answer: bytes) -> None:
    """I never see half of a wrong answer: whatever is ambiguous or too much is an error."""
    with pytest.raises(MalformedResponse):
        fed(answer)
    with pytest.raises(MalformedResponse):
        fed(*(answer[at : at + 1] for at in range(len(answer))))


def test_a_second_answer_in_chunks_is_no_part_of_the_first() -> None:
    """I never get another call's answer behind mine, though it be as sound as mine."""
    answer = CHUNKED + b"\r\n2\r\nab\r\n0\r\n\r\n"
    progress, taken, _ = fed(answer + answer)
    assert (progress, taken.body) == ("surplus", [b"ab"])


@dataclass(frozen=True, slots=True)
class Case:
    answer: bytes
    body: bytes
    progress: Progress = "clean"
    no_body: bool = False


CASES = [
    Case(whole(b"hello"), b"hello"),
    Case(whole(b""), b""),
    Case(whole(b"a\r\n\r\n"), b"a\r\n\r\n"),
    Case(whole(b"x", 404), b"x"),
    Case(whole(b"x", 302, b"location: http://evil/\r\n"), b"x"),
    Case(whole(b"x", fields=b"connection: close\r\n"), b"x", "unclean"),
    Case(b"HTTP/1.1 200\r\ncontent-length: 1\r\n\r\nx", b"x"),
    Case(b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx", b"x", "unclean"),
    Case(b"HTTP/1.1 204 No\r\n\r\n", b""),
    Case(b"HTTP/1.1 304 No\r\ncontent-length: 9\r\n\r\n", b""),
    Case(whole(b"")[:-4] + b"9\r\n\r\n", b"", no_body=True),
    Case(chunked(b"a", b"bc"), b"abc"),
    Case(chunked(), b""),
    Case(chunked(b"a\r\n", b"\r\n\r\n"), b"a\r\n\r\n\r\n"),
    Case(CHUNKED + b"\r\n2;e=1\r\nab\r\n0\r\nt: 1\r\n\r\n", b"ab"),
    Case(b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", b"a", "unclean"),
    Case(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 H\r\nlink: x\r\n\r\n" + whole(b"x"), b"x"),
    Case(b"HTTP/1.1 102 P\r\n\r\n" * 8 + chunked(b"x"), b"x"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.answer[:50]))
def test_a_valid_answer_is_read_to_its_exact_end(case: Case) -> None:
    """Answers in every valid form arrive as they were sent."""
    progress, taken, _ = fed(case.answer, no_body=case.no_body)
    assert (progress, b"".join(taken.body)) == (case.progress, case.body)


@given(data=st.data(), case=st.sampled_from(CASES))
def test_how_an_answer_is_cut_into_packets_does_not_matter(data: st.DataObject, case: Case) -> None:
    """The network may cut an answer anywhere: I get the same status, fields and body."""
    cuts = data.draw(st.lists(st.integers(1, len(case.answer) - 1), max_size=12))
    edges = [0, *sorted(set(cuts)), len(case.answer)]
    packets = [case.answer[a:b] for a, b in pairwise(edges)]
    _, want, _ = fed(case.answer, no_body=case.no_body)
    progress, taken, _ = fed(*packets, no_body=case.no_body)
    assert (taken.status, taken.headers) == (want.status, want.headers)
    assert b"".join(taken.body) == case.body
    # A chunked end of fewer than five bytes cannot be proven clean: closed, but complete.
    assert progress in {case.progress, "unclean"}
    if len(packets[-1]) > 4:
        assert progress is case.progress


@given(
    data=st.data(),
    case=st.sampled_from([case for case in CASES if case.progress == "clean"]),
    surplus=st.one_of(
        st.sampled_from(
            [b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"\n\r\n\r\n", whole(b"evil")]
        ),
        st.binary(min_size=1, max_size=9),
    ),
)
def test_no_surplus_byte_passes_for_a_clean_end(
    data: st.DataObject, case: Case, surplus: bytes
) -> None:
    """Bytes behind an answer, however few and wherever cut, keep the connection from others."""
    stream = case.answer + surplus
    cut = data.draw(st.integers(0, len(case.answer) - 1))
    packets = [packet for packet in (stream[:cut], stream[cut:]) if packet]
    progress, taken, _ = fed(*packets, no_body=case.no_body)
    assert progress in {"unclean", "surplus"}
    assert b"".join(taken.body) == case.body


def test_an_answer_without_length_ends_with_its_connection() -> None:
    """An old server's answer is complete when it closes, and only that kind is."""
    progress, taken, framer = fed(b"HTTP/1.0 200 OK\r\n\r\nab", b"c")
    assert (progress, taken.body, framer.receive_eof()) == ("more", [b"ab", b"c"], True)
    for partial in (whole(b"abc")[:-1], chunked(b"abc")[:-1], HEAD):
        progress, _, framer = fed(partial)
        assert (progress, framer.receive_eof()) == ("more", False)
