"""No fields and no files make these endpoints crash."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from headworks.simulator.asked import Upload
from headworks.simulator.pictures import picture
from headworks.simulator.problems import Refusal
from headworks.simulator.reply import Listing, Reply
from headworks.simulator.sounds import sound
from tests.simulator.endpoints.bureau import CHAT, Bureau

LOOK = ("n", "size", "quality", "response_format", "stream", "background", "output_format")
FIELDS = {
    "/v1/embeddings": ("model", "input", "dimensions", "encoding_format"),
    "/v1/moderations": ("model", "input"),
    "/v1/batches": ("input_file_id", "endpoint", "metadata", "output_expires_after"),
    "/v1/uploads": ("bytes", "filename", "mime_type", "purpose", "expires_after"),
    "/v1/files": ("purpose", "expires_after"),
    "/v1/images/generations": ("model", "prompt", "partial_images", "moderation", *LOOK),
    "/v1/images/edits": ("model", "prompt", "images", "mask", *LOOK),
    "/v1/images/variations": ("model", *LOOK[:4]),
    "/v1/audio/speech": ("model", "input", "voice", "speed", "stream_format", *LOOK[3:4]),
    "/v1/audio/transcriptions": ("model", "temperature", "include", "stream", *LOOK[3:4]),
    "/v1/audio/translations": ("model", "temperature", *LOOK[3:4]),
}
GOOD = {
    "input": "a",
    "prompt": "a",
    "voice": "alloy",
    "purpose": "batch",
    "bytes": 3,
    "endpoint": CHAT,
    "completion_window": "24h",
    "filename": "a.jsonl",
    "mime_type": "a",
}
MODELS = ("text-embedding-3-small", "gpt-image-2", "whisper-1", "tts-1", "gpt-4o-transcribe")
WORDS = ("created_at", "batch", "auto", "1024x1024", "text", "image_url", "sse", "true", "3600")
KEYS = ("type", "text", "url", "image_url", "anchor", "seconds", "id", "file_id")
leaves = (
    *(st.none(), st.booleans(), st.integers(-5, 5), st.integers(), st.floats(), st.text()),
    st.sampled_from((*WORDS, *MODELS, "srt", "verbose_json", "url", CHAT)),
)
values = st.recursive(
    st.one_of(leaves),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=6,
)
blobs = st.sampled_from([picture("a", 8, 8, "png"), sound("wav", 0.2), b"RIFF"]) | st.binary()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_every_request_is_answered_or_refused(data):
    """Whatever stands in the fields and files, the answer is one or a refusal, and both are JSON."""
    bureau = Bureau(prices=None)
    path = data.draw(st.sampled_from(sorted(FIELDS)))
    names = (*FIELDS[path], "completion_window")
    fields = {name: GOOD[name] for name in names if name in GOOD}
    fields |= {"model": data.draw(st.sampled_from(MODELS))} if "model" in names else {}
    fields |= data.draw(st.dictionaries(st.sampled_from(names), values, max_size=3))
    name = data.draw(st.sampled_from(["a.wav", "a.jsonl", ""]))
    files = {field: [Upload(name, data.draw(blobs))] for field in ("file", "image", "mask")}

    body = answered(bureau, path, fields, files)
    assert isinstance(body.whole(usage=True), bytes)
    if isinstance(body, Reply):
        assert all(step.data for step in body.steps(usage=True))


def answered(bureau, path, fields, files):
    """Return the answer to a request; a refusal is one as well."""
    try:
        return bureau.answer("POST", path, fields, uploads=files)
    except Refusal as refusal:
        return Listing(msgspec.json.decode(refusal.content)["error"]["message"])
