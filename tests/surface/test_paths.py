"""Every path of the API, and those that nobody knows yet, with any method and any body."""

from hashlib import sha256
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.surface.mirror import FACES, JSON, surface

pytestmark = pytest.mark.anyio

FORM = {"content-type": "multipart/form-data; boundary=b0"}
PLAIN = {"content-type": "application/json"}

RESOURCES = (
    "assistants", "batches", "chat/completions", "containers", "conversations", "evals", "files",
    "fine_tuning/jobs", "responses", "skills", "threads", "uploads", "vector_stores", "videos",
    "agents", "vaults", "chatkit/sessions", "webhook_endpoints", "live/sessions",
)  # fmt: skip
POSTS = (
    "batches", "conversations", "containers", "evals", "fine_tuning/jobs", "vector_stores", "uploads",
    "files/f/cancel", "uploads/u/complete", "uploads/u/cancel", "batches/b/cancel", "responses/r/cancel",
    "responses/input_tokens", "responses/compact", "conversations/c/items", "vector_stores/v/files",
    "vector_stores/v/file_batches", "vector_stores/v/search", "evals/e/runs", "threads/t/runs",
    "fine_tuning/alpha/graders/run", "fine_tuning/jobs/j/pause", "realtime/client_secrets",
    "realtime/sessions", "decisions", "safety/x", "webhook_endpoints", "audio/speech",
    "images/generations", "videos", "agents/a/sessions", "moderations", "assistants", "threads",
)  # fmt: skip
FORMS = (
    "files", "uploads/u/parts", "audio/transcriptions", "audio/translations", "audio/voices",
    "audio/voice_consents", "images/edits", "images/variations", "containers/c/files", "skills",
    "skills/s/versions", "videos", "content_provenance_checks", "realtime/calls", "brand/new",
)  # fmt: skip
DOWNLOADS = (
    "files/f/content", "containers/c/files/f/content", "skills/s/content", "videos/v/content",
    "live/l/content", "agents/a/artifacts/x",
)  # fmt: skip


@pytest.mark.parametrize("face", FACES)
async def test_what_is_read_or_deleted(face: str):
    """Each resource is listed, looked at, and deleted where it lives, query and all."""
    async with surface(face) as it:
        for name in RESOURCES:
            for method, path in (("GET", name), ("GET", f"{name}/x_1"), ("DELETE", f"{name}/x_1")):
                answer = await it.client.request(method, f"/v1/{path}?a=1&b=%20x&beta=true")
                assert (answer.status_code, answer.content) == (200, JSON), path
                seen = it.mirror.seen[-1]
                assert (seen.method, seen.target) == (method, f"/v1/{path}?a=1&b=%20x&beta=true")
                assert (seen.size, seen.headers["authorization"]) == (0, "Bearer sk-ours")
        assert {row.cost for row in it.world.ledger.rows} == {0}


@pytest.mark.parametrize("face", FACES)
async def test_what_is_posted_as_json(face: str):
    """A JSON body arrives as it was written; an alias becomes its model, and nothing else."""
    body = b'{ "model":"%b","a" : 1.0, "z":[ ] }'
    async with surface(face) as it:
        for path in POSTS:
            for model in (b"alias", b"other"):
                answer = await it.client.post(f"/v1/{path}", content=body % model, headers=PLAIN)
                assert (answer.status_code, answer.content) == (200, JSON), path
                real = body.replace(b"%b", model)
                if model == b"alias":
                    real = b'{"model":"real-model","a":1.0,"z":[ ]}'
                assert it.mirror.seen[-1].body == real, path


def form(model: bytes, file: bytes, *, is_first: bool) -> bytes:
    named = b'--b0\r\ncontent-disposition: form-data; name="model"\r\n\r\n%b\r\n' % model
    sent = b'--b0\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n%b\r\n' % file
    return (named + sent if is_first else sent + named) + b"--b0--\r\n"


