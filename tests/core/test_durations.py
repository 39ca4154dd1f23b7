"""Waits in headers: read exactly, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.durations import retry_after, seconds


@pytest.mark.parametrize(
    ("text", "value"),
    [("30", 30), ("1.5s", 1.5), ("500ms", 0.5), ("1m30s", 90), ("2h", 7200), (".5s", 0.5)]
    + [(bad, None) for bad in ("", "abc", "-1s", "1m6", "6 ms", "NaN", "inf", "1d", "1e3s", "٣s")],
)
def test_durations(text, value):
    """Durations are Go's spelling; a bare number is seconds."""
    assert seconds(text) == value


NOW = 1_445_412_480.0  # Wed, 21 Oct 2015 07:28:00 GMT


@pytest.mark.parametrize(
    ("fields", "wait"),
    [
        ([(b"retry-after", b"2")], 2),
        ([(b"retry-after", b"0.25")], 0.25),
        ([(b"retry-after", b"0")], 0),
        ([(b"retry-after-ms", b"1500"), (b"retry-after", b"9")], 1.5),
        ([(b"retry-after-ms", b"junk"), (b"retry-after", b"9")], 9),
        ([(b"retry-after", b"Wed, 21 Oct 2015 07:28:30 GMT")], 30),
        ([(b"retry-after", b"Wed, 21 Oct 2015 07:20:00 GMT")], 0),
        ([(b"retry-after", b"Wed, 21 Oct 9999 07:28:30 GMT")], None),
        *(([(b"retry-after", bad)], None) for bad in (b"-1", b"NaN", b"1e9", b"inf", b"99999999", b"", b"soon", b"\xff")),
        ([], None),
    ],
)  # fmt: skip
def test_retry_after(fields, wait):
    """Seconds, fractions, milliseconds and dates are obeyed; what is absurd is ignored."""
    assert retry_after(tuple(fields), NOW) == wait


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_header_breaks_us(one, other):
    """Whatever stands there, it is a number of seconds or nothing."""
    wait = retry_after(((b"retry-after", one), (b"retry-after-ms", other)), NOW)

    assert wait is None or 0 <= wait <= 86_400
