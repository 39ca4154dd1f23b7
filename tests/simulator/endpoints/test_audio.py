"""Speech and transcripts."""

import base64
import io
import json
import re
import wave

import openai
import pytest
from openai.types.audio import (
    Transcription,
    TranscriptionDiarized,
    TranscriptionVerbose,
    Translation,
    TranslationVerbose,
)

from headworks.simulator import SimulatorConfig, running
from headworks.simulator.asked import Upload
from headworks.simulator.problems import Refusal
from headworks.simulator.sounds import CONTENT_TYPES, RATE, seconds_of, sound
from tests.simulator.endpoints.bureau import Bureau
from tests.simulator.endpoints.shapes import shaped

SPEECH, TRANSCRIPTIONS = "/v1/audio/speech", "/v1/audio/transcriptions"
TRANSLATIONS = "/v1/audio/translations"
TEXT = "The quiet river carried every boat to the mill."
WAV = sound("wav", 12)
MODELS = ["whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-transcribe"]


@pytest.fixture
def bureau():
    return Bureau()


@pytest.fixture(scope="module")
def server():
    with running(SimulatorConfig()) as running_simulator:
        yield running_simulator


@pytest.fixture
def client(server):
    server.reset()
    with openai.OpenAI(base_url=server.base_url, api_key="sk-simulator", max_retries=0) as client:
        yield client


def say(bureau, **fields):
    asked = {"model": "gpt-4o-mini-tts", "input": TEXT, "voice": "alloy", **fields}
    return bureau.answer("POST", SPEECH, asked)


def listen(bureau, path=TRANSCRIPTIONS, content=WAV, name="a.wav", **fields):
    files = {"file": [Upload(name, content)]} if content is not None else {}
    return bureau.answer("POST", path, {"model": "whisper-1", **fields}, uploads=files)


def heard(bureau, path=TRANSCRIPTIONS, **fields):
    return json.loads(listen(bureau, path, **fields).whole(usage=True))


@pytest.mark.parametrize("seconds", [0.25, 1.0, 12.34])
def test_a_wav_is_a_tone_of_the_right_length(seconds):
    """The standard library reads it: one channel, 16 bits, 24 kHz, and not silent."""
    content = sound("wav", seconds)
    with wave.open(io.BytesIO(content)) as read:
        shape = (read.getnchannels(), read.getsampwidth(), read.getframerate())
        samples = read.readframes(read.getnframes())

    assert shape == (1, 2, RATE)
    assert len(samples) == 2 * round(seconds * RATE)
    assert any(samples)
    assert sound("pcm", seconds) == samples
    assert seconds_of(content) == pytest.approx(seconds, abs=1e-4)


def crc(content, polynomial, width):
    """Return a cyclic check, bit by bit."""
    value = 0
    for byte in content:
        value ^= byte << (width - 8)
        for _ in range(8):
            value = (value << 1) ^ (polynomial if value >> (width - 1) else 0)
            value &= (1 << width) - 1
    return value


def test_an_mp3_is_a_row_of_silent_frames():
    """Every 96 bytes a frame of 24 ms begins."""
    content = sound("mp3", 1.0)

    assert len(content) == 96 * 42
    assert {content[n : n + 4] for n in range(0, len(content), 96)} == {b"\xff\xf3\x44\xc4"}


def test_an_aac_is_a_row_of_silent_frames():
    """Every head says the length of its frame."""
    content, lengths = sound("aac", 1.0), list[int]()
    while sum(lengths) < len(content):
        head = content[sum(lengths) :][:7]
        assert (head[0], head[1] & 0xF6) == (0xFF, 0xF0)
        lengths.append((int.from_bytes(head[3:6]) >> 5) & 0x1FFF)

    assert sum(lengths) == len(content)
    assert len(lengths) == 24


