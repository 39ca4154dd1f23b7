"""What an upload may ask for, what becomes of it when something fails, and what it costs us."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import pytest

from headworks.errors import PathNotAllowed
from headworks.uploads import HELD
from tests.surface.mirror import FACES, Surface, surface
from tests.surface.test_paths import FORM, form
from tests.upstream.scripted import until

pytestmark = pytest.mark.anyio

BIG = b"x" * (2 * HELD)
SPEECH = "/v1/audio/transcriptions"


@pytest.fixture(params=FACES)
async def it(request: pytest.FixtureRequest) -> AsyncGenerator[Surface]:
    """A surface through either face."""
    async with surface(request.param) as found:
        yield found


def code(answer: httpx2.Response) -> Any:
    return answer.json()["error"]["code"]


async def pieces_of(content: bytes) -> AsyncGenerator[bytes]:
    """Yield a body as a file or a network would give it."""
    for at in range(0, len(content), 100_001):
        yield content[at : at + 100_001]


async def post(it: Surface, content: bytes, path: str = SPEECH, **headers: str) -> httpx2.Response:
    """Send a form that tells its length."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    told = FORM | named | {"content-length": str(len(content))}
    return await it.client.post(path, content=pieces_of(content), headers=told)


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("file", [b"x", BIG], ids=["small", "large"])
async def test_a_key_for_some_models_may_send_forms_for_these(
    it: Surface, file: bytes, *, is_first: bool
):
    """The model of a form counts like that of JSON, wherever it stands."""
    app = {"authorization": "Bearer app"}
    allowed = await post(it, form(b"alias", file, is_first=is_first), **app)
    refused = await post(it, form(b"gold", file, is_first=is_first), **app)
    assert (allowed.status_code, allowed.headers["x-headworks-route"]) == (200, "up/real-model")
    assert (refused.status_code, code(refused)) == (403, "model_not_allowed")
    assert [call.asked for call in it.world.journal.calls] == ["alias", "gold"]
    assert len(it.mirror.seen) == 1


async def test_a_key_for_some_models_may_not_send_what_names_none(it: Surface):
    """A file belongs to no model, so that a key for some models cannot send it."""
    for content in (form(b"alias", BIG, is_first=True), form(b"alias", b"x", is_first=True)):
        refused = await post(it, content, "/v1/files", authorization="Bearer app")
        assert (refused.status_code, code(refused)) == (403, PathNotAllowed.code)
    assert not it.mirror.seen


@pytest.mark.parametrize("file", [b"x", BIG], ids=["small", "large"])
async def test_a_second_model_never_reaches_the_provider(it: Surface, file: bytes):
    """A form that names an allowed model first and another one behind its file is refused whole."""
    content = form(b"alias", file, is_first=True).removesuffix(b"--b0--\r\n")
    refused = await post(
        it, content + form(b"gold", b"x", is_first=True), authorization="Bearer app"
    )
    assert (refused.status_code, code(refused)) == (400, "invalid_request")
    assert "once" in refused.text
    assert not it.mirror.seen
    assert [row.closings for row in it.world.ledger.rows] == [1] * len(it.world.ledger.rows)
    assert {row.cost for row in it.world.ledger.rows} <= {0}


@pytest.mark.parametrize("file", [b"x", BIG], ids=["small", "large"])
@pytest.mark.parametrize("cut", [4, 20])
async def test_half_a_form_is_refused(it: Surface, file: bytes, cut: int):
    """A form without its end says what is wrong, and the provider never has all of it."""
    refused = await post(it, form(b"alias", file, is_first=True)[:-cut])
    assert (refused.status_code, code(refused)) == (400, "invalid_request")
    assert "multipart/form-data" in refused.text
    assert not it.mirror.seen
    assert {row.cost for row in it.world.ledger.rows} <= {0}


