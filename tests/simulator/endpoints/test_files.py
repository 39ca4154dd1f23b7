"""Files, as the official client sees them and as time goes by."""

from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import FileDeleted, FileObject

from headworks.simulator import SimulatorConfig, running
from headworks.simulator.asked import Upload
from headworks.simulator.problems import Refusal
from tests.simulator.endpoints.bureau import Bureau
from tests.simulator.endpoints.shapes import shaped

PURPOSES = ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
HOUR = {"anchor": "created_at", "seconds": 3_600}


@pytest.fixture(scope="module")
def server():
    config = SimulatorConfig(credentials={"one": "sk-one", "two": "sk-two"}, storage=20_000_000)
    with running(config) as running_simulator:
        yield running_simulator


@pytest.fixture
def client(server):
    server.reset()
    with openai.OpenAI(base_url=server.base_url, api_key="sk-one", max_retries=0) as client:
        yield client


@pytest.fixture
def bureau():
    return Bureau()


@pytest.mark.parametrize("content", [b"", b'{"a": 1}\n', bytes(range(256)) * 40_000], ids=len)
def test_what_is_uploaded_can_be_read_back(client, content):
    """A file comes back byte for byte, described as it was sent."""
    made = client.files.create(file=("in.jsonl", content), purpose="batch")
    told = shaped(FileObject, client.files.with_raw_response.retrieve(made.id).http_response.json())

    assert client.files.content(made.id).content == content
    assert told == made
    assert (told.filename, told.bytes, told.purpose) == ("in.jsonl", len(content), "batch")
    assert told.expires_at - told.created_at == 30 * 86_400
    assert told.id.startswith("file-")


@given(content=st.binary(max_size=2_000))
def test_any_content_is_kept(content):
    """Nothing in a file is changed."""
    bureau = Bureau()
    name = bureau.upload(content)

    assert bureau.answer("GET", f"/v1/files/{name}/content", {}).whole(usage=True) == content


def test_a_deleted_file_is_gone(client):
    """Deleting says so, and nothing finds the file any more."""
    made = client.files.create(file=("a.txt", b"a"), purpose="user_data")
    raw = client.files.with_raw_response.delete(made.id).http_response.json()

    assert shaped(FileDeleted, raw).deleted
    for ask in (client.files.retrieve, client.files.delete, client.files.content):
        with pytest.raises(openai.NotFoundError, match=f"No such File object: {made.id}"):
            ask(made.id)
    assert list(client.files.list()) == []


def test_a_lifetime_is_kept(bureau):
    """A file expires when it was told to; one for no batch lives for ever."""
    files = {"file": [Upload("a.txt", b"a")]}
    fields = {"purpose": "user_data", "expires_after": {**HOUR, "seconds": "3600"}}
    short = bureau.post("/v1/files", fields, uploads=files)
    endless = bureau.get(f"/v1/files/{bureau.upload(b'a', 'a.txt', 'user_data')}")

    bureau.pass_by(3_599)
    assert bureau.get(f"/v1/files/{short['id']}") == short
    bureau.pass_by(1)
    with pytest.raises(Refusal, match="No such File object"):
        bureau.get(f"/v1/files/{short['id']}")
    assert [file["id"] for file in bureau.get("/v1/files")["data"]] == [endless["id"]]
    assert (short["expires_at"] - short["created_at"], endless["expires_at"]) == (3_600, None)


def test_the_client_sends_a_lifetime_in_its_form(client):
    """The nested fields of the client's form arrive."""
    made = client.files.create(file=("a.txt", b"a"), purpose="user_data", expires_after=HOUR)

    assert made.expires_at - made.created_at == 3_600


def test_each_credential_has_files_of_its_own(client, server):
    """Another key neither sees nor deletes a file."""
    made = client.files.create(file=("a.txt", b"a"), purpose="user_data")
    with openai.OpenAI(base_url=server.base_url, api_key="sk-two", max_retries=0) as other:
        assert list(other.files.list()) == []
        for ask in (other.files.retrieve, other.files.delete, other.files.content):
            with pytest.raises(openai.NotFoundError, match="No such File object"):
                ask(made.id)

    assert client.files.retrieve(made.id) == made


def test_the_list_is_paged_in_both_orders(client):
    """A page says whether there is more; the client's iteration finds every file once."""
    names = [client.files.create(file=(f"{n}", b""), purpose="vision").id for n in range(5)]
    client.files.create(file=("other", b""), purpose="user_data")

    first = client.files.list(limit=2, purpose="vision")
    every = [file.id for file in client.files.list(limit=2, purpose="vision", order="asc")]
    assert [file.id for file in first.data] == names[:2:-1]
    assert first.has_more
    assert every == names
    assert len(client.files.list().data) == 6


