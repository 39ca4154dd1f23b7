"""Official clients keep files, responses and batches with several accounts, and find them again."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

import headworks
from headworks.simulator import SimulatorConfig
from headworks.simulator.config import SimulatedCredential
from headworks.testing.practice import practise

MODEL = "gpt-6-sol"
CREDENTIALS: dict[str, str | SimulatedCredential] = {
    "spent": SimulatedCredential("sk-spent", quota=0),
    "one": "sk-one",
    "two": "sk-two",
    "three": "sk-three",
}
DOCUMENT = """\
store: sqlite:{folder}/headworks.db
retry: {{first: 10ms, longest: 20ms}}
upstreams:
  here:
    base_url: {url}
    credentials:
      - {{name: {first}, api_key: sk-{first}}}
      - {{name: {second}, api_key: sk-{second}}}
  there:
    base_url: {url}
    credentials: [{{name: two, api_key: sk-two}}]
  beyond:
    base_url: {url}
    credentials: [{{name: three, api_key: sk-three}}]
models:
  assistant: {{routes: [here/{model}, there/{model}]}}
  other: {{routes: [there/{model}, here/{model}]}}
{more}
"""


@pytest.fixture(scope="module")
def url() -> Generator[str]:
    """Run a practice OpenAI with four keys, one of which has no money."""
    with practise(SimulatorConfig(credentials=CREDENTIALS)) as practice:
        yield practice.base_url


@contextmanager
def apps(
    folder: Path, url: str, first: str = "spent", second: str = "one", more: str = ""
) -> Generator[openai.OpenAI]:
    """Yield an official client over an engine of its own; what is kept stays in the folder."""
    path = folder / "headworks.yaml"
    fields = {"folder": folder, "url": url, "model": MODEL, "more": more}
    path.write_text(DOCUMENT.format(**fields, first=first, second=second))
    with headworks.open(path) as engine:
        yield engine.openai(max_retries=0)


def test_a_conversation_stays_with_the_account_that_began_it(tmp_path, url):
    """Each turn goes where the first was answered, whatever the order of the model's routes."""
    for model in ("assistant", "other", f"there/{MODEL}", f"beyond/{MODEL}"):
        with apps(tmp_path, url) as client:
            first = client.responses.create(model=model, input="Remember the number 7.")
        with apps(tmp_path, url) as client:  # as after a restart
            again = model if "/" in model else "other"
            second = client.responses.create(
                model=again, input="Which number?", previous_response_id=first.id
            )
            assert second.previous_response_id == first.id
            with client.responses.stream(
                model=again, input="And again?", previous_response_id=second.id
            ) as stream:
                third = stream.get_final_response()
            kept = [client.responses.retrieve(one.id).id for one in (first, second, third)]
            assert kept == [first.id, second.id, third.id]
            client.responses.delete(first.id)
            with pytest.raises(openai.NotFoundError):
                client.responses.retrieve(first.id)


def test_a_file_becomes_a_batch_and_its_results(tmp_path, url):
    """File, batch and results live with one account; nobody has to say which."""
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions"}
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    content = json.dumps({**line, "body": body}).encode()
    with apps(tmp_path, url) as client:
        file = client.files.create(file=("in.jsonl", content), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
    with apps(tmp_path, url) as client:
        while batch.status != "completed":
            batch = client.batches.retrieve(batch.id)
        assert batch.output_file_id
        assert b'"custom_id"' in client.files.content(batch.output_file_id).content
        client.files.delete(batch.output_file_id)


def test_things_of_two_accounts_do_not_go_together(tmp_path, url):
    """One call cannot use what two accounts have made; the answer says so, and not to try again."""
    with apps(tmp_path, url) as client:
        here = client.responses.create(model="assistant", input="Hi")
        there = client.responses.create(model=f"beyond/{MODEL}", input="Hi")
        with pytest.raises(openai.ConflictError) as refused:
            client.responses.create(model="assistant", input="Hi", previous_response_id=there.id)
    error = refused.value
    assert (error.status_code, error.code) == (409, "stateful_id_elsewhere")
    assert error.response.headers["x-should-retry"] == "false"
    assert there.id[:64] in str(error)
    assert "'beyond'" in str(error)
    assert not any(f"sk-{name}" in str(error) for name in CREDENTIALS)
    assert here.id not in str(error)


def test_what_nobody_knows_is_refused_or_looked_for_where_the_operator_says(tmp_path, url):
    """Things made before headworks: a clean refusal, unless the operator names the first account."""
    with openai.OpenAI(base_url=url, api_key="sk-one") as direct:
        file = direct.files.create(file=("a.txt", b"A"), purpose="user_data")
    with apps(tmp_path, url, "one", "spent") as client:
        with pytest.raises(openai.ConflictError) as refused:
            client.files.retrieve(file.id)
        assert refused.value.code == "stateful_id_unknown"
        assert file.id in str(refused.value)
    with apps(tmp_path, url, "one", "spent", "unknown_ids: first") as client:
        assert client.files.retrieve(file.id).id == file.id
        with pytest.raises(openai.NotFoundError):
            client.files.retrieve("file-nobody")


def test_a_list_makes_known_what_the_first_account_holds(tmp_path, url):
    """Listing files shows those of the first account, which from then on are known."""
    with openai.OpenAI(base_url=url, api_key="sk-one") as direct:
        file = direct.files.create(file=("b.txt", b"B"), purpose="user_data")
    with apps(tmp_path, url, "one", "spent") as client:
        assert file.id in {one.id for one in client.files.list()}
        assert client.files.retrieve(file.id).id == file.id