async def test_what_has_passed_is_not_sent_again(it: Surface):
    """A large upload that fails is tried once; the error says why, and the app may try again."""
    it.mirror.status, it.mirror.content = 503, b'{"error":{"message":"busy","code":null}}'
    failed = await post(it, form(b"alias", BIG, is_first=True))
    assert failed.status_code == 503
    assert len(it.mirror.seen) == 1
    assert [line.why for line in it.world.journal.calls[0].trail] == ["upload has passed"]
    assert failed.headers["x-should-retry"] == "true"


@pytest.mark.parametrize("file", [b"x", BIG], ids=["held in memory", "kept on disk"])
async def test_what_is_still_here_is_sent_again(it: Surface, file: bytes):
    """A refusal that may pass is tried again where the body is at hand."""
    it.mirror.status, it.mirror.content = 503, b'{"error":{"message":"busy","code":null}}'
    it.mirror.fields = b"x-should-retry: true\r\n"
    await post(it, form(b"alias", file, is_first=False))
    assert len(it.mirror.seen) > 1, it.world.journal.calls[0].trail
    assert len({seen.digest for seen in it.mirror.seen}) == 1


async def test_a_stream_may_be_asked_for_in_a_form(it: Surface):
    """`stream` in a form is what it is in JSON."""
    it.mirror.kind = "text/event-stream"
    it.mirror.content = b'data: {"type":"transcript.text.delta","delta":"a"}\n\n'
    content = form(b"alias", BIG, is_first=True)
    field = b'--b0\r\ncontent-disposition: form-data; name="stream"\r\n\r\ntrue\r\n'
    answer = await post(it, field + content)
    assert answer.content.startswith(it.mirror.content)
    assert it.world.journal.calls[0].request.stream


async def test_an_idempotency_key_works_on_an_upload(it: Surface):
    """A body that is to be compared is kept until it can be."""
    content = form(b"alias", BIG, is_first=True)
    answer = await post(it, content, "/v1/files", idempotency_key="k")
    assert answer.status_code == 200
    upload = it.world.journal.calls[0].request.upload
    assert upload is not None
    assert upload.is_kept
    assert len(upload.digest) == 32


async def test_a_length_that_nobody_told(it: Surface):
    """An upload that comes in chunks goes on in chunks."""
    content = form(b"alias", BIG, is_first=True)

    answer = await it.client.post(SPEECH, content=pieces_of(content), headers=FORM)
    assert answer.status_code == 200
    assert it.mirror.seen[0].headers["transfer-encoding"] == "chunked"
    assert it.mirror.seen[0].size == len(content) + len("real-model") - len("alias")


async def test_too_large_an_upload_is_refused():
    """The gateway's bound on uploads is its own, declared or not."""
    async with surface("gateway", max_body=1000, max_upload=3 * HELD) as it:

        async def pieces() -> AsyncGenerator[bytes]:
            for _ in range(8):
                yield BIG

        declared = await it.client.post("/v1/brand/new", content=BIG * 2)
        chunked = await it.client.post("/v1/brand/new", content=pieces())
        allowed = await it.client.post("/v1/brand/new", content=BIG)
        assert [code(one) for one in (declared, chunked)] == ["body_too_large"] * 2
        assert allowed.status_code == 200
        assert len(it.mirror.seen) == 1


@pytest.mark.parametrize("face", FACES)
async def test_a_caller_who_leaves_in_the_middle_pays_nothing(face: str):
    """An upload that is cut costs nothing, and leaves nothing behind."""
    async with surface(face) as it:
        begun = asyncio.Event()

        async def pieces() -> AsyncGenerator[bytes]:
            async for piece in pieces_of(form(b"alias", BIG, is_first=True)[:-100]):
                yield piece
            begun.set()
            await asyncio.get_running_loop().create_future()

        task = asyncio.ensure_future(it.client.post(SPEECH, content=pieces(), headers=FORM))
        await begun.wait()
        await until(lambda: bool(it.world.ledger.rows))
        task.cancel()
        await asyncio.wait([task])
        await until(lambda: bool(it.world.journal.calls))
        (row,) = it.world.ledger.rows
        assert (row.closings, row.cost, row.usage.input) == (1, 0, 0)
        assert it.world.limits.statistics().in_flight == 0


