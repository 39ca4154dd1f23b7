"""Files in parts."""

import hashlib
from itertools import permutations

import pytest
from openai import OpenAI
from openai.types import Upload as UploadObject
from openai.types.uploads import UploadPart

from headworks.simulator import SimulatorConfig, running
from headworks.simulator.asked import Upload
from headworks.simulator.problems import Refusal
from tests.simulator.endpoints.bureau import Bureau
from tests.simulator.endpoints.shapes import shaped

ASKED = {"filename": "in.jsonl", "purpose": "batch", "bytes": 6, "mime_type": "text/jsonl"}


@pytest.fixture
def bureau():
    return Bureau(storage=10_000)


def begin(bureau, **fields):
    return bureau.post("/v1/uploads", {**ASKED, **fields})["id"]


def add(bureau, upload, content):
    files = {"data": [Upload("blob", content)]}
    return bureau.post(f"/v1/uploads/{upload}/parts", {}, uploads=files)["id"]


def complete(bureau, upload, parts, **fields):
    return bureau.post(f"/v1/uploads/{upload}/complete", {"part_ids": parts, **fields})


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_parts_are_joined_in_the_order_that_is_named(bureau, order):
    """Parts may arrive in any order; the completion says which comes first."""
    upload = begin(bureau)
    parts = [add(bureau, upload, content) for content in (b"ab", b"cd", b"ef")]
    done = shaped(UploadObject, complete(bureau, upload, [parts[n] for n in order]))

    content = bureau.answer("GET", f"/v1/files/{done.file.id}/content", {}).whole(usage=True)
    assert content == b"".join((b"ab", b"cd", b"ef")[n] for n in order)
    assert (done.status, done.file.filename, done.file.purpose) == (
        "completed",
        "in.jsonl",
        "batch",
    )
    assert done.file.expires_at - done.file.created_at == 30 * 86_400


def test_an_upload_is_described(bureau):
    """A new upload is pending for an hour, and its parts know it."""
    begun = shaped(UploadObject, bureau.post("/v1/uploads", ASKED))
    files = {"data": [Upload("blob", b"abc")]}
    part = shaped(UploadPart, bureau.post(f"/v1/uploads/{begun.id}/parts", {}, uploads=files))

    assert (begun.status, begun.bytes, begun.file) == ("pending", 6, None)
    assert begun.expires_at - begun.created_at == 3_600
    assert part.upload_id == begun.id


def test_the_official_client_sends_a_file_in_parts():
    """The client's own loop over chunks ends with the whole file."""
    content = bytes(range(256)) * 100
    with (
        running(SimulatorConfig()) as simulator,
        OpenAI(base_url=simulator.base_url, api_key="sk-simulator", max_retries=0) as client,
    ):
        done = client.uploads.upload_file_chunked(
            file=content,
            filename="a.jsonl",
            bytes=len(content),
            mime_type="text/jsonl",
            purpose="fine-tune",
            part_size=10_000,
            md5=hashlib.md5(content, usedforsecurity=False).hexdigest(),
        )
        assert done.file is not None
        assert client.files.content(done.file.id).content == content


def test_a_checksum_must_fit(bureau):
    """An md5 that is given is checked, in either case."""
    upload = begin(bureau)
    parts = [add(bureau, upload, b"abcdef")]
    with pytest.raises(Refusal, match="md5 checksum"):
        complete(bureau, upload, parts, md5="0" * 32)

    assert complete(bureau, upload, parts, md5="E80B5017098950FC58AAD83C8C14978E")["file"]


def test_the_bytes_must_be_those_that_were_announced(bureau):
    """Neither too few nor too many bytes make a file."""
    upload = begin(bureau)
    part = add(bureau, upload, b"abcd")
    with pytest.raises(Refusal, match="have 4 bytes, but the upload has 6"):
        complete(bureau, upload, [part])
    with pytest.raises(Refusal, match="7 bytes, more than the 6"):
        add(bureau, upload, b"efg")

    assert complete(bureau, upload, [part, add(bureau, upload, b"ef")])["status"] == "completed"


@pytest.mark.parametrize("parts", [None, "a", [1], ["part_x"]], ids=repr)
def test_parts_must_be_named(bureau, parts):
    """What names no parts of this upload completes nothing."""
    with pytest.raises(Refusal) as caught:
        complete(bureau, begin(bureau), parts)

    assert caught.value.error["param"] == "part_ids"


def test_a_part_counts_once(bureau):
    """The same part cannot stand in two places."""
    upload = begin(bureau)
    part = add(bureau, upload, b"abc")
    with pytest.raises(Refusal, match="named twice"):
        complete(bureau, upload, [part, part])


def test_an_end_is_an_end(bureau):
    """What is cancelled, completed or too late takes nothing more, and gives its room back."""
    cancelled, late, done = begin(bureau), begin(bureau), begin(bureau)
    told = shaped(UploadObject, bureau.post(f"/v1/uploads/{cancelled}/cancel", {}))
    file = complete(bureau, done, [add(bureau, done, b"abcdef")])["file"]["id"]
    add(bureau, late, b"abc")
    bureau.pass_by(3_600)

    assert told.status == "cancelled"
    for upload, status in ((cancelled, "cancelled"), (late, "expired"), (done, "completed")):
        with pytest.raises(Refusal, match=f"is {status}"):
            add(bureau, upload, b"a")
    bureau.delete(f"/v1/files/{file}")
    assert bureau.provider.storage._used == 0


def test_what_is_announced_is_reserved(bureau):
    """Uploads cannot promise more than there is room."""
    begin(bureau, bytes=5_000)
    with pytest.raises(Refusal, match="storage quota"):
        begin(bureau, bytes=5_000)


def test_uploads_of_others_do_not_exist(bureau):
    """Another credential can add nothing."""
    upload = begin(bureau)
    with pytest.raises(Refusal, match="not found") as caught:
        bureau.post(f"/v1/uploads/{upload}/cancel", {}, credential="other")

    assert caught.value.status == 404


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"bytes": None}, "bytes"),
        ({"bytes": 0}, "bytes"),
        ({"bytes": "6"}, "bytes"),
        ({"filename": None}, "filename"),
        ({"mime_type": None}, "mime_type"),
        ({"purpose": "x"}, "purpose"),
        ({"filename": "a.csv"}, "file"),
        ({"x": 1}, "x"),
    ],
    ids=str,
)
def test_a_wrong_beginning_is_refused(bureau, fields, param):
    """A wrong request begins nothing."""
    with pytest.raises(Refusal) as caught:
        begin(bureau, **fields)

    assert (caught.value.status, caught.value.error["param"]) == (400, param)
