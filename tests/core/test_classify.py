"""Every provider error has one meaning."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.classify import TABLE, UNPAID, Row, classify, is_misfit, known_code
from headworks.errors import CredentialRefused, Retry, UpstreamAnswered


def body(code=None, kind=None, message="m", param=None) -> bytes:
    return json.dumps(
        {"error": {"message": message, "type": kind, "code": code, "param": param}}
    ).encode()


@dataclass(frozen=True)
class Case:
    id: str
    status: int
    content: bytes
    retry: Retry
    told: int | None = None


GUIDE = Path(__file__).parents[2] / "docs/guides/failures.md"
NEVER, ONCE = Retry.NEVER, Retry.ONCE
SAME, OTHER = Retry.SAME_ROUTE, Retry.OTHER_ROUTE
CASES = [
    Case("a malformed request", 400, body("invalid_value"), NEVER),
    Case("an unknown code", 400, body("brand_new_code"), NEVER),
    Case("no code", 400, body(), NEVER),
    Case("too long for the window", 400, body("context_length_exceeded"), NEVER),
    Case("a content filter", 400, body("content_filter"), NEVER),
    Case("an unknown model on chat", 404, body("model_not_found"), OTHER),
    Case("an unknown model on responses", 400, body("model_not_found"), OTHER),
    Case("an unknown object", 404, body(), NEVER),
    Case("payment", 402, body(), OTHER),
    Case("no access", 403, body(), OTHER),
    Case("a timeout", 408, body(), SAME),
    Case("a lock", 409, body(), SAME),
    Case("unprocessable", 422, body(), NEVER),
    Case("too many requests", 429, body("rate_limit_exceeded", "requests"), SAME),
    Case("a request that can never fit", 429, body("rate_limit_exceeded", "tokens", "Request too large for gpt: Limit 1, Requested 2."), OTHER),
    Case("no money", 429, body("insufficient_quota", "insufficient_quota"), OTHER),
    Case("no money, in a newer word", 429, body("credit_balance_exhausted", "insufficient_quota"), OTHER),
    Case("no money, in a word to come", 429, body("some_new_limit", "insufficient_quota"), OTHER),
    Case("slower, please", 429, body("slow_down"), SAME),
    Case("a server error", 500, body("server_error"), SAME),
    Case("HTML from a proxy", 502, b"<html>bad gateway</html>", SAME),
    Case("an empty body", 503, b"", SAME),
    Case("overloaded", 503, body("server_is_overloaded"), SAME),
    Case("a status of their own", 529, body(), SAME),
    Case("a rate limit inside a stream", 200, body("rate_limit_exceeded"), SAME, 429),
    Case("a server error inside a stream", 200, body("server_error"), SAME, 502),
]  # fmt: skip


def showing(row: Row) -> tuple[int, bytes]:
    """Return the status and body of an answer that shows only this sign."""
    if row.by == "message":
        return row.status, body("a_word_to_come", "another", f"So: {row.sign.split('|')[-1]} 7.")
    if row.by == "status":
        return int(row.sign.replace("xx", "77")), body("a_word_to_come", "another")
    return 418, body(**{"code": row.sign} if row.by == "code" else {"kind": row.sign})


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.by} {row.sign}")
def test_each_row_of_the_table_decides(row):
    """What the documented table says of a sign is what happens."""
    error = classify(*showing(row)[:1], (), showing(row)[1], now=0.0)

    assert (error.failure, error.retry) == (row.failure, row.retry)


def test_the_documents_show_the_table():
    """What I read about a provider's error is what happens with it, row by row."""
    words = {NEVER: "nothing", ONCE: "same route, once", SAME: "same route", OTHER: "other route"}
    shown = [
        line.split(" | ")[1:]
        for line in GUIDE.read_text().splitlines()
        if line.count(" | ") == 3 and line.split(" | ")[1] in {"message", "code", "type", "status"}
    ]
    signs = [
        line.split(" | ")[0] for line in GUIDE.read_text().splitlines() if line.startswith("| `")
    ]

    assert [[row.by, f"`{row.failure}`", f"{words[row.retry]} |"] for row in TABLE] == shown
    assert {f"| `{row.sign}`" for row in TABLE if row.by != "message"} <= set(signs)