def test_a_flac_has_blocks_whose_checks_fit():
    """The head counts the samples; every block has both checks right."""
    content = sound("flac", 1.0)
    blocks = content[42:].split(b"\xff\xf8")[1:]

    assert content[:4] == b"fLaC"
    assert int.from_bytes(content[18:26]) & ((1 << 36) - 1) == len(blocks) * 4_096
    for number, block in enumerate(blocks):
        whole = b"\xff\xf8" + block
        assert whole[2:5] == bytes([0xC7, 0x08, number])
        assert whole[5] == crc(whole[:5], 0x07, 8)
        assert int.from_bytes(whole[-2:]) == crc(whole[:-2], 0x8005, 16)


def test_an_opus_has_pages_whose_checks_fit():
    """Pages are numbered, begin and end the stream, and the last one counts all samples."""
    content, pages, place = sound("opus", 10.0), list[bytes](), 0
    while place < len(content):
        sizes = content[place + 27 : place + 27 + content[place + 26]]
        end = place + 27 + len(sizes) + sum(sizes)
        pages.append(content[place:end])
        place = end

    assert [int.from_bytes(page[18:22], "little") for page in pages] == list(range(len(pages)))
    assert (pages[0][5], pages[-1][5]) == (2, 4)
    assert pages[0][28:36] == b"OpusHead"
    assert pages[1][28:36] == b"OpusTags"
    assert int.from_bytes(pages[-1][6:14], "little") == 10 * 48_000
    for page in pages:
        check = int.from_bytes(page[22:26], "little")
        assert check == crc(page[:22] + bytes(4) + page[26:], 0x04C11DB7, 32)


@pytest.mark.parametrize("form", CONTENT_TYPES)
def test_every_format_is_spoken(client, form):
    """The answer is the file, under its own content type; a longer text has a longer file."""
    create = client.audio.speech.with_raw_response.create
    fields = {"model": "tts-1", "voice": "nova", "response_format": form}
    short, long = (create(input=text, **fields) for text in (TEXT, TEXT * 10))

    assert short.http_response.headers["content-type"] == CONTENT_TYPES[form]
    assert len(long.http_response.content) > len(short.http_response.content)
    assert short.http_response.content == create(input=TEXT, **fields).http_response.content


def test_fast_speech_is_shorter(bureau):
    """Speed divides the length."""
    slow, fast = (
        say(bureau, speed=speed, response_format="pcm").whole(usage=True) for speed in (0.5, 2)
    )

    assert len(slow) == 4 * len(fast)


def test_speech_can_come_as_events(client, server):
    """Events carry the same bytes in pieces, and the usage at the end."""
    fields = {"model": "gpt-4o-mini-tts", "input": TEXT, "voice": "alloy"}
    whole = client.audio.speech.create(**fields, response_format="wav").content
    streaming = client.audio.speech.with_streaming_response.create
    with streaming(**fields, response_format="wav", stream_format="sse") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line]

    *deltas, done = events
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    assert b"".join(base64.b64decode(event["audio"]) for event in deltas) == whole
    assert len(deltas) > 1
    assert done == {
        "type": "speech.audio.done",
        "usage": {"input_tokens": 10, "output_tokens": 19, "total_tokens": 29},
    }
    usages = [attempt["usage"] for attempt in server.attempts()]
    assert usages[0] == usages[1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input": None}, "Missing required parameter: 'input'"),
        ({"input": "a" * 4_097}, "string too long"),
        ({"voice": None}, "Missing required parameter: 'voice'"),
        ({"voice": "nobody"}, "Invalid value: 'nobody'"),
        ({"voice": {}}, "Missing required parameter: 'voice.id'"),
        ({"voice": 5}, "Invalid type for 'voice'"),
        ({"speed": 5}, "above maximum value"),
        ({"speed": 0.1}, "below minimum value"),
        ({"response_format": "ogg"}, "Invalid value: 'ogg'"),
        ({"stream_format": "x"}, "Invalid value: 'x'"),
        ({"model": "tts-1", "stream_format": "sse"}, "is not supported with model 'tts-1'"),
        ({"model": "nobody"}, "The model `nobody` does not exist"),
        ({"x": 1}, "Unknown parameter: 'x'"),
    ],
    ids=str,
)
def test_wrong_speech_is_refused(bureau, fields, message):
    """What cannot be said is refused."""
    with pytest.raises(Refusal) as caught:
        say(bureau, **fields)

    assert message in str(caught.value)


