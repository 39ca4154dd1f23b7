"""What a policy saw in a JSON body is what the provider reads, however it is written."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.corpora import corpus
from tests.surface.mirror import Surface, surface

pytestmark = pytest.mark.anyio

PATHS = ("/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/new/thing")
APP = {"authorization": "Bearer app", "content-type": "application/json"}
"""A key for the model `alias` alone, which the provider knows as `real-model`."""

LETTERS = st.sampled_from(["as it is", "escaped", "escaped in capitals"])
WHITE = st.text(" \t\r\n", max_size=2)
NAMES = st.sampled_from(
    ["model", "model", "Model", "model ", "mode", "model\0", "stream", "messages", "\uff4dodel"]
)
VALUES = st.sampled_from(["alias", "alias", "alias", "gold", "ALIAS", "alias ", "", "real-model", None, 1, ["gold"], {"model": "gold"}])  # fmt: skip


@st.composite
def spelled(draw: Callable[..., Any], text: str) -> str:
    """A string of JSON, each of its letters written in one of the ways."""
    ways = draw(st.lists(LETTERS, min_size=len(text), max_size=len(text)))
    return '"' + "".join(map(_spell, text, ways)) + '"'


def _spell(letter: str, way: str) -> str:
    if way == "as it is" and letter >= " ":
        return letter
    return f"\\u{ord(letter):04x}" if way == "escaped" else f"\\u{ord(letter):04X}"


@st.composite
def bodies(draw: Callable[..., Any]) -> str:
    """An object that names a model in some way, or in several."""
    members: list[str] = []
    for _ in range(draw(st.integers(1, 4))):
        name = draw(spelled(draw(NAMES)))
        value = draw(VALUES)
        text = draw(spelled(value)) if isinstance(value, str) else json.dumps(value)
        members.append(f"{draw(WHITE)}{name}{draw(WHITE)}:{draw(WHITE)}{text}{draw(WHITE)}")
    return "{" + ",".join(members) + "}"


def pairs_of(text: str) -> list[tuple[str, Any]]:
    """Return the members of an object, in their order, doubles and all."""
    pairs: list[tuple[str, Any]] = json.loads(text, object_pairs_hook=list)
    return pairs


async def judged(it: Surface, path: str, body: str) -> None:
    """Send a body; if it goes on, no reader of it may find another model than the key's own."""
    before = len(it.mirror.seen)
    answer = await it.client.post(path, content=body.encode(), headers=APP)
    given_ = [value for name, value in pairs_of(body) if name == "model"]
    if answer.status_code != 200:
        assert answer.status_code in {400, 403, 404}, (body, answer.text)
        assert len(it.mirror.seen) == before
        assert given_ != ["alias"] or not is_plain(body), (body, answer.text)
        return
    sent = it.mirror.seen[-1].body.decode()
    found = [value for name, value in pairs_of(sent) if name == "model"]
    assert (given_, found) == (["alias"], ["real-model"]), (body, sent)
    assert it.world.journal.calls[-1].asked == "alias"
    others = [pair for pair in pairs_of(sent) if pair[0] != "model"]
    assert others == [pair for pair in pairs_of(body) if pair[0] != "model"]


def is_plain(body: str) -> bool:
    """Whether a body names nothing twice, nests nothing, and has no `stream` that is none."""
    pairs = pairs_of(body)
    return len(dict(pairs)) == len(pairs) and "{" not in body[1:] and "stream" not in dict(pairs)


@given(st.lists(st.tuples(bodies(), st.sampled_from(PATHS)), min_size=1, max_size=40))
@example([('{"\\u006dodel":"\\u0061lias"}', PATHS[0])])
@example([('{"model":"alias","\\u006dodel":"gold"}', PATHS[0])])
@example([('{"model":"gold","\\u006dodel":"alias"}', PATHS[1])])
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
async def test_no_spelling_smuggles_a_model(asked: list[tuple[str, str]]):
    """However a model's name is written, and how often, the provider reads the one that was allowed."""
    async with surface("gateway") as it:
        for body, path in asked:
            await judged(it, path, body)


async def decided(it: Surface, prefix: str) -> dict[str, int]:
    """Send each text of the suite as a value; return the statuses."""
    found: dict[str, int] = {}
    for file in sorted((corpus("JSONTestSuite") / "test_parsing").glob(f"{prefix}*.json")):
        body = b'{"model":"alias","v":' + file.read_bytes() + b"}"
        answer = await it.client.post(PATHS[0], content=body, headers=APP)
        found[file.stem.removeprefix(prefix)] = answer.status_code
        if answer.status_code == 200:
            real = body.replace(b'"alias"', b'"real-model"')
            assert json.loads(it.mirror.seen[-1].body) == json.loads(real)
        else:
            assert answer.json()["error"]["code"] == "invalid_json"
    return found


async def test_what_json_leaves_open_is_decided_once_for_all():
    """All sound texts pass but those with double keys; of the doubtful ones numbers pass, text that is no Unicode does not."""
    async with surface("gateway") as it:
        sound, doubtful = await decided(it, "y_"), await decided(it, "i_")
    refused = {name for name, status in sound.items() if status != 200}
    assert refused == {"object_duplicated_key", "object_duplicated_key_and_value"}
    passed = {name for name, status in doubtful.items() if status == 200}
    assert passed == {name for name in doubtful if name.startswith("number_")}
    assert (len(sound), len(doubtful), len(passed)) == (95, 35, 10)
    assert set(doubtful.values()) == {200, 400}


NUMBERS = (
    b"1e400",
    b"-0",
    b"-0.0",
    b"1E5",
    b"12345678901234567890123",
    b"1.000000000000000000001",
    b"0.1e-400",
)


@pytest.mark.parametrize("number", NUMBERS)
async def test_a_number_is_not_rounded_on_its_way(number: bytes):
    """A number that no computer holds exactly arrives as it was written, though its model is renamed."""
    async with surface("gateway") as it:
        await it.client.post(PATHS[0], content=b'{"model":"alias","a":%b}' % number, headers=APP)
        assert it.mirror.seen[-1].body == b'{"model":"real-model","a":%b}' % number
