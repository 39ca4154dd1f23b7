"""The official client through the gateway and in process, against the practice OpenAI."""

import io
from collections.abc import Generator
from pathlib import Path
from typing import Any

import openai
import pytest

import headworks
from headworks.testing.practice import Practice, practise
from headworks.uploads import HELD

LINE = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-5.4-mini","messages":[{"role":"user","content":"%d"}]}}\n'
FILE = b"".join(LINE % number for number in range(4000))


@pytest.fixture(scope="module")
def practice() -> Generator[Practice]:
    with practise() as found:
        yield found


@pytest.fixture
def client(practice: Practice, tmp_path: Path) -> Generator[openai.OpenAI]:
    """An official client of an engine in process whose upstream is the practice OpenAI."""
    config: dict[str, Any] = {
        "store": f"sqlite:{tmp_path / 'h.db'}",
        "upstreams": {
            "openai": {
                "base_url": practice.base_url,
                "credentials": [{"name": "main", "api_key": "${env:KEY}"}],
            }
        },
        "models": {"ears": {"routes": ["openai/gpt-transcribe"]}},
        "prices": {"gpt-transcribe": {"input": 1, "output": 1, "second": 0.0001}},
    }
    with headworks.open(config, environ={"KEY": practice.api_key}) as hw:
        yield hw.openai(max_retries=0)


def test_a_file_goes_there_and_back(client: openai.OpenAI):
    """What is uploaded is what is downloaded, whatever its size."""
    assert len(FILE) > 2 * HELD
    made = client.files.create(file=("a.jsonl", io.BytesIO(FILE)), purpose="batch")
    assert made.bytes == len(FILE)
    assert client.files.content(made.id).content == FILE
    assert client.files.delete(made.id).deleted


def test_an_upload_in_parts(client: openai.OpenAI):
    """A large file in parts becomes one file."""
    half = len(FILE) // 2
    upload = client.uploads.create(
        bytes=len(FILE), filename="a.jsonl", mime_type="application/jsonl", purpose="batch"
    )
    parts = [
        client.uploads.parts.create(upload.id, data=io.BytesIO(piece)).id
        for piece in (FILE[:half], FILE[half:])
    ]
    whole = client.uploads.complete(upload.id, part_ids=parts)
    assert whole.file is not None
    assert client.files.content(whole.file.id).content == FILE


def test_a_batch_from_upload_to_result(client: openai.OpenAI):
    """A batch over an uploaded file is made, ends, and its results are there."""
    file = client.files.create(file=("a.jsonl", io.BytesIO(LINE % 1)), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert client.batches.retrieve(batch.id).id == batch.id


def test_speech_is_heard_by_an_alias(client: openai.OpenAI):
    """What is spoken comes as sound; a form sends it on to the model behind a name."""
    with client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", voice="alloy", input="Hello there.", response_format="wav"
    ) as answer:
        sound = b"".join(answer.iter_bytes())
    assert sound.startswith(b"RIFF")
    heard = client.audio.transcriptions.with_raw_response.create(
        model="ears", file=("a.wav", io.BytesIO(sound))
    )
    assert heard.parse().text
    assert heard.headers["x-headworks-route"] == "openai/gpt-transcribe"
    assert float(heard.headers["x-headworks-cost"]) > 0
