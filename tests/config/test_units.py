"""Amounts are spelled as people spell them, and nothing doubtful is guessed."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from headworks.config import units
from headworks.config.units import Address


@dataclass(frozen=True)
class Case:
    read: Callable[[Any], object]
    value: object
    expected: object

    @override
    def __str__(self) -> str:
        return f"{self.read.__name__} {self.value!r}"


GOOD = [
    Case(units.duration, "500ms", 0.5),
    Case(units.duration, "1m30s", 90.0),
    Case(units.duration, "10m", 600.0),
    Case(units.duration, 30, 30.0),
    Case(units.duration, 0.5, 0.5),
    Case(units.pause, "0s", 0.0),
    Case(units.size, "20MB", 20_000_000),
    Case(units.size, "20MiB", 20_971_520),
    Case(units.size, "1.5 kb", 1500),
    Case(units.size, 4096, 4096),
    Case(units.size, "4096", 4096),
    Case(units.rate, 1.25, 1_250_000_000),
    Case(units.rate, "10.00", 10_000_000_000),
    Case(units.rate, 0.1, 100_000_000),
    Case(units.rate, "0.000000001", 1),
    Case(units.rate, 1e-7, 100),
    Case(units.rate, 0, 0),
    Case(units.moment, "2027-01-01", 1_798_761_600.0),
    Case(units.moment, "2027-01-01T01:00:00+01:00", 1_798_761_600.0),
    Case(units.moment, "2027-01-01T00:00:00Z", 1_798_761_600.0),
    Case(units.address, "127.0.0.1:4000", Address("127.0.0.1", 4000)),
    Case(units.address, "[::1]:0", Address("::1", 0)),
    Case(units.address, "gateway.internal:443", Address("gateway.internal", 443)),
    Case(units.store, "sqlite:/var/lib/x.db", "/var/lib/x.db"),
    Case(units.base_url, "https://api.openai.com/v1/", "https://api.openai.com/v1"),
    Case(units.base_url, "http://[::1]:8080", "http://[::1]:8080"),
    Case(units.base_url, "https://a.b:8443/x/v1", "https://a.b:8443/x/v1"),
    Case(units.proxy, "http://user:p%40ss@proxy:3128", "http://user:p%40ss@proxy:3128"),
]
BAD = [
    *(
        (units.duration, value)
        for value in (
            "", "s", "5 parsecs", "-1s", "0s", 0, -1, "1e3s", "9" * 400, "999h" * 3, float("inf"),
            float("nan"), "\N{ARABIC-INDIC DIGIT FIVE}s",
        )
    ),
    *((units.size, value) for value in ("", "MB", "20XB", "ib", "-1MB", 0, "0.1", "9999999GB")),
    *(
        (units.rate, value)
        for value in ("", "-1", -1, "1e3", "0.0000000001", "1,25", "nan", float("inf"), 2_000_000)
    ),
    *((units.moment, value) for value in ("", "tomorrow", "2027-13-01", "27-01-01", "1767225600", "1969-12-31", "9999-12-31T23:00:00-01:00")),
    *(
        (units.address, value)
        for value in (
            "", "4000", ":4000", "localhost", "a:b", "a:65536", "a:-1", "::1:4000", "[127.0.0.1]:1",
            "[::1%lo]:1", "a b:1", "http://a:1", "a/b:1", "a:1\n", "[::1:4000",
        )
    ),
    *(
        (units.store, value)
        for value in ("", "sqlite:", "sqlite:///x.db", "postgresql://h/d", "x.db")
    ),
    *((units.coordination, value) for value in ("redis://h", "")),
    *((units.token, value) for value in ("", "a b", "a\n", "a\r\nX: y", "ключ", "\0")),
    *(
        (units.base_url, value)
        for value in (
            "", "api.openai.com", "ftp://a/v1", "file:///etc/passwd", "https://", "https:///v1",
            "https://user@host/v1", "https://user:pw@host/v1", "https://@host/v1",
            "https://host/v1?x=1", "https://host/v1#x", "https://host/v1?", "https://host/v1#",
            "https://host\\@evil/v1", "https://ho st/v1", "https://host/v1\n", "https://host\0/v1",
            "https://host:99999/v1", "https://host:0/v1", "https://host:x/v1", "https://[::1/v1",
            "https://bücher.example/v1", "https://a%2eb/v1", "https://h/a/../b", "https://h/./v1",
            "https://-/v1", "https://[fe80::1%25eth0]/v1", "HTTPS//x",
        )
    ),
    *(
        (units.proxy, value)
        for value in ("proxy:3128", "https://p:1", "socks5://p:1", "http://p", "http://p:1/x",
                      "http://p:1?x", "http://p:1#x", "http://u:p#w@h:1")
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", GOOD, ids=str)
def test_amounts_are_read_exactly(case):
    """What I write is what takes effect, to the last digit."""
    assert case.read(case.value) == case.expected


@pytest.mark.parametrize(("read", "value"), BAD)
def test_what_is_doubtful_is_refused(read, value):
    """A misspelt amount is an error that shows a right spelling, never a guess."""
    with pytest.raises(ValueError, match=r"\w") as refusal:
        read(value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8080/v1", True),
        ("http://localhost/v1", True),
        ("http://[::1]/v1", True),
        ("http://127.1/v1", False),
        ("http://0/v1", False),
        ("http://0.0.0.0/v1", False),
        ("http://2130706433/v1", False),
        ("http://localhost.evil.example/v1", False),
        ("http://10.0.0.1/v1", False),
        ("http://[::1", False),
    ],
)
def test_only_this_machine_is_loopback(url, expected):
    """No spelling makes a foreign host pass for this machine."""
    assert units.is_loopback(url) is expected


def test_addresses_are_shown_as_they_are_written():
    """An address in a message can be copied back into the file."""
    for text in ("127.0.0.1:4000", "[::1]:0", "localhost:80"):
        assert str(units.address(text)) == text


@given(st.integers(0, 10**15))
def test_every_price_of_nine_decimals_is_exact(nano):
    """No price is off by even a billionth of a dollar."""
    text = f"{nano // 10**9}.{nano % 10**9:09d}"
    assert units.rate(text) == nano


@given(st.text(max_size=80))
def test_readers_refuse_by_value_error_alone(text):
    """No text, however odd, makes a reader fail in another way."""
    readers: list[Callable[[Any], object]] = [
        units.duration, units.pause, units.size, units.rate, units.moment, units.address,
        units.store, units.coordination, units.token, units.base_url, units.proxy,
    ]  # fmt: skip
    for read in readers:
        with suppress(ValueError):
            read(text)