@pytest.mark.parametrize("model", MODELS)
def test_a_recording_is_written_down(bureau, model):
    """The text is the same for the same recording, about as long as it takes to say."""
    first, second = (heard(bureau, model=model) for _ in range(2))
    other = heard(bureau, model=model, content=WAV[:-2])
    told = shaped(Transcription, first)

    assert first == second
    assert first["text"] != other["text"]
    assert 30 <= len(told.text.split()) <= 50
    if model == "whisper-1":
        assert first["usage"] == {"type": "duration", "seconds": 12}
    else:
        assert (told.usage.type, told.usage.input_tokens) == ("tokens", 120)
        assert told.usage.total_tokens == 120 + told.usage.output_tokens


def test_a_verbose_transcript_has_times(bureau):
    """Segments and words follow each other and fill the recording."""
    grains = ["word", "segment"]
    answer = heard(bureau, response_format="verbose_json", timestamp_granularities=grains)
    told = shaped(TranscriptionVerbose, {k: v for k, v in answer.items() if k != "task"})

    assert (answer["task"], told.language, told.duration) == ("transcribe", "english", 12.0)
    assert " ".join(segment.text.strip() for segment in told.segments) == told.text
    assert [s.start for s in told.segments[1:]] == [s.end for s in told.segments[:-1]]
    assert (told.segments[0].start, told.segments[-1].end) == (0.0, 12.0)
    assert " ".join(word.word for word in told.words) == told.text.replace(".", "")
    assert all(word.start <= word.end for word in told.words)
    plain = heard(bureau, response_format="verbose_json")
    assert ("words" in plain, "segments" in plain) == (False, True)


@pytest.mark.parametrize("form", ["srt", "vtt", "text"])
def test_subtitles_are_plain_text(client, form):
    """Each form can be read, and says what the JSON says."""
    create = client.audio.transcriptions.create
    file = ("a.wav", WAV)
    text = create(model="whisper-1", file=file).text
    told = create(model="whisper-1", file=file, response_format=form)

    lines = told.splitlines()
    times = [line for line in lines if "-->" in line]
    assert " ".join(line for line in lines if line.endswith(".")) == text
    if form == "srt":
        assert lines[0] == "1"
        assert all(re.fullmatch(r"[\d:]{8},\d{3} --> [\d:]{8},\d{3}", line) for line in times)
    elif form == "vtt":
        assert lines[:2] == ["WEBVTT", ""]
        assert all(re.fullmatch(r"[\d:]{8}\.\d{3} --> [\d:]{8}\.\d{3}", line) for line in times)
    assert bool(times) is (form != "text")


def test_a_transcript_streams_word_by_word(client, server):
    """Deltas add up to the text, and the end has the usage."""
    create = client.audio.transcriptions.create
    fields = {"model": "gpt-4o-transcribe", "file": ("a.wav", WAV)}
    whole = create(**fields)
    *deltas, done = create(**fields, stream=True)

    assert {event.type for event in deltas} == {"transcript.text.delta"}
    assert "".join(event.delta for event in deltas) == done.text == whole.text
    assert (done.type, done.usage.output_tokens) == (
        "transcript.text.done",
        whole.usage.output_tokens,
    )
    usages = [attempt["usage"] for attempt in server.attempts()]
    assert usages[0] == usages[1]
    assert server.invoice()["unpriced"] == 0
    assert server.invoice()["nano_usd"] > 0


