"""Promises about the judge: it finds nothing where nothing differs, and misses no difference."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.fidelity.differences import Answer, differences
from tests.fidelity.recordings import Exchange, exchanges

_CHUNK = 'data: {{"id":"c","choices":[{{"index":0,"delta":{},"finish_reason":{}}}]}}\n\n'
_STREAM = "".join(
    _CHUNK.format(*one)
    for one in (
        ('{"role":"assistant","content":""}', "null"),
        ('{"content":"A"}', "null"),
        ('{"content":"B"}', "null"),
        ("{}", '"stop"'),
    )
)
_HEAD = {
    "content-type": "text/event-stream; charset=utf-8",
    "x-request-id": "req_" + "0af1" * 8,
    "x-ratelimit-reset-tokens": "6ms",
    "cf-ray": "8e1a80827a861852",
}
_REQUEST = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
_PATH = "/v1/chat/completions"
STREAM = Exchange(
    "a.yaml", 0, "POST", _PATH, _REQUEST, 200, _HEAD, f"{_STREAM}data: [DONE]\n\n".encode(), ""
)
_ERROR = b'{"error": {"message": "No.", "type": "t", "param": null, "code": null}}'
ERROR = Exchange("b.yaml", 0, "POST", _PATH, _REQUEST, 400, {}, _ERROR, "")
_USAGE = b'{"choices": [{"message": {"content": "A"}}], "usage": {"prompt_tokens": 8}}'
WHOLE = Exchange("c.yaml", 0, "POST", _PATH, _REQUEST, 200, {}, _USAGE, "")


def same(one: Exchange) -> Answer:
    """Return the answer that was recorded."""
    return one.status, one.headers, one.body


def test_a_recording_does_not_differ_from_itself():
    """Nothing is found where nothing is."""
    for one in exchanges():
        assert differences(one, same(one)) == [], one.name


@dataclass(frozen=True)
class Case:
    """A change to an answer, and where it is found."""

    id: str
    one: Exchange
    change: Callable[[bytes], bytes]
    found: list[str]


CASES = [
    Case("more words", STREAM, lambda body: body.replace(b'"B"', b'"Blue and green"'), []),
    Case("more chunks", STREAM, lambda body: repeated(body, 2), []),
    Case("no role", STREAM, lambda body: without(body, 0), ["outline"]),
    Case("no finish", STREAM, lambda body: without(body, 3), ["outline"]),
    Case("no end", STREAM, lambda body: without(body, 4), ["outline"]),
    Case("finish first", STREAM, lambda body: moved(body, 3, 1), ["outline"]),
    Case("key gone", STREAM, lambda body: body.replace(b'"id":"c",', b""), ["finish:.id", "role:.id", "text:.id"]),
    Case("key gone once", STREAM, lambda body: body.replace(b'"index":0,"delta":{"content":"B"}', b'"delta":{"content":"B"}'), ["text:.choices[].index"]),
    Case("key too many", WHOLE, lambda body: body.replace(b'{"message"', b'{"seed": 1, "message"'), [".choices[].seed"]),
    Case("null for a text", WHOLE, lambda body: body.replace(b'"A"', b"null"), [".choices[].message.content"]),
    Case("another count", WHOLE, lambda body: body.replace(b"8", b"9"), ["prompt tokens"]),
    Case("no JSON", WHOLE, lambda body: body[1:], ["outline", "", "prompt tokens"]),
    Case("another code", ERROR, lambda body: body.replace(b'"code": null', b'"code": "no"'), [".error.code", "error code"]),
    Case("other words", ERROR, lambda body: body.replace(b"No.", b"Never."), ["error message"]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_difference_is_found(case):
    """Order, keys, kinds, counts and errors are told apart; what is said is not."""
    status, headers, body = same(case.one)
    found = differences(case.one, (status, headers, case.change(body)))

    assert [one.where for one in found if one.real != one.ours] == case.found


@pytest.mark.parametrize(
    ("name", "value", "differs"),
    [
        ("x-request-id", "req_" + "9" * 32, False),
        ("x-request-id", "42", True),
        ("x-ratelimit-reset-tokens", "1m0.5s", False),
        ("x-ratelimit-reset-tokens", "60", True),
        ("x-ratelimit-limit-tokens", "60", True),
        ("content-type", "text/event-stream", True),
        ("cf-ray", "another", False),
    ],
)
def test_headers_follow_a_grammar(name, value, differs):
    """A header has the form of the recorded one, whatever its value; those of the road are nobody's."""
    status, headers, body = same(STREAM)
    found = differences(STREAM, (status, {**headers, name: value}, body))

    assert [one.where for one in found] == [f"header {name}"] * differs


def test_another_status_is_the_only_difference():
    """An error in place of an answer is told with its words."""
    (found,) = differences(STREAM, (400, {}, _ERROR))

    assert (found.where, found.real, found.ours) == ("status", "200 ", "400 No.")


def blocks(body: bytes) -> list[bytes]:
    """Return the events of a stream."""
    return [block + b"\n\n" for block in body.split(b"\n\n") if block]


def without(body: bytes, place: int) -> bytes:
    """Return a stream without one of its events."""
    return b"".join(block for index, block in enumerate(blocks(body)) if index != place)


def repeated(body: bytes, place: int) -> bytes:
    """Return a stream with one of its events three times."""
    listed = blocks(body)
    return b"".join([*listed[:place], *[listed[place]] * 3, *listed[place + 1 :]])


def moved(body: bytes, place: int, to: int) -> bytes:
    """Return a stream with one of its events elsewhere."""
    listed = blocks(body)
    listed.insert(to, listed.pop(place))
    return b"".join(listed)
