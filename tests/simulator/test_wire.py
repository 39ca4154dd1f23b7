"""Any bytes at all: the answer is OpenAI's or the connection ends, and the process lives on."""

import json
import re
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from headworks.simulator import Simulator, SimulatorConfig, running
from headworks.simulator.config import FaultName
from headworks.simulator.routes import ROUTES
from headworks.testing import FakeClock
from tests.simulator.conftest import PRICES, Visit
from tests.simulator.raw import connect, converse, exchange, request

CHAT = "/v1/chat/completions"
FIELDS: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
SMALL = SimulatorConfig(prices=PRICES, max_body=10_000)
GOOD = request(FIELDS)
UNHURRIED = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def small():
    """A simulator that takes small requests alone."""
    with running(SMALL) as simulator:
        yield simulator


def answers(data: bytes) -> list[tuple[int, bytes]]:
    """Return status and body of the whole answers in `data`; what is left over must be empty."""
    found: list[tuple[int, bytes]] = []
    while data:
        line = re.match(rb"HTTP/1\.1 (\d{3}) [ -~]*\r\n", data)
        assert line is not None, data[:200]
        head, _, data = data.partition(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: (\d+)", head)
        if int(line[1]) == 100:
            continue
        assert length is not None, head
        size = int(length[1])
        assert len(data) >= size
        found.append((int(line[1]), data[:size]))
        data = data[size:]
    return found


def check(data: bytes) -> None:
    """Assert that every answer is in OpenAI's form and none is a failure of the simulator."""
    for status, body in answers(data):
        assert status < 500, body
        content = json.loads(body)
        if status >= 400:
            assert set(content["error"]) == {"message", "type", "param", "code"}


def alive(simulator) -> None:
    """Assert that a good request is still answered."""
    assert answers(exchange(simulator.base_url, GOOD).data)[0][0] == 200


@given(data=st.binary(max_size=400))
@example(b"\0" * 100)
@example(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
@example(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
@UNHURRIED
def test_noise_is_survived(small, data):
    """Bytes that are no HTTP get 400 or nothing."""
    check(exchange(small.base_url, data, b"\r\n\r\n", timeout=0.03).data)
    alive(small)


@given(
    cuts=st.lists(
        st.tuples(st.integers(0, len(GOOD)), st.binary(max_size=5)), min_size=1, max_size=4
    ),
    drop=st.integers(0, 3),
)
@UNHURRIED
def test_a_damaged_request_is_refused_or_answered(small, cuts, drop):
    """A good request with some bytes changed, lost or added is none that breaks anything."""
    data = bytearray(GOOD)
    for at, put in cuts:
        data[at : at + drop] = put
    seen = exchange(small.base_url, bytes(data), timeout=0.03)
    if not seen.data.startswith(b"HTTP/1.1 200") and b"stream" not in seen.data:
        check(seen.data)
    alive(small)


SHAPES = [
    (b"GET /v1/models HTTP/1.1\r\n\r\n", 401),
    (b"GET /v1/models HTTP/1.0\r\n\r\n", 401),
    (b"HEAD /v1/models HTTP/1.1\r\nhost: a\r\n\r\n", 405),
    (b"GET /%ff%00%2e%2e/x HTTP/1.1\r\nhost: a\r\n\r\n", 404),
    (b"GET http://elsewhere/v1/x HTTP/1.1\r\nhost: a\r\n\r\n", 404),
    (b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", 404),
    (b"CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n", 404),
    (
        b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        400,
    ),
    (b"POST /v1/chat/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
    (b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
    (b"GET / HTTP/9.9\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nno colon here\r\n\r\n", 400),
    (b"GET /" + b"x" * 300_000 + b" HTTP/1.1\r\n\r\n", 414),
    (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 140_000 + b"\r\n", 431),
    (b"GET /v1/x HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n\x81\x00", 404),
]


@pytest.mark.parametrize(("data", "status"), SHAPES)
def test_strange_requests_are_refused_in_form(small, data, status):
    """Each gets an answer of the kind that HTTP has for it."""
    seen = exchange(small.base_url, data)

    assert seen.data.startswith(b"HTTP/1.1 %d " % status)
    alive(small)


@pytest.mark.parametrize("chunked", [True, False])
def test_a_request_that_is_too_large_is_refused(small, chunked):
    """413 comes as soon as the bound is passed, and the connection goes on behind the body."""
    body = b"x" * 30_000
    head = b"POST /v1/chat/completions HTTP/1.1\r\ncontent-type: application/json\r\n"
    if chunked:
        data = head + b"transfer-encoding: chunked\r\n\r\n7530\r\n" + body + b"\r\n0\r\n\r\n"
    else:
        data = head + b"content-length: 30000\r\n\r\n" + body
    (first, content), (second, _) = answers(exchange(small.base_url, data + GOOD, settle=0.5).data)

    assert (first, second) == (413, 200)
    assert json.loads(content)["error"]["code"] == "request_too_large"


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"messages":[', '[{"b":['])
@pytest.mark.parametrize("depth", [100, 250, 3000])
def test_endless_nesting_is_refused(small, opening, depth):
    """Neither the parser nor what walks through its result can be made to fall over."""
    closing = opening.translate(str.maketrans("[{", "]}", '":abmesg'))[::-1]
    nested = opening * depth + "1" + closing * depth
    body = (
        f'{{"model":"gpt-4o","messages":[{{"role":"user","content":"Hi"}}],"x":{nested}}}'.encode()
    )
    head = GOOD.partition(b"content-length")[0]
    data = b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)
    with running(SimulatorConfig(prices=PRICES)) as simulator:
        check(exchange(simulator.base_url, data).data)
        alive(simulator)


def test_requests_in_one_packet_are_answered_in_their_order(small):
    """Ten pipelined requests get ten answers."""
    sent = [request(FIELDS | {"max_tokens": n}) for n in range(1, 11)]
    found = answers(exchange(small.base_url, b"".join(sent), settle=0.5).data)

    assert [json.loads(body)["usage"]["completion_tokens"] for _, body in found] == [*range(1, 11)]


def test_a_request_may_come_byte_by_byte(small):
    """However it is cut into packets, it is one request."""
    seen = exchange(small.base_url, *(GOOD[at : at + 1] for at in range(len(GOOD))))

    assert [status for status, _ in answers(seen.data)] == [200]


def test_the_body_may_be_waited_for(small):
    """Whoever asks for 100 Continue gets it, then the answer."""
    head, _, body = request(FIELDS, expect="100-continue").partition(b"\r\n\r\n")
    with connect(small.base_url) as wire:
        first = converse(wire, head + b"\r\n\r\n")
        then = converse(wire, body)

    assert first.data == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert then.data.startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_old_client_gets_a_stream_to_the_end_of_its_connection(small):
    """HTTP/1.0 knows no chunks."""
    old = request(FIELDS | {"stream": True}).replace(b"HTTP/1.1", b"HTTP/1.0")
    seen = exchange(small.base_url, old)

    assert seen.end == "fin"
    assert b"transfer-encoding" not in seen.head
    assert seen.body.endswith(b"data: [DONE]\n\n")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["gpt-4o", "user", "json_schema", "function", "text", "\x00", "x" * 3000]),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4)
    ),
    max_leaves=12,
)
NAMES = [
    "model",
    "messages",
    "input",
    "tools",
    "tool_choice",
    "response_format",
    "stream",
    "n",
    "stop",
    "max_tokens",
    "logprobs",
    "text",
    "max_output_tokens",
    "max_completion_tokens",
    "seed",
    "stream_options",
    "reasoning",
    "reasoning_effort",
    "prompt",
    "dimensions",
    "encoding_format",
    "instructions",
    "top_logprobs",
    "metadata",
    "purpose",
    "file",
    "functions",
    "audio",
    "previous_response_id",
    "parallel_tool_calls",
    "service_tier",
    "include",
    "store",
    "user",
    "modalities",
]
POSTS = sorted({route.path for route in ROUTES if route.method == "POST" and route.takes != "form"})
BASE: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [{"role": "user", "content": "Hello"}],
    "input": "Hello",
    "prompt": "Hello",
}


@pytest.mark.anyio
@pytest.mark.parametrize("path", POSTS)
async def test_any_json_is_answered_in_form(path):
    """Whatever stands in the fields: 200, or an error object that blames the caller."""
    app = Simulator(SimulatorConfig(prices=PRICES), FakeClock())
    found: list[dict[str, Any]] = []

    @given(
        fields=st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5),
        based=st.booleans(),
    )
    @settings(deadline=None, max_examples=60, database=None)
    def collect(fields, based):
        found.append((BASE if based else {}) | fields)

    collect()
    for fields in found:
        visit = Visit(path.replace("{", "").replace("}", ""), fields)
        await visit.run(app)
        assert visit.status < 500, (path, fields, visit.body)
        if visit.status >= 400:
            assert set(msgspec.json.decode(visit.body)["error"]) == {
                "message", "type", "param", "code",
            }, (path, fields)  # fmt: skip


@given(header=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
@example("cut_after=,,,,")
@example("status=429,retry_after=" + "9" * 5000)
@UNHURRIED
def test_any_order_of_a_fault_is_answered(small, header):
    """A fault that cannot be read is 400, whatever stands there."""
    seen = exchange(small.base_url, request(FIELDS, x_simulator_fault=header), timeout=0.03)

    is_order = re.split("[=,]", header.strip(), maxsplit=1)[0] in get_args(FaultName)
    assert is_order or seen.data.startswith(b"HTTP/1.1 400 ")
    alive(small)