def test_no_sign_stands_twice():
    """There is one row for each sign, so that the table can be read."""
    signs = [(row.by, row.sign) for row in TABLE]
    assert len(signs) == len(set(signs))
    assert "insufficient_quota" in UNPAID


TOO_MUCH = "Rate limit reached for gpt-6-sol in organization org-x on tokens per min (TPM): Limit 30,000, Used 0, Requested 31,538. Please try again in 3s."
TOO_LONG = "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens."
LLAMA = "the request exceeds the available context size (4096 tokens), try increasing it"
UNFETCHED = "Error while downloading https://x/y.png. Upstream status code: 404."
AZURE = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}}


@dataclass(frozen=True)
class Seen:
    """An answer as a provider gives it: what it means and what its caller is told."""

    id: str
    status: int
    error: dict[str, object]
    failure: str
    retry: Retry
    told: int = 0


SEEN = [
    Seen("too long, as others say it", 400, {"message": TOO_LONG, "type": "BadRequestError", "code": 400}, "context_length", NEVER),
    Seen("too long for a small server", 400, {"message": LLAMA, "type": "invalid_request_error", "code": 400}, "context_length", NEVER),
    Seen("or by its type", 400, {"message": "m", "type": "exceed_context_size_error", "code": 400}, "context_length", NEVER),
    Seen("a feature of other models", 400, {"message": "Web search options not supported with this model.", "type": "invalid_request_error", "code": None}, "request", NEVER),
    Seen("a parameter of other models", 400, {"type": "invalid_request_error", "code": "unsupported_parameter"}, "request", NEVER),
    Seen("a tier of other projects", 400, {"type": "invalid_request_error", "param": "service_tier", "message": "not allowed for this project"}, "request", NEVER),
    Seen("a picture that was not fetched", 400, {"type": "invalid_request_error", "code": "invalid_image_url", "message": UNFETCHED}, "request", ONCE),
    Seen("a picture's address that is none", 400, {"type": "invalid_request_error", "code": "invalid_image_url", "message": "Invalid URL."}, "request", NEVER),
    Seen("a picture that is not painted", 400, {"type": "image_generation_user_error", "code": "moderation_blocked"}, "content_filter", NEVER),
    Seen("Azure's filter", 400, {"type": None, "code": "content_filter", "innererror": AZURE}, "content_filter", NEVER),
    Seen("Azure's filter of pictures", 400, {"code": "contentFilter", "message": "Your task failed as a result of our safety system."}, "content_filter", NEVER),
    Seen("Azure has no such deployment", 404, {"code": "DeploymentNotFound", "message": "m"}, "model", OTHER),
    Seen("Azure's key", 401, {"code": "401", "message": "Access denied due to invalid subscription key."}, "credential", OTHER, 502),
    Seen("Azure's limit", 429, {"code": "429", "message": "Please retry after 4 seconds."}, "rate_limit", SAME),
    Seen("no access to the model", 403, {"type": "invalid_request_error", "code": "model_not_found"}, "model", OTHER),
    Seen("a forbidden country", 403, {"type": "request_forbidden", "code": "unsupported_country_region_territory"}, "credential", OTHER),
    Seen("not a member", 401, {"type": "invalid_request_error", "message": "You must be a member of an organization."}, "credential", OTHER, 502),
    Seen("a stored answer that is not there", 404, {"type": "invalid_request_error", "code": None, "message": "Response with id 'resp_1' not found."}, "request", NEVER),
    Seen("a method that is none", 405, {"type": "invalid_request_error"}, "request", NEVER),
    Seen("a lock", 409, {"type": "invalid_request_error", "code": "conversation_locked"}, "conflict", SAME),
    Seen("a kind of body that is none", 415, {"type": "invalid_request_error"}, "request", NEVER),
    Seen("another host's", 421, {}, "request", NEVER),
    Seen("not processable", 422, {"type": "invalid_request_error"}, "request", NEVER),
    Seen("too early", 425, {}, "request", NEVER),
    Seen("unlawful", 451, {}, "request", NEVER),
    Seen("a limit by type alone", 429, {"type": "tokens", "code": None}, "rate_limit", SAME),
    Seen("larger than the limit", 429, {"type": "tokens", "code": "rate_limit_exceeded", "message": TOO_MUCH}, "too_large", OTHER),
    Seen("no limit is left by the contract", 429, {"type": "requests", "code": "rate_limit_exceeded", "message": "Limit: 0, Used: 0, Requested: 1."}, "too_large", OTHER),
    Seen("the limit and no more", 429, {"type": "tokens", "code": "rate_limit_exceeded", "message": "Limit 30000, Used 29321, Requested 30000."}, "rate_limit", SAME),
    Seen("slower", 429, {"type": "rate_limit_error", "code": "slow_down"}, "rate_limit", SAME),
    Seen("slower, as it was said before", 503, {"type": None, "code": "slow_down"}, "rate_limit", SAME),
    Seen("a bill, with 400", 400, {"type": "invalid_request_error", "code": "billing_not_active"}, "quota", OTHER),
    Seen("overloaded", 503, {"type": "service_unavailable_error", "code": "server_is_overloaded"}, "overloaded", SAME),
    Seen("too slow behind", 504, {}, "server_error", SAME),
    Seen("a code that is a status, inside success", 200, {"code": 429, "message": "m"}, "rate_limit", SAME, 429),
    Seen("a key that is none, inside success", 200, {"code": 401, "message": "m"}, "credential", OTHER, 502),
    Seen("the caller's fault, inside success", 200, {"type": "invalid_request_error", "code": None, "message": "m"}, "request", NEVER, 400),
    Seen("a limit of that type, inside success", 200, {"type": "invalid_request_error", "code": "rate_limit_exceeded"}, "rate_limit", SAME, 429),
    Seen("too large, inside success", 200, {"code": "rate_limit_exceeded", "message": TOO_MUCH}, "too_large", OTHER, 429),
    Seen("a picture, inside success", 200, {"code": "failed_to_download_image", "message": "m"}, "request", ONCE, 400),
    Seen("an odd number, inside success", 200, {"code": 42, "message": "m"}, "server_error", SAME, 502),
    Seen("a redirect", 302, {}, "server_error", SAME, 502),
]  # fmt: skip


