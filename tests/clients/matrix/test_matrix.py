"""Promises to apps on every official client and on frameworks: nothing changes but two variables.

Each app asks the practice OpenAI itself and the gateway in front of it; what it sees there has to be
the same, and errors have to be errors.
"""

import pytest

from tests.clients.ground import EMBEDDER, MODEL
from tests.clients.matrix.clients import (
    APPS,
    BROKEN,
    CHAT,
    FAILING,
    NEVER_STREAMED,
    RESPONSES,
    TEXTS,
    TOOL,
)
from tests.clients.matrix.conftest import DIRECT, GATEWAY

pytestmark = pytest.mark.timeout(900)  # the first run installs

_NUMBERS = {DIRECT: "req_", GATEWAY: "call_"}
_FINISHED = {"stop", "completed", "tool_calls"}
_TRIES = 3
"""Of a call that fails for now: by the gateway, or else by the client."""


def test_the_client_is_the_one_that_is_locked(visit):
    """The judge is the version that the lock names, not another one that lay about."""
    assert visit.version == visit.app.locked()


def test_a_whole_answer(visit):
    """Text, usage, finish reason and the number of the call arrive, after one attempt."""
    said = visit.seen["whole"]

    assert said["text"]
    assert said["usage"][0] > 0
    assert said["usage"][0] + said["usage"][1] == said["usage"][2]
    assert (said["finish"] in _FINISHED) is ("finish" in visit.app.tells)
    assert str(said["id"]).startswith(_NUMBERS[visit.place]) is ("id" in visit.app.tells)


def test_a_streamed_answer(visit):
    """A stream says in pieces what it says in all, and has the usage of its framework's asking."""
    said = visit.seen["streamed"]

    assert said["text"] == visit.seen["pieces"] != ""
    if visit.app.name != "instructor":  # it keeps the object alone
        assert said["usage"][0] + said["usage"][1] == said["usage"][2] > 0
        assert (said["finish"] in _FINISHED) is ("finish" in visit.app.tells)


def test_a_tool_loop(visit):
    """The model calls the tool as its schema says, takes the result, and comes to an end."""
    if not visit.app.loops:
        assert visit.seen["asked_again"] == 2  # its answer is a tool's call; refused, it asks again
        return
    used = visit.seen["tool"]

    assert used.get("name") == TOOL["name"], used
    assert used["arguments"].keys() == {"gauge", "unit"}
    assert all(isinstance(value, str) for value in used["arguments"].values())
    assert used["answer"]


def test_structured_output(visit):
    """An answer of a class or with a schema is valid."""
    shaped = visit.seen["shaped"]

    assert list(shaped) == ["place", "centimetres"]
    assert isinstance(shaped["place"], str)
    assert isinstance(shaped["centimetres"], int)


@pytest.mark.parametrize("place", [DIRECT, GATEWAY])
@pytest.mark.parametrize("app", [app for app in APPS if app.embeds], ids=lambda app: app.name)
def test_embeddings(visits, truth, app, place):
    """Vectors arrive number by number as they were made, whichever encoding a client asks for."""
    made = truth.client.embeddings.create(model=EMBEDDER, input=TEXTS)
    vectors = visits(app, CHAT, place).seen["vectors"]

    assert vectors == [pytest.approx(one.embedding) for one in made.data]


@pytest.mark.parametrize("name", FAILING)
def test_a_failure_is_the_clients_own_exception(visit, name):
    """Class, status, code and number tell what went wrong."""
    error = visit.seen["failures"][name]
    status, code = FAILING[name]
    if (name, visit.way) == ("no such model", RESPONSES):
        status = 400
    expected = dict(zip(FAILING, visit.app.raises, strict=True))[name]

    assert (error["status"], error["code"]) == (status, code)
    assert error["class"] in {expected, *_BAD_REQUESTS.get(status, ())}
    assert error["id"].startswith(_NUMBERS[visit.place])


_BAD_REQUESTS = {400: {"BadRequestError", "OpenAIInvalidRequestError"}}


def test_retries_do_not_multiply(visit):
    """What cannot succeed is asked once; the gateway's retries take the place of the client's."""
    is_gateway = visit.place == GATEWAY
    multiplied = _TRIES if visit.app.own_retries or not is_gateway else 1

    assert visit.attempts["nothing"] == 1
    assert visit.attempts["unpaid"] == multiplied
    assert visit.attempts["fails"] == _TRIES * (multiplied if is_gateway else 1)


@pytest.mark.parametrize("case", sorted(BROKEN.keys() - {NEVER_STREAMED}))
def test_the_gateway_turns_silence_into_errors(gated, case):
    """A stream that breaks off or fails raises, with the gateway's code."""
    heard = gated.seen["broken"][case]
    model, code = BROKEN[case]

    assert heard.get("class")
    assert code in f"{heard.get('code')} {heard['says']}"
    assert gated.attempts[model] == 1


def test_the_gateway_streams_for_a_provider_that_does_not(gated):
    """A whole answer in the place of a stream reaches every client as the stream it should be."""
    heard = gated.seen["broken"][NEVER_STREAMED]
    model, _ = BROKEN[NEVER_STREAMED]

    assert "class" not in heard
    assert heard["text"]
    assert gated.attempts[model] == 1


def test_the_practice_openai_breaks_as_the_real_one(without):
    """Without the gateway each client takes just those broken streams for whole that it really does."""
    silent = {case for case, heard in without.seen["broken"].items() if "class" not in heard}

    assert silent == without.app.silent[without.way]


def test_the_gateway_is_not_seen(without, gated):
    """What an app sees through the gateway is what it sees without, but for the number of the call."""
    for name in ("whole", "streamed"):
        there, here = (visit.seen[name] | {"id": ""} for visit in (without, gated))
        assert here == there, name
    for name in ("shaped", "vectors"):
        assert gated.seen.get(name) == without.seen.get(name), name
    assert without.attempts[MODEL] == gated.attempts[MODEL] > 0