@pytest.mark.parametrize("size", [10, 700_000])
@pytest.mark.parametrize("face", FACES)
async def test_what_is_posted_as_a_form(face: str, size: int):
    """A form arrives byte for byte; an alias becomes its model before and behind the file."""
    file = bytes(range(256)) * (size // 256 + 1)
    async with surface(face) as it:
        for path in FORMS:
            for is_first in (True, False):
                given_ = form(b"alias", file, is_first=is_first)
                answer = await it.client.post(f"/v1/{path}", content=given_, headers=FORM)
                assert (answer.status_code, answer.content) == (200, JSON), (path, answer.text)
                is_named = path.startswith(("audio/t", "images", "videos", "realtime", "brand"))
                real = form(b"real-model" if is_named else b"alias", file, is_first=is_first)
                seen = it.mirror.seen[-1]
                assert (seen.size, seen.digest) == (len(real), sha256(real).hexdigest()), path
                assert seen.headers["content-type"] == FORM["content-type"]
        assert it.world.engine.limits.statistics().in_flight == 0  # type: ignore[attr-defined]  # the world's own
        assert all(row.closings == 1 for row in it.world.ledger.rows)


@pytest.mark.parametrize("face", FACES)
async def test_what_is_downloaded(face: str):
    """A download is the provider's bytes, with a range and a name if it has them."""
    async with surface(face) as it:
        it.mirror.status, it.mirror.kind = 206, "video/mp4"
        it.mirror.content = bytes(range(256)) * 4000
        it.mirror.fields = (
            b'content-disposition: attachment; filename="a.mp4"\r\naccept-ranges: bytes\r\n'
            b"content-range: bytes 0-1023999/9999999\r\netag: x\r\n"
        )
        for path in DOWNLOADS:
            asked = {"range": "bytes=0-1023999", "if-range": "x"}
            answer = await it.client.get(f"/v1/{path}", headers=asked)
            assert (answer.status_code, answer.content) == (206, it.mirror.content)
            assert answer.headers["content-disposition"] == 'attachment; filename="a.mp4"'
            assert answer.headers["content-range"] == "bytes 0-1023999/9999999"
            assert answer.headers["content-length"] == "1024000"
            seen = it.mirror.seen[-1].headers
            assert (seen["range"], seen["if-range"]) == ("bytes=0-1023999", "x")


@pytest.mark.parametrize("face", FACES)
async def test_head_of_a_download(face: str):
    """A download can be measured without fetching it."""
    async with surface(face) as it:
        it.mirror.kind, it.mirror.content = "audio/mpeg", b"x" * 1234
        answer = await it.client.head("/v1/files/f/content")
        assert (answer.status_code, answer.content) == (200, b"")
        assert it.mirror.seen[-1].method == "HEAD"


SEGMENT = st.text("abcXYZ09-_.:@!$'()*+,=~", min_size=1, max_size=9).filter(
    lambda text: text not in {".", ".."}
)
METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"])
KINDS = st.sampled_from(["application/octet-stream", "text/plain", "application/sdp", "x/y", ""])


@given(
    st.lists(SEGMENT, min_size=1, max_size=3),
    METHODS,
    KINDS,
    st.binary(max_size=99),
    st.sampled_from([1, 9000]),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("face", FACES)
async def test_unknown_paths_pass_byte_for_byte(
    face: str, path: list[str], method: str, kind: str, body: bytes, times: int
):
    """What nobody knows yet works: path, query, body and answer are not ours to change."""
    body = b"" if method == "GET" else body * times
    headers: dict[str, Any] = {"content-type": kind} if kind else {}
    async with surface(face) as it:
        it.mirror.content, it.mirror.kind = body[::-1] or b"x", "application/x-unknown"
        target = "/v1/new-" + "/".join(path) + "?q=%2F&&=&x"
        answer = await it.client.request(method, target, content=body, headers=headers)
        assert (answer.status_code, answer.content) == (200, it.mirror.content)
        assert answer.headers["content-type"] == "application/x-unknown"
        seen = it.mirror.seen[-1]
        assert (seen.method, seen.target) == (method, target)
        assert (seen.size, seen.digest) == (len(body), sha256(body).hexdigest())