@pytest.mark.parametrize("purpose", PURPOSES)
def test_some_purposes_cannot_be_read_back(bureau, purpose):
    """What is for assistants, users or vision may not be downloaded; the rest may."""
    name = bureau.upload(b"a", "a.jsonl", purpose)
    path = f"/v1/files/{name}/content"

    if purpose in {"assistants", "user_data", "vision"}:
        with pytest.raises(Refusal, match=f"Not allowed to download files of purpose: {purpose}"):
            bureau.answer("GET", path, {})
    else:
        assert bureau.answer("GET", path, {}).whole(usage=True) == b"a"


@dataclass(frozen=True)
class Case:
    id: str
    message: str
    param: str | None
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    name: str | None = "a.jsonl"


CASES = [
    Case("no file", "Missing required parameter: 'file'.", "file", name=None),
    Case("no purpose", "Missing required parameter: 'purpose'.", "purpose", {"purpose": None}),
    Case("a strange purpose", "Invalid value: 'x'. Supported", "purpose", {"purpose": "x"}),
    Case("no JSON lines", "Must be .jsonl", "file", name="a.json"),
    Case(
        "no JSON lines to learn from",
        "Invalid file format for Fine-Tuning API",
        "file",
        {"purpose": "fine-tune"},
        "a.csv",
    ),
    Case("no life", "Invalid type for 'expires_after'", "expires_after", {"expires_after": "1"}),
    Case(
        "no anchor",
        "Missing required parameter",
        "expires_after.anchor",
        {"expires_after": {"seconds": "3600"}},
    ),
    Case(
        "a short life",
        "below minimum value",
        "expires_after.seconds",
        {"expires_after": {**HOUR, "seconds": "3599"}},
    ),
    Case(
        "a life in words",
        "Invalid type",
        "expires_after.seconds",
        {"expires_after": {**HOUR, "seconds": "long"}},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_cannot_be_kept_is_refused(bureau, case):
    """A wrong upload keeps nothing."""
    uploads = {"file": [Upload(case.name, b"a")]} if case.name else {}
    with pytest.raises(Refusal) as caught:
        bureau.post("/v1/files", {"purpose": "batch", **case.fields}, uploads=uploads)

    assert case.message in str(caught.value)
    assert (caught.value.status, caught.value.error["param"]) == (400, case.param)
    assert bureau.get("/v1/files")["data"] == []


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=10001", "limit=x", "limit=-1", "limit=²", "order=x", "after=file-x"]
)
def test_nonsense_in_a_query_is_refused(bureau, query):
    """A list parameter without sense is the caller's mistake."""
    with pytest.raises(Refusal) as caught:
        bureau.get(f"/v1/files?{query}")

    assert caught.value.status == 400
    assert caught.value.error["param"] == query.partition("=")[0]


def test_a_full_store_says_so():
    """Files have a bound together; what is deleted or has expired makes room."""
    bureau = Bureau(storage=10_000)
    first = bureau.upload(b"a" * 5_000)
    files = {"file": [Upload("b", b"b" * 3_000)]}
    bureau.post("/v1/files", {"purpose": "user_data", "expires_after": HOUR}, uploads=files)
    with pytest.raises(Refusal, match="exceeded your file storage quota of 10000 bytes") as caught:
        bureau.upload(b"c" * 1_000)
    assert caught.value.error["code"] == "storage_limit_exceeded"
    bureau.pass_by(3_600)
    bureau.upload(b"c" * 1_000)
    bureau.delete(f"/v1/files/{first}")
    bureau.upload(b"d" * 5_000)

    assert [file["bytes"] for file in bureau.get("/v1/files")["data"]] == [5_000, 1_000]


def test_empty_files_have_a_bound_as_well():
    """Thousands of empty files do not get through."""
    bureau = Bureau(storage=51_200)
    for _ in range(100):
        bureau.upload(b"")
    with pytest.raises(Refusal, match="storage quota"):
        bureau.upload(b"")

    assert len(bureau.get("/v1/files")["data"]) == 100


@pytest.mark.parametrize("path", ["/files", "/uploads/x/parts", "/audio/transcriptions"])
@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "text/plain"])
def test_what_is_no_form_is_refused(server, path, kind):
    """Another body than a form, or half of one, is the caller's mistake."""
    headers = {"authorization": "Bearer sk-one", "content-type": kind}
    answer = httpx.post(server.base_url + path, content=b"--b", headers=headers)

    assert answer.status_code == 400
    assert "multipart" in answer.json()["error"]["message"]


def test_a_reset_forgets_all_files(client, server):
    """After a reset nothing is kept, and there is all the room again."""
    for _ in range(3):
        client.files.create(file=("a", bytes(12_000_000)), purpose="user_data")
        server.reset()

    assert list(client.files.list()) == []
