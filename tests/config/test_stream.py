"""What the configuration says of streams is what happens."""

from pathlib import Path

import msgspec
import pytest

from headworks.build import Assembly
from headworks.config import schema
from headworks.config.settings import Config, StreamConfig
from headworks.config.settling import settled
from headworks.types import AS_OTHERS_SAY, Buffering, Secret

UPSTREAMS = {
    "openai": {
        "base_url": "https://api.example.com/v1",
        "credentials": [{"name": "main", "api_key": "sk-simulator"}],
    }
}


def config(**given: object) -> Config:
    document = msgspec.convert(
        {"upstreams": UPSTREAMS, **given}, schema.Document, dec_hook=lambda kind, text: kind(text)
    )
    return settled(document, Path())


def key(**given: object) -> dict[str, object]:
    return {"name": "k", "secret": "s" * 20, **given}


def test_streams_are_as_written():
    """What is not written is the default: nothing is cut, comments come every 15 s."""
    assert config().stream == StreamConfig(Buffering("off", 0.05), 15.0, 1_000_000)
    given = {"buffer": "sentences", "max_delay": "2s", "keep_alive": "0s", "max_event": "2MB"}
    assert config(stream=given).stream == StreamConfig(Buffering("sentences", 2.0), 0.0, 2_000_000)


def test_a_model_and_a_key_have_words_of_their_own():
    """Each says what it likes, mode and delay; what it does not say is for others to say."""
    given = config(
        models={
            "a": {"routes": ["openai/m"], "stream": {"buffer": "words", "commit": "complete"}},
            "b": {"routes": ["openai/m"], "stream": {"max_delay": "1s"}},
            "c": {"routes": ["openai/m"]},
        },
        keys=[key(stream={"buffer": "off", "max_delay": "10ms"}), key(name="l")],
    )

    assert [given.models[name].buffering for name in "abc"] == [
        Buffering("words"),
        Buffering(None, 1.0),
        AS_OTHERS_SAY,
    ]
    assert [one.grant.buffering for one in given.keys] == [Buffering("off", 0.01), AS_OTHERS_SAY]


@pytest.mark.anyio
async def test_the_engine_follows(tmp_path):
    """What is configured reaches the calls: relay, bound of events, and the key's caller."""
    given = config(
        store=f"sqlite:{tmp_path / 'h.db'}",
        key_pepper="p" * 20,
        stream={"buffer": "words", "keep_alive": "5s", "max_event": "3MB"},
        models={"a": {"routes": ["openai/m"], "stream": {"buffer": "interval"}}},
        keys=[key(stream={"buffer": "sentences"})],
    )
    assembly = Assembly(given)
    try:
        engine = assembly.engine
        assert engine.relay.keep_alive == 5.0
        assert engine.relay.buffers.all == Buffering("words", 0.05)
        assert engine.relay.buffers.models == {"a": Buffering("interval")}
        assert engine.dispatcher.most_event == 3_000_000
        caller = engine.keys.authenticate(Secret("s" * 20))
        assert caller.buffering == Buffering("sentences")
    finally:
        await assembly.aclose()
