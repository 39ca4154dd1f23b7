"""What a strict budget holds is never less than what the request can come to."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.cost_bound import CostUnbounded, Extent, may_cost, most
from headworks.core.tokens import encoding_of
from headworks.tokenizer import Tokenizer
from headworks.types import Request, Route, Usage

CHAT = "/v1/chat/completions"
ROUTE = Route("openai", "gpt-6-sol", "main")
KNOWN = Extent(400_000, 128_000)


def post(path: str = CHAT, **fields: Any) -> Request:
    body = {"model": "gpt-6-sol", **fields}
    return Request("POST", path, content=json.dumps(body).encode(), fields=body)


@pytest.mark.parametrize(
    ("request_", "extent", "output"),
    [
        (post(max_completion_tokens=50), KNOWN, 50),
        (post(max_tokens=50), KNOWN, 50),
        (post(max_tokens=50, max_completion_tokens=70), KNOWN, 70),
        (post(max_output_tokens=50), KNOWN, 128_000),
        (post(max_tokens=0), KNOWN, 128_000),
        (post(max_tokens=True), KNOWN, 128_000),
        (post(), Extent(8_000), 8_000),
        (post(max_tokens=50, n=3), KNOWN, 150),
        (post(max_tokens=50, n=10**9), KNOWN, 50 * 128),
        (post(max_tokens=50, n=5.0), KNOWN, 50 * 128),
        (post(max_tokens=50, n="5"), KNOWN, 50 * 128),
        (post(max_tokens=50, n=-1), KNOWN, 50),
        (post(max_tokens=50, n=None), KNOWN, 50),
        (post(max_tokens=-1, max_completion_tokens=50), KNOWN, 128_000),
        (post(max_tokens="9000", max_completion_tokens=50), KNOWN, 128_000),
        (post(max_tokens=1e6), KNOWN, 128_000),
        (post(max_tokens=10**4000), KNOWN, 10**9),
        (post(max_tokens=5, prediction="\N{GRINNING FACE}" * 10), KNOWN, 45),
        (post("/v1/completions", max_tokens=50, n=2, best_of=5), KNOWN, 250),
        (post("/v1/completions", max_tokens=50, prompt=["a", "b"], n=2), KNOWN, 200),
        (post("/v1/completions", max_tokens=50, prompt=[1, 2, 3]), KNOWN, 50),
        (post("/v1/responses", max_output_tokens=50), KNOWN, 50),
        (post("/v1/responses", max_tokens=50), KNOWN, 128_000),
        (post("/v1/embeddings", input="Hi"), Extent(), 0),
    ],
)
def test_answers_are_bounded_by_what_is_said_else_by_the_model(request_, extent, output):
    """The field that the endpoint obeys counts, for each of the answers that are asked for."""
    assert most(request_, ROUTE, extent).output == output


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "https://x.test/a.mp4"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": ["text"], "text": "Hi"}]}]},
        {"messages": [{"role": "user", "content": "Hi"}], "input": [{"role": "user", "content": [{"type": "input_image"}]}]},
        {"messages": [{"role": "assistant", "content": "Hi", "audio": {"id": "audio_1"}}]},
    ],
)  # fmt: skip
def test_what_is_not_in_the_request_counts_as_a_whole_window(fields):
    """Nobody knows how long a picture or a file is before the provider has read it."""
    assert most(post(max_tokens=1, **fields), ROUTE, KNOWN).input == 400_000


@pytest.mark.parametrize(
    "fields", [{"previous_response_id": "resp_1"}, {"conversation": "conv_1"}]
)  # fmt: skip
def test_what_a_provider_keeps_counts_as_a_whole_window(fields):
    """Earlier answers are read, and billed, with the request."""
    request = post("/v1/responses", input="Hi", max_output_tokens=1, **fields)
    assert most(request, ROUTE, KNOWN).input == 400_000
    with pytest.raises(CostUnbounded):
        most(request, ROUTE, Extent())


@pytest.mark.parametrize(
    ("request_", "extent", "param"),
    [
        (post(), Extent(), "max_completion_tokens"),
        (post("/v1/responses", input="Hi"), Extent(), "max_output_tokens"),
        (post("/v1/responses", input="Hi", tools=[{"type": "web_search"}]), KNOWN, "tools"),
        (post(web_search_options={}), KNOWN, "web_search_options"),
        (post("/v1/responses", input="Hi", prompt={"id": "pmpt_1"}), KNOWN, "prompt"),
        (Request("POST", "/v1/containers"), KNOWN, None),
        (Request("POST", "/v1/responses/resp_1/more"), KNOWN, None),
        (post(tools=[{"type": ["function"]}, "odd"]), KNOWN, "tools"),
        (post("/v1/images/generations", prompt="A cat"), KNOWN, None),
        (post("/v1/batches", input_file_id="file-1"), KNOWN, None),
        (post("/v1/fine_tuning/jobs"), KNOWN, None),
    ],
)
def test_what_has_no_bound_is_refused(request_, extent, param):
    """The message says what to set, where that helps."""
    with pytest.raises(CostUnbounded) as caught:
        most(request_, ROUTE, extent)
    assert caught.value.param == param
    assert "strict" in str(caught.value)


def test_a_tool_that_the_caller_runs_is_no_obstacle():
    """Its result comes as a request of its own."""
    tool = {"type": "function", "function": {"name": "f"}}
    assert most(post(tools=[tool], max_tokens=5), ROUTE, KNOWN).output == 5


@pytest.mark.parametrize(("tier", "priced"), [("flex", "default"), ("auto", "default"), ("priority", "priority"), ("fast", "priority"), ("Priority", "priority"), (["priority"], "priority")])  # fmt: skip
def test_the_dearest_tier_that_a_request_allows_counts(tier, priced):
    """What asked for a discount may be answered without one."""
    assert most(post(max_tokens=5, service_tier=tier), ROUTE, KNOWN).tier == priced


@pytest.fixture(scope="module")
def tokenizer():
    made = Tokenizer()
    made.load_soon([encoding_of("gpt-6-sol")])
    assert made.wait_loaded(60)
    return made


@given(texts=st.lists(st.text(), max_size=8), is_pretty=st.booleans())
def test_no_text_has_more_tokens_than_are_held(tokenizer, texts, is_pretty):
    """Whatever the script it is written in."""
    body = {"model": "gpt-6-sol", "max_tokens": 1, "messages": [{"role": "user", "content": one} for one in texts]}  # fmt: skip
    content = json.dumps(body, ensure_ascii=is_pretty).encode("utf-8", "surrogatepass")
    request = Request("POST", CHAT, content=content, fields=body)
    assert tokenizer.recount(request, "").input <= most(request, ROUTE, Extent(None, 1)).input


@pytest.mark.parametrize(
    ("request_", "costs"),
    [
        (post(), True),
        (post("/v1/moderations"), False),
        (Request("GET", "/v1/responses/resp_1"), False),
        (Request("DELETE", "/v1/files/file-1"), False),
        (Request("POST", "/v1/files", content=b"--form"), False),
        (Request("POST", "/v1/audio/transcriptions", content=b"--form"), True),
        (Request("POST", "/v1/batches", content=b"{}", fields={"input_file_id": "f"}), True),
        (Request("POST", "/v1/batches/batch_1/cancel"), False),
        (Request("POST", "/v1/batches/batch_1/cancel", content=b"{}"), False),
        (Request("POST", "/v1/chat/completions/chatcmpl_1", content=b"{}"), False),
        (Request("POST", "/v1/conversations"), False),
        (Request("POST", "/v1/realtime/client_secrets", content=b"{}"), True),
        (Request("POST", "/v1/containers", content=b'{"name":"c"}', fields={"name": "c"}), True),
        (Request("POST", "/v1/responses/compact", content=b"unread"), True),
        (Request("POST", "/v1/models/m:generateContent", content=b"{}"), True),
        (post("/v1/responses/input_tokens"), False),
        (Request("POST", "/v1/responses/resp_1/cancel"), False),
    ],
)
def test_what_costs_nothing_needs_no_money(request_, costs):
    """Reading, deleting, cancelling and uploading go on when a budget is used up; the rest does not."""
    assert may_cost(request_) is costs


def test_a_request_is_never_longer_than_its_window():
    """What does not fit is refused by the provider, and not billed."""
    usage = most(post(max_tokens=1, user="x" * 5000), ROUTE, Extent(1000, 10))
    assert usage == Usage(1000, 1)