@pytest.mark.parametrize("seen", SEEN, ids=lambda seen: seen.id)
def test_what_providers_say_is_understood(seen):
    """Each answer that OpenAI, Azure and servers like theirs give has its one meaning."""
    content = json.dumps({"error": {"message": "m", **seen.error}}).encode()

    error = classify(seen.status, (), content, now=0.0)

    assert (error.failure, error.retry, error.status) == (seen.failure, seen.retry, seen.told or seen.status)  # fmt: skip


@pytest.mark.parametrize(
    ("message", "wait"),
    [
        ("Limit 30000, Used 29321, Requested 10000. Please try again in 18.642s. Visit", 18.642),
        ("Please try again in 20ms.", 0.02),
        ("Please try again in 1m3s.", 63.0),
        ("Please try again in 6m0s", 360.0),
        ("Please retry after 7 seconds.", 7.0),
        ("Please retry after 1 second.", 1.0),
        ("Please try again in 24h0m0s.", 86_400.0),
        ("Please try again in 25h.", None),
        ("Please try again in 99999999999999999999s.", None),
        ("Please try again in -1s.", None),
        ("Please try again in NaNs.", None),
        ("Please try again in 5 ms.", None),
        ("Please try again in 5min.", None),
        ("Please try again in 3d.", None),
        ("Please try again in a moment.", None),
        ("Please try again later.", None),
        ("", None),
    ],
)
def test_the_wait_is_read_from_the_text(message, wait):
    """A limit that says in words alone how long it lasts is obeyed; nonsense is not."""
    error = classify(429, (), body("rate_limit_exceeded", "tokens", message), now=0.0)

    assert error.retry_after == wait


