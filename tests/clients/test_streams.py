"""Promises to an app that reads streams: a broken one says so, and none ends silently half-way."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import openai
import pytest

from tests.clients.conftest import App, each, text_of, value
from tests.clients.ground import CUT_AT, CUTS, MESSAGES, MODEL

pytestmark = pytest.mark.anyio


@dataclass
class Heard:
    """What an app heard of a stream, and the error that ended it."""

    items: list[Any]
    error: openai.APIError | None


async def listen(asking: Callable[[], Any]) -> Heard:
    """Read a stream to its end or to its error."""
    heard = Heard([], None)
    try:
        async for item in each(await value(asking())):
            heard.items.append(item)
    except openai.APIError as error:
        heard.error = error
    return heard


async def hear(app: App, model: str) -> Heard:
    """Read a chat's stream to its end or to its error."""
    return await listen(partial(app.ask, model=model, stream=True))


@pytest.mark.parametrize("ending", CUTS)
async def test_a_stream_cut_before_its_first_word_is_an_ordinary_error(app, truth, ending):
    """Before the first word a failure is repeated unseen; if that does not help, it is a status."""
    model = f"cut-{ending}-0"
    heard = await hear(app, model)

    assert isinstance(heard.error, openai.InternalServerError)
    assert (heard.error.code, heard.items) == ("upstream_stream_truncated", [])
    assert truth.attempts(model) == 3


@pytest.mark.parametrize("ending", CUTS)
async def test_a_cut_stream_raises(app, truth, ending):
    """A provider's connection that ends after any number of words is an error with its code.

    However it ends, the app has every word that came before, and no other: nothing is lost, nothing
    is made up, nothing is asked twice.
    """
    for after in CUT_AT[1:]:
        model = f"cut-{ending}-{after}"
        heard = await hear(app, model)

        said = text_of(heard.items)
        assert type(heard.error) is openai.APIError
        assert heard.error.code == "upstream_stream_truncated"
        assert truth.text(model).startswith(said)
        assert len(heard.items) == 1 + after
        assert not any(chunk.choices[0].finish_reason for chunk in heard.items)
        assert truth.attempts(model) == 1


@dataclass(frozen=True)
class Case:
    id: str
    model: str
    code: str
    says: str


BROKEN = [
    Case("a silent provider", "stalls", "upstream_idle_timeout", "0.3"),
    Case("a garbled event", "garbles", "upstream_malformed_event", "not valid JSON"),
    Case("a provider's own error", "gives-up", "server_error", "The server had an error"),
]


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.id)
async def test_a_stream_that_goes_wrong_raises(app, truth, case):
    """What came before the fault arrives, then the error with its code and its reason."""
    heard = await hear(app, case.model)

    assert type(heard.error) is openai.APIError
    assert heard.error.code == case.code
    assert case.says in heard.error.message
    assert text_of(heard.items)
    assert truth.text(case.model).startswith(text_of(heard.items))
    assert truth.attempts(case.model) == 1


@pytest.mark.parametrize("model", ["cut-fin-5", "cut-clean-5", "stalls", "garbles", "gives-up"])
async def test_a_broken_response_raises(app, model):
    """The Responses API likewise: no event of its end, an error in its place."""
    create = app.client().responses.create
    heard = await listen(partial(create, model=model, input="Hello", stream=True))

    kinds = [event.type for event in heard.items]
    assert type(heard.error) is openai.APIError
    assert heard.error.code
    assert (kinds[0], kinds[-1]) == ("response.created", "response.failed")
    assert "response.completed" not in kinds
    assert [event.sequence_number for event in heard.items] == list(range(len(kinds)))


async def test_a_stream_that_never_began_is_an_ordinary_error(app, truth):
    """Before the first event a failure is repeated; if that does not help, it is a status."""
    heard = await hear(app, "hangs-up")

    assert isinstance(heard.error, openai.InternalServerError)
    assert heard.error.status_code == 502
    assert heard.items == []
    assert truth.attempts("hangs-up") == 3


async def test_a_provider_that_does_not_stream_is_understood(app, truth):
    """A whole answer in the place of a stream says to the app what it would have said."""
    model = "never-streams"
    heard = await hear(app, model)

    assert heard.error is None
    assert text_of(heard.items) == truth.text(model)
    assert heard.items[-1].choices[0].finish_reason
    assert truth.attempts(model) == 1


async def test_a_response_that_is_not_streamed_is_understood(app):
    """The Responses API likewise, event by event."""
    create = app.client().responses.create
    heard = await listen(partial(create, model="never-streams", input="Hello", stream=True))

    kinds = [event.type for event in heard.items]
    assert (heard.error, kinds[0], kinds[-1]) == (None, "response.created", "response.completed")
    said = "".join(event.delta for event in heard.items if event.type.endswith("text.delta"))
    assert said
    assert said in heard.items[-1].response.output_text
    assert [event.sequence_number for event in heard.items] == list(range(len(kinds)))


@pytest.mark.parametrize("ending", CUTS)
async def test_half_an_answer_is_none(app, truth, ending):
    """A whole answer that breaks off in the middle is asked for again, and never shown as it is."""
    model = f"cut-{ending}-5"

    with pytest.raises(openai.InternalServerError) as raised:
        await app.ask(model=model)

    assert raised.value.status_code == 502
    assert raised.value.code in {"upstream_connection_lost", "upstream_malformed_response"}
    assert truth.attempts(model) == 3


async def test_the_stream_helper_raises_too(app):
    """The client's accumulating `stream` helper never returns half an answer as a whole one."""
    manager = app.client().chat.completions.stream(model="cut-clean-4", messages=MESSAGES)

    async def read() -> None:
        if app.name == "async":
            async with manager as stream:
                await stream.get_final_completion()
        else:
            with manager as stream:
                stream.get_final_completion()

    with pytest.raises(openai.APIError, match="before every choice had its finish_reason"):
        await read()


async def test_leaving_a_stream_frees_the_provider(app, practice):
    """An app that stops reading stops paying: the provider's work ends within a second."""
    stream = await app.ask(app.client(), model="holds", stream=True)
    await anext(aiter(each(stream)))
    await value(stream.close())

    assert practice.wait_settled(1.0)
    assert [one["outcome"] for one in practice.attempts()] == ["gone"]


async def test_a_client_outlives_its_broken_streams(app, truth):
    """After an error the same client asks on, and hears no other call's words."""
    client = app.client()
    for model in ("cut-rst-2", "garbles", "cut-clean-3"):
        with pytest.raises(openai.APIError):
            await app.stream(client, model=model)
        assert text_of(await app.stream(client, model=MODEL)) == truth.text(MODEL)
