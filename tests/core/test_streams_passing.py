"""What passes through a stream although nobody here knows it."""

import json

from headworks.core.classify import classify
from headworks.core.streams import ChatStream, open_stream
from headworks.types import Request

A = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'


def test_text_of_several_lines_and_named_ends_pass():
    """Events of endpoints that we do not know need not be JSON, and may name their end."""
    wire = b"event: log\ndata: one\ndata: \ndata: two\n\nevent: done\ndata: [DONE]\n\n"
    stream = open_stream("opaque", Request("POST", "/v1/unknown"))

    assert stream.feed(wire) + (stream.ending or b"") == wire


def test_an_error_in_a_chat_keeps_all_that_its_provider_says():
    """Fields that we do not know reach the caller, also those of an error that came with a head."""
    said = b'{"error":{"message":"m","code":"server_error","innererror":{"n":1.0}}}'
    stream = ChatStream(shows_usage=False)
    stream.feed(A + b"data: %b\n\n" % said)
    spread = classify(500, (), said.replace(b",", b",\r\n"), now=0.0)

    assert stream.error is not None
    assert stream.encode_error(stream.error) == b"data: %b\n\n" % said
    assert json.loads(stream.encode_error(spread).removeprefix(b"data: ")) == json.loads(said)


def test_an_error_that_is_a_text_is_told():
    """Some servers say in a stream what went wrong without the usual object."""
    stream = ChatStream(shows_usage=False)
    stream.feed(A + b'data: {"error":"no room"}\n\n')

    assert str(stream.error) == "no room"
