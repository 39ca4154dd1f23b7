"""What is billed by seconds, characters or images is counted in these, and priced as such."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from headworks.core.measures import MEASURES, Counted, counted, is_measured
from headworks.core.pricing import cost, covers, flat_price, parse_usage
from headworks.types import Request, Usage

SPEECH, HEARD = "/v1/audio/speech", "/v1/audio/transcriptions"
IMAGES, VIDEOS = "/v1/images/generations", "/v1/videos"


@dataclass(frozen=True)
class Case:
    id: str
    path: str
    expected: Counted | None
    fields: dict[str, Any] = field(default_factory=dict)
    answer: bytes | None = None
    content: bytes = b""
    method: str = "POST"


def made(count: int, tier: str, *, exact: bool) -> Counted:
    return Counted(Usage(output=count, tier=tier), exact)


def sent(count: int, tier: str, *, exact: bool) -> Counted:
    return Counted(Usage(count, tier=tier), exact)


CASES = (
    Case("speech by its characters", SPEECH, sent(5, "character", exact=True), {"input": "Grüße"}),
    Case("speech of no text", SPEECH, sent(3, "character", exact=False), {"input": 1}, content=b"{1}"),
    Case("sound as long as the answer says", HEARD, sent(13, "second", exact=True), {}, b'{"duration": 12.01}'),
    Case("sound as long as a text says", HEARD, sent(8, "second", exact=True), {}, b'{"duration": "7.5"}'),
    Case("sound by its bytes, upwards", HEARD, sent(3, "second", exact=False), {}, b'{"text": ""}', b"x" * 4001),
    Case("an absurd length is none", HEARD, sent(0, "second", exact=False), {}, b'{"duration": -1}'),
    Case("images that were made", IMAGES, made(2, "image", exact=True), {"n": 3}, b'{"data": [{}, {}]}'),
    Case("images that may be made", IMAGES, made(3, "image", exact=False), {"n": 3}),
    Case("images in a form", "/v1/images/edits", made(2, "image", exact=False), {"n": "2"}),
    Case("one image by default", IMAGES, made(1, "image", exact=False), {"n": True}),
    Case("a video as long as told", VIDEOS, made(8, "second", exact=True), {"seconds": "4"}, b'{"seconds": "8"}'),
    Case("a video as long as asked", VIDEOS, made(12, "second", exact=True), {"seconds": 12}),
    Case("a video by default", VIDEOS, made(4, "second", exact=False), {}, b"no JSON"),
    Case("what is read", VIDEOS, None, method="GET"),
    Case("another endpoint", "/v1/chat/completions", None),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_is_counted(case: Case):
    """The answer's word counts first, then the request's, then a guess that says it is one."""
    request = Request(case.method, case.path, content=case.content, fields=case.fields)
    assert counted(request, MEASURES, case.answer) == case.expected
    assert counted(request, frozenset(), case.answer) is None
    assert case.expected is None or is_measured(case.path)


@pytest.mark.parametrize(
    ("report", "usage", "odd"),
    [
        ({"type": "duration", "seconds": 12}, Usage(12, tier="second"), ()),
        ({"type": "duration", "seconds": 12.2}, Usage(13, tier="second"), ()),
        ({"type": "duration", "seconds": -1}, Usage(0, tier="second"), ("seconds_implausible",)),
        ({"type": "duration", "seconds": "x"}, Usage(0, tier="second"), ("seconds_not_integer", "seconds_implausible")),
        ({"type": "tokens", "input_tokens": 3, "output_tokens": 4, "total_tokens": 7}, Usage(3, 4), ()),
    ],
)  # fmt: skip
def test_a_report_of_seconds(report: dict[str, Any], usage: Usage, odd: tuple[str, ...]):
    """A transcription reports tokens or seconds; both are read."""
    assert parse_usage(report) == (usage, odd)


def test_a_report_of_seconds_without_any():
    """A report that says nothing is none."""
    assert parse_usage({"type": "duration"}) is None


def test_the_price_of_a_measure():
    """A second, a character and an image cost what their price says, beside tokens."""
    price = flat_price(10**9, 2 * 10**9, measures={"second": 10**11, "image": 4 * 10**13})
    assert price.measures == {"second", "image", "token"}
    assert cost(price, Usage(60, tier="second")) == 6_000_000  # $0.006 a minute
    assert cost(price, Usage(output=2, tier="image")) == 80_000_000
    assert cost(price, Usage(1000)) == 1_000_000
    assert flat_price(1, 1).measures == {"token"}


def test_a_price_of_one_thing_says_nothing_of_another():
    """Tokens are not free where only seconds have a price, nor seconds where only tokens have."""
    seconds, tokens = flat_price(0, 0, measures={"second": 10**11}), flat_price(1, 1)
    both, free = flat_price(1, 1, measures={"second": 10**11}), flat_price(0, 0)
    heard, said, nothing = Usage(60, tier="second"), Usage(5, 7), Usage()
    told = [
        [covers(price, usage) for price in (seconds, tokens, both, free)]
        for usage in (heard, said, nothing)
    ]
    assert told == [[True, False, True, False], [False, True, True, True], [True] * 4]
    assert seconds.measures == {"second"}