# Paths that administer the provider's account.

ADMIN = (
    "/v1/organization/projects",
    "/v1/organization/usage/completions?limit=1",
    "/v1/projects/p/roles",
)


async def test_admin_paths_need_the_scope(it: Surface):
    """Only a key with the scope gets through, and then with the admin credential alone."""
    for path in ADMIN:
        refused = await it.client.get(path)
        assert (refused.status_code, code(refused)) == (403, "path_not_allowed")
        answer = await it.client.get(path, headers={"authorization": "Bearer ops"})
        assert answer.status_code == 200
        assert it.mirror.seen[-1].target == path
        assert it.mirror.seen[-1].headers["authorization"] == "Bearer sk-admin"
    named = {"model": "alias", "name": "x"}
    await it.client.post(ADMIN[0], json=named, headers={"authorization": "Bearer ops"})
    assert it.mirror.seen[-1].headers["authorization"] == "Bearer sk-admin"
    await it.client.get("/v1/files", headers={"authorization": "Bearer ops"})
    assert it.mirror.seen[-1].headers["authorization"] == "Bearer sk-ours"


@pytest.mark.parametrize("face", FACES)
async def test_admin_paths_need_a_credential(face: str):
    """Without an admin credential nobody gets through, and no other credential is shown."""
    async with surface(face, admin=False) as it:
        refused = await it.client.get(ADMIN[0], headers={"authorization": "Bearer ops"})
        assert (refused.status_code, code(refused)) == (403, "path_not_allowed")
        assert not it.mirror.seen


# A model in the path.


async def test_an_alias_in_the_path(it: Surface):
    """What is done to a model is done to the one behind its name; keys hold there too."""
    answer = await it.client.delete("/v1/models/alias")
    assert answer.status_code == 200
    assert it.mirror.seen[-1].target == "/v1/models/real-model"
    await it.client.get("/v1/fine_tuning/checkpoints/alias/permissions?x=1")
    assert it.mirror.seen[-1].target == "/v1/fine_tuning/checkpoints/real-model/permissions?x=1"
    sdp = {"content-type": "application/sdp"}
    await it.client.post("/v1/realtime/calls?model=alias", content=b"v=0", headers=sdp)
    assert it.mirror.seen[-1].target == "/v1/realtime/calls?model=real-model"
    app = {"authorization": "Bearer app"}
    refused = await it.client.delete("/v1/models/gold", headers=app)
    assert (refused.status_code, code(refused)) == (403, "model_not_allowed")


# Memory.

_MEASURE = """
import asyncio, resource, sys
from tests.surface.mirror import surface
from tests.surface.test_paths import form
face, size = sys.argv[1], int(sys.argv[2])
async def main():
    whole = form(b"alias", b"?", is_first=sys.argv[3] == "first").split(b"?")
    piece = b"x" * 65536
    async def pieces():
        yield whole[0]
        for _ in range(size // len(piece)):
            yield piece
        yield whole[1]
    headers = {"content-type": "multipart/form-data; boundary=b0"}
    async with surface(face) as it:
        small = await it.client.post("/v1/audio/transcriptions", content=form(b"alias", piece * 16, is_first=True), headers=headers)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answer = await it.client.post("/v1/audio/transcriptions", content=pieces(), headers=headers)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert (small.status_code, answer.status_code) == (200, 200), answer.text
        assert it.mirror.seen[-1].size > size - len(piece)
    print(after - before)
asyncio.run(main())
"""


@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize("face", FACES)
async def test_200_megabytes_in_constant_memory(face: str, place: str):
    """An upload of 200 MB passes in a few buffers, with its model before or behind the file."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _MEASURE, face, "200000000", place),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert int(out) < 1024, f"{int(out)} KB"