@pytest.mark.parametrize("absurd", [b"soon", b"", b"-1", b"NaN", b"1e9", b"1e400", b"1000000000", b"inf"])  # fmt: skip
def test_the_head_goes_before_the_text(absurd):
    """The text counts where the head says nothing that can be believed, and for limits only."""
    content = body("rate_limit_exceeded", "tokens", "Please try again in 2s.")

    assert classify(429, ((b"retry-after", b"9"),), content, now=0.0).retry_after == 9.0
    assert classify(429, ((b"retry-after", absurd),), content, now=0.0).retry_after == 2.0
    for status, code in ((503, "server_is_overloaded"), (429, "insufficient_quota")):
        said = body(code, None, "Please try again in 2s.")
        assert classify(status, ((b"retry-after", absurd),), said, now=0.0).retry_after is None


@pytest.mark.parametrize(
    ("code", "status"),
    [("invalid_prompt", 400), ("context_length_exceeded", 400), ("model_not_found", 404), ("credit_balance_exhausted", 429), ("server_is_overloaded", 503), ("vector_store_timeout", 502), ("new", 502)],
)  # fmt: skip
def test_an_error_in_the_clothes_of_success_gets_a_status(code, status):
    """What a provider tells inside a 200 has the status that its meaning has."""
    assert classify(200, (), body(code), now=0.0).status == status


def test_azures_inner_code_is_read():
    """Azure says one level deeper what its filter stopped."""
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}}
    content = json.dumps({"error": {"message": "m", "code": None, "innererror": inner}}).encode()

    error = classify(400, (), content, now=0.0)

    assert (error.failure, error.retry, error.code) == ("content_filter", NEVER, "")


def test_only_known_words_are_repeated():
    """Logs and header fields show no word that a provider has made up."""
    told = [classify(500, (), body(code), now=0.0) for code in ("server_error", "sk-123", None)]

    assert [known_code(error) for error in told] == ["server_error", "500", "500"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_may_be_tried_next(case):
    """Nothing is repeated that cannot succeed, and nothing is given up that can."""
    error = classify(case.status, (), case.content, now=0.0)

    assert (error.retry, error.status) == (case.retry, case.told or case.status)


def test_the_providers_words_survive():
    """Message, type, code, param and the body's bytes reach the caller as they came."""
    content = body("invalid_value", "invalid_request_error", "Bad temperature.", "temperature")

    error = classify(400, (), content, now=0.0)

    assert isinstance(error, UpstreamAnswered)
    assert error.content == content
    assert error.body() == json.loads(content)


def test_html_is_never_relayed():
    """A proxy's page becomes an error object."""
    error = classify(502, (), b"<html>secret</html>", now=0.0)

    assert isinstance(error, UpstreamAnswered)
    assert error.content is None
    assert "html" not in str(error.body())


@pytest.mark.parametrize("status", [401, 403])
def test_our_credential_is_not_the_callers_trouble(status):
    """A refused credential never reads as if the caller's key were bad, nor shows a part of it."""
    error = classify(
        status, (), body("invalid_api_key", message="Incorrect key: sk-ab***yz"), now=0.0
    )

    assert isinstance(error, CredentialRefused)
    assert (error.status, "sk-" in str(error)) == (502, False)


@pytest.mark.parametrize(
    ("status", "code", "message", "is_one"),
    [
        (400, "unsupported_parameter", "m", True),
        (400, "unsupported_value", "m", True),
        (400, None, "Web search options not supported with this model.", True),
        (400, "invalid_value", "m", False),
        (400, "context_length_exceeded", "It does not fit with this model.", False),
        (500, "unsupported_value", "m", False),
    ],
)
def test_what_another_model_may_be_able_to_do(status, code, message, is_one):
    """A provider that speaks of its model and not of the request alone is understood."""
    assert is_misfit(classify(status, (), body(code, message=message), now=0.0)) is is_one


def test_the_wait_is_read_from_the_head():
    """What the provider asks for is known to whoever decides."""
    error = classify(429, ((b"retry-after-ms", b"1500"),), body("rate_limit_exceeded"), now=0.0)

    assert error.retry_after == 1.5


@given(st.integers(100, 999), st.binary() | st.recursive(st.none() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.sampled_from(["error", "code", "type", "message"]), v)).map(lambda v: json.dumps(v).encode()))  # fmt: skip
def test_any_body_is_classified(status, content):
    """No answer of a provider breaks us."""
    error = classify(status, (), content, now=0.0)

    assert isinstance(error.body()["error"]["message"], str)