def test_whisper_does_not_stream(client):
    """The oldest model ignores the wish and answers at once."""
    answer = client.audio.transcriptions.with_raw_response.create(
        model="whisper-1", file=("a.wav", WAV), stream=True
    )

    assert answer.http_response.headers["content-type"] == "application/json"


def test_speakers_are_told_apart(client):
    """The model for it labels segments, whole and streamed."""
    create = client.audio.transcriptions.create
    fields = {
        "model": "gpt-4o-transcribe-diarize",
        "file": ("a.wav", WAV),
        "response_format": "diarized_json",
        "chunking_strategy": "auto",
    }
    raw = client.audio.transcriptions.with_raw_response.create(**fields).http_response.json()
    told = shaped(TranscriptionDiarized, raw)
    events = list(create(**fields, stream=True))

    assert {segment.speaker for segment in told.segments} == {"A", "B"}
    streamed = [event for event in events if event.type == "transcript.text.segment"]
    assert [event.text for event in streamed] == [segment.text for segment in told.segments]


def test_probabilities_are_told_where_they_are_wanted(client):
    """With `logprobs` each token comes with its own, in both forms."""
    create = client.audio.transcriptions.create
    fields = {"model": "gpt-4o-transcribe", "file": ("a.wav", WAV), "include": ["logprobs"]}
    whole = create(**fields)
    events = list(create(**fields, stream=True))

    assert whole.logprobs
    assert all(p.logprob <= 0 and bytes(p.bytes).decode() == p.token for p in events[-1].logprobs)
    assert all(len(event.logprobs) == 1 for event in events[:-1])
    assert create(model="gpt-4o-transcribe", file=("a.wav", WAV)).logprobs is None


def test_recordings_are_translated(bureau):
    """Translations are English, plain or with times."""
    plain = shaped(Translation, heard(bureau, TRANSLATIONS))
    verbose = heard(bureau, TRANSLATIONS, response_format="verbose_json")
    told = shaped(TranslationVerbose, {k: v for k, v in verbose.items() if k != "task"})

    assert plain.text == told.text
    assert (told.language, verbose["task"]) == ("english", "translate")
    with pytest.raises(Refusal, match="does not exist"):
        heard(bureau, TRANSLATIONS, model="gpt-4o-transcribe")


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"content": None}, 400, "Missing required parameter: 'file'"),
        ({"name": "a.txt"}, 400, "Unrecognized file format. Supported formats: ['flac',"),
        ({"content": b""}, 400, "Audio file is too short"),
        ({"content": bytes((25 << 20) + 1)}, 413, "Maximum content size limit (26214400) exceeded"),
        ({"temperature": "2"}, 400, "above maximum value"),
        ({"temperature": "hot"}, 400, "Invalid type for 'temperature'"),
        ({"response_format": "xml"}, 400, "Invalid value: 'xml'"),
        ({"response_format": "diarized_json"}, 400, "Use 'json' or 'text' instead."),
        (
            {"model": "gpt-4o-transcribe", "response_format": "srt"},
            400,
            "response_format 'srt' is not compatible with model 'gpt-4o-transcribe'",
        ),
        ({"model": "gpt-4o-transcribe", "stream": "maybe"}, 400, "Invalid type for 'stream'"),
        ({"model": "nobody"}, 404, "The model `nobody` does not exist"),
        ({"model": None}, 400, "you must provide a model parameter"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_wrong_recordings_are_refused(bureau, fields, status, message):
    """What cannot be heard is refused."""
    with pytest.raises(Refusal) as caught:
        listen(bureau, **fields)

    assert (caught.value.status, message in str(caught.value)) == (status, True)


@pytest.mark.parametrize("head", [b"", b"RIFF", b"RIFF0000WAVEfmt ", b"RIFF0000WAVE" + bytes(4096)])
def test_any_recording_has_a_length(head):
    """A broken head is no crash; what says nothing counts by its size."""
    assert seconds_of(head + bytes(8_000)) >= 0
