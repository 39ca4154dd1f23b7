"""Against the official client: what it makes of the same bytes, and what it hands to its users."""

import re
from typing import Any

import pytest

import headworks
from tests.aggregation.asking import streamed, whole
from tests.aggregation.cases import CHATS, COMPLETED, MEDIA, RESPONDED
from tests.aggregation.clients import async_client, client

pytestmark = pytest.mark.anyio

each_chat = pytest.mark.parametrize("case", CHATS, ids=lambda case: case.name)
each_response = pytest.mark.parametrize("case", RESPONDED, ids=lambda case: case.name)
_RAISED = re.compile(r"custom|bound|filter|but thoughts")
"""Cases that the chat helper does not take: it raises at a bound, a filter and a custom tool."""
_TAKEN = [case for case in CHATS if not _RAISED.search(case.name)]

_COMPLETED = [case for case in RESPONDED if whole(case)["status"] == "completed"]
"""The others are an error to the helper."""

each_taken = pytest.mark.parametrize("case", _TAKEN, ids=lambda case: case.name)
_ASKED: Any = {"model": "m", "messages": []}
_OWN = {"parsed", "parsed_arguments"}
"""What the client's helpers add to an answer."""


def plain(value: Any) -> Any:
    """Return what an answer says, without what the client adds, nulls, and the places of calls."""
    if isinstance(value, dict):
        return {
            name: plain(held)
            for name, held in value.items()
            if name not in _OWN and held is not None and not (name == "annotations" and not held)
        }
    return [plain(one) for one in value] if isinstance(value, list) else value


@each_taken
def test_the_client_puts_a_chat_together_alike(case):
    """`get_final_completion()` says of the same bytes what we say."""
    with client(streamed(case)).chat.completions.stream(**_ASKED) as stream:
        for event in stream:
            assert event.type
        theirs: Any = stream.get_final_completion().to_dict(warnings=False)

    for choice in theirs["choices"]:
        for call in choice["message"].get("tool_calls") or ():
            del call["index"]
    ours: Any = headworks.aggregate(streamed(case))
    for choice in ours["choices"]:  # theirs begins with no list of them where there is none
        choice["logprobs"] = choice.get("logprobs") or None
    theirs.pop("obfuscation", None)
    assert plain(ours) == plain(theirs)


@pytest.mark.parametrize("case", _COMPLETED, ids=lambda case: case.name)
def test_the_client_takes_a_response_alike(case):
    """`get_final_response()` says of the same bytes what we say."""
    with client(streamed(case)).responses.stream(model="m", input="Hi") as stream:
        theirs = stream.get_final_response().to_dict(warnings=False)

    assert plain(headworks.aggregate(streamed(case))) == plain(theirs)


@each_chat
async def test_chunks_of_the_official_clients_add_up(case):
    """Objects in the place of bytes make no difference, synchronous or not."""
    body = streamed(case)
    sync: Any = client(body).chat.completions.create(**_ASKED, stream=True)
    both: Any = await async_client(body).chat.completions.create(**_ASKED, stream=True)

    assert headworks.aggregate(sync) == whole(case)
    assert await headworks.aggregate(both) == whole(case)


@each_taken
def test_so_do_the_events_of_their_chat_helper(case):
    """`client.chat.completions.stream()` wraps chunks into events of its own."""
    with client(streamed(case)).chat.completions.stream(**_ASKED) as stream:
        assert headworks.aggregate(stream) == whole(case)


@pytest.mark.parametrize("case", COMPLETED, ids=lambda case: case.name)
def test_so_do_those_of_legacy_completions(case):
    """Texts, their probabilities, several choices."""
    stream: Any = client(streamed(case)).completions.create(model="m", prompt="", stream=True)

    assert headworks.aggregate(stream) == whole(case)


@each_response
async def test_so_do_those_of_responses(case):
    """By `create(stream=True)`, and by the helper, which repeats all that was said in each event."""
    body = streamed(case)
    asked: Any = {"model": "m", "input": "Hi"}
    sync: Any = client(body).responses.create(**asked, stream=True)
    both: Any = await async_client(body).responses.create(**asked, stream=True)

    full = case.compared(whole(case))
    assert headworks.aggregate(sync) == full
    assert await headworks.aggregate(both) == full
    with client(body).responses.stream(**asked) as stream:
        assert headworks.aggregate(stream) == full


def test_so_do_those_of_images():
    """Partial images are left out."""
    case = MEDIA[0]
    stream: Any = client(streamed(case)).images.generate(model="m", prompt="", stream=True)
    result: Any = headworks.aggregate(stream)

    assert case.compared(result) == case.compared(whole(case))
