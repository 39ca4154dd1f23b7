"""What somebody says of a call's parts, in a log or a traceback, tells nothing of what is in them."""

from typing import Any, cast

import pytest

from headworks.answer import Answer
from headworks.gateway.exchange import Exchange
from headworks.gateway.heads import Head
from headworks.types import Call, Request, Response

NOBODY = cast("Any", None)


def exchange() -> Exchange:
    fields = [(b"authorization", b"Bearer hw_private")]
    head = Head("POST", "/v1/files", b"", fields, is_current=True, keeps_alive=True)
    return Exchange(NOBODY, head, 7, [b"private"], more_body=False, has_news=True, keep_alive=True)


def request() -> Request:
    fields = {"model": "gpt", "messages": "private"}
    return Request("POST", "/v1/chat/completions", b"private", (), b"private", fields)


def answer() -> Answer:
    call = Call("call_1", request(), 0.0, 0.0)
    parts = (NOBODY,) * 5
    return Answer(NOBODY, call, *parts, whole=b"private", first=b"private")


PARTS = [
    exchange(),
    request(),
    Call("call_1", request(), 0.0, 0.0),
    Response(200, ((b"x-a", b"private"),), b"private"),
    answer(),
]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
def test_a_part_of_a_call_shows_neither_body_nor_key(part):
    """A representation is written where nobody looks for secrets."""
    assert type(part).__name__ in repr(part)
    assert "private" not in repr(part)


def test_a_request_says_what_it_asks_for():
    """Who reads a traceback sees which call it was."""
    assert repr(request()) == "Request(POST /v1/chat/completions, model='gpt', 7 bytes)"
