"""Streams of events that are alike, or nearly."""

import re

from hypothesis import strategies as st

from tests.core.buffered import CHAT, COMPLETIONS, RESPONSES

HEADS = [b"", b'"obfuscation":"",', b'"obfuscation":"p",', b'"content":"x",', b'"sequence_number":7,', b'"sequence_number":null,', b'"sequence_number":07,']  # fmt: skip
TAILS = [
    b"",
    b',"obfuscation":""',
    b',"obfuscation":"aB1"',
    b',"obfuscation":"aB1dE"',
    b',"obfuscation":"a\\"b"',
    b',"obfuscation":"a\n\nb"',
    b',"obfuscation":"a","obfuscation":"b"',
    b',"obfuscation":"a","x":{"obfuscation":"b"}',
    b',"sequence_number":9',
    b',"sequence_number":10',
    b',"sequence_number":null',
    b',"sequence_number":-1',
    b',"obfuscation":"aB1","sequence_number":9',
    b',"obfuscation":"a","n":1,"sequence_number":99',
    b',"obfuscation":"a","n":1,"sequence_number":100',
    b',"obfuscation":"a","n":1,"sequence_number":101,"m":1',
    b',"sequence_number":9,"obfuscation":"q"',
    b',"n":9',
    b',"n":10',
    b',"content":"x","delta":"x"',
    b',"x":{"content":"y z","delta":"y z","text":"y z"}',
]
RAW = st.one_of(
    st.sampled_from([
        b"", b"a", b"b c", b" d", b"1", b"10", b"e\\n", b'\\"', b'f\\"}', b"\\\\", b"g\\\\", b"\\",
        b"\\u00e9", b"\\ud83d", b"\\ude00", b"\\ud83d\\ude00", b"\xff", b"\t", b"\n\n", b"\\x", b'"', b'"}',
        b'\\"content\\":\\"', b'"},"logprobs":null', "中。é".encode(), b". A", b"}", b"9",
        b'data: {"type":"response.output_text.delta","content_index":0,"delta":', b',"obfuscation":',
    ]),
    st.lists(st.sampled_from([b"a", b" ", b".", b'\\"', b"\\\\", b"\\n", b"\\u0041", b"`"]), max_size=6).map(b"".join),
)  # fmt: skip


def written(head: bytes, raw: bytes, tail: bytes, part: int) -> dict[str, bytes]:
    """Return an event of each form, with bytes as they are said."""
    place = b"%d" % part
    return {
        CHAT: b'data: {"id":"c",' + head + b'"choices":[{"index":' + place
        + b',"delta":{"content":"' + raw + b'"},"finish_reason":null}]' + tail + b"}\n\n",
        COMPLETIONS: b'data: {"id":"c",' + head + b'"choices":[{"text":"' + raw + b'","index":'
        + place + b"}]" + tail + b"}\n\n",
        RESPONSES: b"event: response.output_text.delta\ndata: "
        b'{"type":"response.output_text.delta",' + head + b'"content_index":' + place
        + b',"delta":"' + raw + b'","item_id":"m"' + tail + b"}\n\n",
    }  # fmt: skip


@st.composite
def streams(draw: st.DrawFn) -> list[dict[str, bytes]]:
    """Return events in which a few shapes come again and again, with other texts and numbers."""
    heads = st.sampled_from([b""] * 5 + HEADS)
    shape = st.tuples(heads, st.sampled_from(TAILS), st.integers(0, 5))
    shapes = draw(st.lists(shape, min_size=1, max_size=4))
    picks = draw(st.lists(st.tuples(st.sampled_from(shapes), RAW), max_size=25))
    if draw(st.booleans()):
        return [written(head, raw, tail, part) for (head, tail, part), raw in picks]
    return [
        written(counted(head, at), raw, counted(tail, at), part)
        for at, ((head, tail, part), raw) in enumerate(picks)
    ]


def counted(field: bytes, at: int) -> bytes:
    return re.sub(rb'(?<=sequence_number":)-?\d+', b"%d" % (at + 7), field)


def spaced(wire: bytes) -> bytes:
    return wire.replace(b'":', b'": ')
