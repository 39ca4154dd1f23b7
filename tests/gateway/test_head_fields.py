"""Our own cutting of a head into fields reads what llhttp reads."""

import httptools
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from headworks.core.wire import head_fields
from headworks.gateway.heads import judge


class Told:
    """What llhttp tells of a head, field by field."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.strip(b" \t")))


NAMES = st.text("aB-_!~1", min_size=1, max_size=4).map(str.encode)
VALUES = st.lists(
    st.sampled_from([bytes([code]) for code in range(256)] + [b" ", b"\t", b":", b"a"]), max_size=6
).map(b"".join)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=4))
@example([(b"a", b" \x0bx\x0c ")])
@example([(b"a", b" \t"), (b"B", b"b:c"), (b"a", b"")])
def test_fields_are_cut_as_llhttp_cuts_them(fields: list[tuple[bytes, bytes]]) -> None:
    """Whatever a valid head holds, each field has the name and the value that llhttp gives it."""
    head = b"GET / HTTP/1.1\r\n%b\r\n" % b"".join(b"%b:%b\r\n" % field for field in fields)
    assume(judge(head) is not None)
    told = Told()
    httptools.HttpRequestParser(told).feed_data(head)
    assert head_fields(head) == told.fields


@pytest.mark.parametrize("space", [b"\x0b", b"\x0c", b"\r", b"\n", b"\0"])
def test_no_other_space_stands_around_a_value(space: bytes) -> None:
    """A control character beside a value is refused, so that nobody can read it as a part of it."""
    for value in (space + b"x", b"x" + space):
        assert judge(b"GET / HTTP/1.1\r\na: %b\r\n\r\n" % value) is None
