"""Promises to apps on every official client and on frameworks: nothing changes but two variables.

Each app asks the practice OpenAI itself and the gateway in front of it; what it sees there has to be
the same, and errors have to be errors.
"""

from itertools import pairwise

import httpx
import pytest

from tests.clients.ground import EMBEDDER, MESSAGES, MODEL, OPEN_KEY
from tests.clients.matrix.clients import (
    ALSO,
    APPS,
    BATCH,
    BATCHED,
    BROKEN,
    CHAT,
    CONTENT,
    FAILING,
    FILES,
    LATE,
    LINES,
    NEVER_STREAMED,
    RECOVERS,
    RESPONSES,
    TEXTS,
    TOOL,
)
from tests.clients.matrix.conftest import DIRECT, GATEWAY, PLACES

pytestmark = pytest.mark.timeout(900)  # the first run installs

_NUMBERS = {DIRECT: "req_", GATEWAY: "call_"}
_FINISHED = {"stop", "completed", "tool_calls"}
_TRIES = 3
"""Attempts of the gateway at a call that fails for now."""


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

    assert said["text"] == "".join(visit.seen["pieces"]) != ""
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


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("app", [app for app in APPS if app.embeds], ids=lambda app: app.name)
def test_embeddings(visits, truth, app, place):
    """Vectors arrive number by number as they were made, whichever encoding a client asks for."""
    made = truth.client.embeddings.create(model=EMBEDDER, input=TEXTS)
    vectors = visits(app, CHAT, place).seen["vectors"]

    assert vectors == [pytest.approx(one.embedding) for one in made.data]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "app", [app for app in APPS if FILES in app.also], ids=lambda app: app.name
)
def test_files(visits, app, place):
    """A file is sent, found, listed, read byte for byte and deleted."""
    assert visits(app, CHAT, place).also[FILES] == {
        "name": "weir.jsonl",
        "bytes": len(CONTENT.encode()),
        "is_listed": True,
        "content": CONTENT,
        "is_deleted": True,
        "gone": 404,
    }


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "app", [app for app in APPS if FILES in app.also], ids=lambda app: app.name
)
def test_batches(visits, truth, app, place):
    """A batch is waited for, and its answers are those of its questions; another is cancelled."""
    questions = {name: [{"role": "user", "content": asked}] for name, asked in LINES.items()}

    assert visits(app, CHAT, place).also[BATCH] == {
        "statuses": ["validating", "completed"],
        "answers": {
            name: truth.text(BATCHED, messages=messages) for name, messages in questions.items()
        },
        "counts": {"total": 2, "completed": 2, "failed": 0},
        "are_listed": True,
        "cancelled": True,
    }


@pytest.mark.parametrize(("app", "name"), ALSO, ids=lambda one: getattr(one, "name", one))
def test_what_belongs_to_neither_way(visits, app, name):
    """Files, batches and connections say through the gateway what they say without."""
    there, here = (visits(app, CHAT, place).also[name] for place in PLACES)

    assert here == there
    assert "raised" not in here


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["realtime", "socket"])
@pytest.mark.parametrize(
    "app", [app for app in APPS if "socket" in app.also], ids=lambda app: app.name
)
def test_a_connection(visits, app, name, place):
    """What is said over a WebSocket in pieces is what it says in all, and has its usage."""
    said = visits(app, CHAT, place).also[name]

    assert said["text"] == said["whole"] != ""
    assert said["usage"][0] + said["usage"][1] == said["usage"][2] > 0


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
    tries = visit.app.gated_tries if visit.place == GATEWAY else visit.app.tries

    assert visit.attempts["nothing"] == 1
    assert visit.attempts["unpaid"] == tries
    assert visit.attempts["fails"] == tries * (_TRIES if visit.place == GATEWAY else 1)


def test_a_wait_is_obeyed(visit):
    """Told to come back later than it would by itself, a client does: not sooner, and not in vain.

    The model fails once. Then the gateway leaves it alone for two seconds, in which a client that
    does not read `Retry-After` would have used up its three tries.
    """
    assert visit.seen["recovered"]["text"]
    assert visit.attempts[RECOVERS[visit.way]] == 2


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


def test_words_are_whole(without, gated):
    """A stream that is to come in words is read by every client, whole word by whole word."""
    assert gated.seen["buffered"]["text"] == gated.seen["streamed"]["text"]
    assert _are_whole(gated.seen["words"])
    assert not (_are_whole(without.seen["words"]) and without.app.pieces)


def _are_whole(pieces: list[str]) -> bool:
    said = [piece for piece in pieces if piece]
    return all(one[-1].isspace() or other[0].isspace() for one, other in pairwise(said))


def test_comments_keep_a_caller(gateway):
    """While a model thinks the gateway sends comments, and no client minds."""
    body = {"model": LATE, "messages": MESSAGES, "stream": True}
    head = {"authorization": f"Bearer {OPEN_KEY}"}
    told = httpx.post(f"{gateway}/chat/completions", json=body, headers=head, timeout=20).text

    assert told.startswith(": keepalive\n\n: keepalive\n\n")


def test_the_practice_openai_breaks_as_the_real_one(without):
    """Without the gateway each client takes just those broken streams for whole that it really does."""
    silent = {case for case, heard in without.seen["broken"].items() if "class" not in heard}

    assert silent == without.app.silent[without.way]


def test_the_gateway_is_not_seen(without, gated):
    """What an app sees through the gateway is what it sees without, but for the number of the call."""
    for name in ("whole", "streamed", "buffered", "late", "recovered"):
        there, here = (visit.seen[name] | {"id": ""} for visit in (without, gated))
        assert here == there, name
        assert here["text"], name
    for name in ("shaped", "vectors"):
        assert gated.seen.get(name) == without.seen.get(name), name
    assert without.attempts[MODEL] == gated.attempts[MODEL] > 0
