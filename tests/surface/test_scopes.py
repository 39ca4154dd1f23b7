"""A key that is bound to a model uses no other, wherever in a request it is named."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.surface.mirror import FACES, Surface, surface

pytestmark = pytest.mark.anyio

APP = {"authorization": "Bearer app"}
SECRETS = "/v1/realtime/client_secrets"


@pytest.fixture(params=FACES)
async def it(request):
    async with surface(request.param) as it:
        yield it


def form(*parts: tuple[str, str], kind: str = "multipart/form-data; boundary=x") -> dict[str, Any]:
    lines = "".join(
        f'--x\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in parts
    )
    return {"content": f"{lines}--x--\r\n".encode(), "headers": {"content-type": kind}}


def said(headers: Mapping[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    kind = {"content-type": "application/json", **(headers or {})}
    return {"content": json.dumps(fields).encode(), "headers": kind}


@dataclass(frozen=True)
class Case:
    """A request that names a model which the key may not use, beside one that it may."""

    name: str
    method: str
    path: str
    sent: dict[str, Any] = field(default_factory=dict)
    status: int = 400


CASES = (
    Case("in path and body", "DELETE", "/v1/models/ft:theirs", said(model="alias")),
    Case("in path and form", "POST", "/v1/models/theirs", form(("model", "alias"))),
    Case("in query and body", "POST", "/v1/realtime/calls?model=theirs", said(model="alias")),
    Case("in session and body", "POST", SECRETS, said(model="alias", session={"model": "theirs"})),
    Case("in session and query", "POST", f"{SECRETS}?model=alias", said(session={"model": "theirs"})),
    Case("in query and behind a file", "POST", "/v1/realtime/calls?model=alias", form(("sdp", "x" * 300_000), ("model", "theirs"))),
    Case("in the session", "POST", SECRETS, said(session={"model": "theirs"}), 403),
    Case("twice in a form", "POST", "/v1/images/edits", form(("model", "alias"), ("model", "theirs"))),
    Case("in other letters", "POST", "/v1/images/edits", form(("model", "alias"), ("Model", "theirs"))),
    Case("in a list", "POST", "/v1/images/edits", form(("model", "alias"), ("model[]", "theirs"))),
    Case("JSON that says it is a form", "POST", "/v1/images/edits", {
        "content": b'{"model":"alias"}', "headers": {"content-type": "multipart/form-data; boundary=x"},
    }),
    Case("a form that says it is JSON", "POST", "/v1/images/edits", form(("model", "alias"), kind="application/json")),
    Case("two kinds", "POST", "/v1/images/edits", {
        "content": b'{"model":"alias","x":"&model=theirs"}',
        "headers": [("content-type", "application/x-www-form-urlencoded"), ("content-type", "application/json")],
    }),
    Case("a tool's", "POST", "/v1/responses", said(model="alias", tools=[{"type": "image_generation", "model": "theirs"}]), 403),
    Case("a grader's", "POST", "/v1/fine_tuning/jobs", said(model="alias", method={"reinforcement": {"grader": {"model": "theirs"}}}), 403),
    Case("a source's", "POST", "/v1/evals/e/runs", said(model="alias", data_source={"model": "theirs"}), 403),
    Case("no name at all", "POST", "/v1/evals/e/runs", said(data_source={"model": "alias"}), 403),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_no_other_model_is_reached(it: Surface, case: Case):
    """What a provider could read as another model is refused, and none of it is sent."""
    sent = dict(case.sent)
    headers = [*dict(sent.pop("headers", {})).items()] if isinstance(sent.get("headers"), dict) else sent.pop("headers", [])  # fmt: skip
    answer = await it.client.request(case.method, case.path, headers=[*headers, *APP.items()], **sent)  # fmt: skip
    assert answer.status_code == case.status, answer.content
    assert not it.mirror.seen


@pytest.mark.parametrize(
    ("path", "fields", "arrived"),
    [
        (SECRETS, {"session": {"type": "realtime", "model": "alias"}}, {"session": {"type": "realtime", "model": "real-model"}}),
        (SECRETS, {"model": "alias", "session": {"model": "alias"}}, {"model": "real-model", "session": {"model": "real-model"}}),
        ("/v1/responses", {"model": "alias", "tools": [{"type": "x", "model": "alias"}]}, {"model": "real-model", "tools": [{"type": "x", "model": "alias"}]}),
        ("/v1/evals", {"model": "alias", "metadata": {"model": "theirs"}}, {"model": "real-model", "metadata": {"model": "theirs"}}),
    ],
    ids=str,
)  # fmt: skip
async def test_its_own_model_is_renamed_where_it_stands(it: Surface, path, fields, arrived):
    """The model of a session is an alias like any other; the rest of a body stays as it is."""
    answer = await it.client.post(path, json=fields, headers=APP)
    assert answer.status_code == 200, answer.content
    assert json.loads(it.mirror.seen[-1].body) == arrived


async def test_a_model_may_be_named_twice_alike(it: Surface):
    """A path and a body that agree are both renamed."""
    answer = await it.client.post("/v1/models/alias", json={"model": "alias"}, headers=APP)
    assert answer.status_code == 200
    seen = it.mirror.seen[-1]
    assert (seen.target, json.loads(seen.body)) == ("/v1/models/real-model", {"model": "real-model"})  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [
        "/v1/Organization/users",
        "/v1/%4frganization/users",
        "/v1/PROJECTS/p",
        "/v1/organization/",
        "/v1//organization/users",
        "/v1/organization%2fusers",
        "/v1/Chat/completions",
        "/v1/chat/Completions",
        "/v1/Realtime/client_secrets",
    ],
)
async def test_a_rule_about_a_path_has_no_other_spelling(it: Surface, path: str):
    """What some provider may take for a path that has rules is no path of ours."""
    request = it.client.build_request("GET", "http://x/")
    request.url = it.client.build_request("GET", "/").url.copy_with(raw_path=path.encode())
    answer = await it.client.send(request)
    assert answer.status_code == 404, answer.content
    assert not it.mirror.seen


async def test_a_path_of_nobody_is_spelled_as_it_likes(it: Surface):
    """Ids keep their letters, and so does what nobody knows yet."""
    for path in ("/v1/New-Thing/X", "/v1/files/file-AbC/content", "/v1/responses/RESP_1"):
        assert (await it.client.get(path)).status_code == 200
        assert it.mirror.seen[-1].target == path
