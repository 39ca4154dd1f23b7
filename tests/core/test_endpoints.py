"""Which part of the API a request belongs to, and how long it may take."""

from typing import get_args

import pytest

from headworks.core.endpoints import RequestType, endpoint, is_work, waits
from headworks.types import Request, Timeouts

IMAGES = Timeouts(total=5.0)
BY_TYPE = Timeouts(by_type=(("images", IMAGES), ("responses", Timeouts(total=7.0))))


@pytest.mark.parametrize("name", get_args(RequestType))
def test_every_type_is_a_part_of_the_api(name: str):
    """What a configuration may speak of is what requests really are."""
    method = "GET" if name == "models" else "POST"
    assert endpoint(method, "/v1/" + name.replace(".", "/")).name == name


def test_a_request_has_the_waits_of_its_type():
    """All paths of a part of the API share its waits; others have the general ones."""
    found = {
        path: waits(BY_TYPE, Request("POST", path)).total
        for path in ("/v1/images/edits", "/v1/responses/resp_1/cancel", "/v1/embeddings", "/v1/x/y")
    }
    assert found == {
        "/v1/images/edits": 5.0,
        "/v1/responses/resp_1/cancel": 7.0,
        "/v1/embeddings": 600.0,
        "/v1/x/y": 600.0,
    }


def test_without_types_nothing_is_looked_up():
    """Who configured nothing pays nothing: the very same waits come back."""
    plain = Timeouts()
    assert waits(plain, Request("POST", "/v1/images/edits")) is plain
    assert plain.of("images") is plain


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v1/chat/completions", True),
        ("POST", "/v1/images/variations", True),
        ("POST", "/v1/videos/v/remix", True),
        ("POST", "/v1/audio/speech", True),
        ("POST", "/v1/containers", True),
        ("POST", "/v1/responses/compact", True),
        ("POST", "/v1/threads/runs", True),
        ("POST", "/v1/threads/t/runs/r/submit_tool_outputs", True),
        ("POST", "/v1/fine_tuning/alpha/graders/run", True),
        ("POST", "/v1/models/m:generateContent", True),
        ("POST", "/v1/x_new/things", True),
        ("GET", "/v1/x_new/things", False),
        ("PUT", "/v1/x_new/things", False),
        ("POST", "/v1/x_new/things/t/cancel", False),
        ("POST", "/v1/moderations", False),
        ("POST", "/v1/responses/input_tokens", False),
        ("POST", "/v1/responses/r/cancel", False),
        ("POST", "/v1/chat/completions/c", False),
        ("POST", "/v1/audio/voices", False),
        ("POST", "/v1/containers/c/files", False),
        ("POST", "/v1/threads/t/messages", False),
        ("POST", "/v1/threads/t/runs/r", False),
        ("POST", "/v1/fine_tuning/jobs/j/pause", False),
        ("POST", "/v1/realtime/client_secrets", False),
        ("POST", "/v1/organization/projects", False),
    ],
)
def test_what_is_charged_by_the_call(method: str, path: str, expected: bool):  # noqa: FBT001 - a case
    """A provider's work costs; what it keeps, hands out or stops does not, nor what is read."""
    assert is_work(Request(method, path)) is expected
