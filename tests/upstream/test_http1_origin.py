"""Where requests go, and heads that nobody can split."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.types import Secret
from headworks.upstream.http1 import ClientLimits, HttpClient, Origin, Proxy, request_head


@dataclass(frozen=True, slots=True)
class Case:
    url: str
    text: str
    path: str
    host: str


@pytest.mark.parametrize(
    "case",
    [
        Case("https://api.openai.com/v1", "https://api.openai.com", "/v1", "api.openai.com"),
        Case("https://api.openai.com/v1/", "https://api.openai.com", "/v1", "api.openai.com"),
        Case("https://API.OpenAI.com:443", "https://api.openai.com", "", "api.openai.com"),
        Case("http://10.0.0.1:8000/a/b", "http://10.0.0.1:8000", "/a/b", "10.0.0.1"),
        Case("http://[::1]:80/", "http://[::1]", "", "::1"),
        Case("https://[fe80::1]:8443", "https://[fe80::1]:8443", "", "fe80::1"),
    ],
    ids=lambda case: case.url,
)
def test_a_base_url_names_an_origin_and_a_path(case: Case) -> None:
    """A base URL from OpenAI's documentation, or of a server of mine, is understood."""
    origin, path = Origin.parse(case.url)
    assert (str(origin), path, origin.host) == (case.text, case.path, case.host)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://x/", "https://"),
        ("api.openai.com/v1", "https://"),
        ("https:///v1", "host"),
        ("https://u:p@x/", "password"),
        ("https://u@x/", "user name"),
        ("https://x/?a=b", r"\?"),
        ("https://x/?", r"\?"),
        ("https://x/#f", "#"),
        ("https://x\\@y/", "password|#"),
        ("https://x/\r\nhost: y", "control"),
        ("https://x y/", "space"),
        ("https://x\0/", "control"),
        ("https://xé/", "ASCII"),
        ("https://x:0/", "port"),
        ("https://x:70000/", "port"),
        ("https://x:/", "port"),
        ("https://x:y/", "port"),
        ("", "space|https"),
    ],
)
def test_a_base_url_that_could_mean_two_things_is_refused(url: str, says: str) -> None:
    """A URL with credentials, a query or odd characters is refused, and I am told what to write."""
    with pytest.raises(ValueError, match=says):
        Origin.parse(url)


def test_a_request_head_is_what_was_asked_for() -> None:
    """The head of my request is plain HTTP, in the order that I gave."""
    head = request_head("POST", "/v1/x?y=1", "h:1", ((b"a", b"1"), (b"b", b"2 3")), 5)
    assert head == (
        b"POST /v1/x?y=1 HTTP/1.1\r\nhost: h:1\r\na: 1\r\nb: 2 3\r\ncontent-length: 5\r\n\r\n"
    )
    assert request_head("GET", "/", "h", (), None) == b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"


@given(
    part=st.integers(0, 4),
    before=st.text("ab", max_size=3),
    evil=st.sampled_from("\r\n\0"),
    after=st.text("ab:\r\n", max_size=3),
)
def test_no_part_of_a_request_can_end_its_line(
    part: int, before: str, evil: str, after: str
) -> None:
    """Whatever a caller puts into a header or a path, no second request leaves with it."""
    parts = ["POST", "/v1", "host", "name", "value"]
    parts[part] = before + evil + after
    method, target, host, name, value = parts
    with pytest.raises(ValueError, match=r".+"):
        request_head(method, target, host, ((name.encode(), value.encode()),), 1)


@pytest.mark.parametrize(
    "field", [b"Host", b"content-length", b"Transfer-Encoding", b"a b", b"a:b", b""]
)
def test_fields_that_frame_a_message_come_from_one_place(field: bytes) -> None:
    """A caller's own Content-Length or Transfer-Encoding never reaches the provider."""
    with pytest.raises(ValueError, match="field"):
        request_head("POST", "/", "h", ((field, b"1"),), 1)


@pytest.mark.parametrize(("method", "target"), [("GET /x", "/"), ("GET", "/ x"), ("", "/")])
def test_a_request_line_has_three_words(method: str, target: str) -> None:
    """A space in a path cannot add a word to the request line."""
    with pytest.raises(ValueError, match="space"):
        request_head(method, target, "h", (), 1)


def test_a_client_shows_no_secret() -> None:
    """A proxy's password is in no repr."""
    proxy = Proxy("p", 1, Secret("Basic c2VjcmV0"))
    client = HttpClient(Origin("http", "h", 1), proxy=proxy, limits=ClientLimits())
    assert "c2Vj" not in repr(proxy) + repr(vars(client))
