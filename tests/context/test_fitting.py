"""Where counting happens, what is learnt, and how little a request that fits pays for it."""

import asyncio
import json
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest

from headworks.absent import NoContext
from headworks.context.fitting import MOST_SUMMARY, Fitting
from headworks.context.windows import Windows
from headworks.core.classify import classify
from headworks.core.context import Policy
from headworks.core.context_window import Told, Window
from headworks.errors import CallError, ContextTooLong
from headworks.ports import Context
from headworks.types import Call, Request, Route

pytestmark = pytest.mark.anyio
CHAT = "/v1/chat/completions"
PLACE = Route("up", "m", "main")
ROUTE = str(PLACE)


@dataclass
class Words:
    """Counts a token a word, and remembers on which threads it did."""

    is_there: bool = True
    threads: set[threading.Thread] = field(default_factory=set[threading.Thread])

    def count(self, text: str, encoding: Any) -> int:
        self.threads.add(threading.current_thread())
        return len(text.split())

    def truncate(self, text: str, most: int, encoding: Any) -> tuple[str, int]:
        return " ".join(text.split()[:most]), len(text.split())

    def is_loaded(self, encoding: Any) -> bool:
        return self.is_there


@dataclass
class Said:
    """Sums up by a fixed text, and remembers what it was given."""

    summary: str = "They met."
    given: list[str] = field(default_factory=list[str])

    async def summarise(self, text: str, model: str, parent: Call) -> tuple[str, str]:
        self.given.append(text)
        return self.summary, "call_summary"


def listed(model: str) -> Window:
    return {"m": Window(100, 100), "tiny": Window(5_000, 5_000)}.get(model, Window())


@dataclass
class World:
    policy: Policy
    counter: Words = field(default_factory=Words)
    said: Said = field(default_factory=Said)
    windows: Windows = field(default_factory=lambda: Windows(listed))
    place: str = ROUTE

    @property
    def fitting(self) -> Fitting:
        places = {"app": self.place, "small": "up/tiny", "big": "up/unknown"}
        return Fitting({"app": self.policy}, places, self.windows, self.counter, self.said)

    async def fit(self, request: Request) -> tuple[Request, Call]:
        call = Call("id", request, 0.0, 0.0, route=PLACE)
        call.request = await self.fitting.fit(request, call)
        return call.request, call

    async def refit(self, request: Request, error: CallError) -> tuple[Request | None, Call]:
        call = Call("id", request, 0.0, 0.0, route=PLACE)
        return await self.fitting.refit(call, error), call


def talk(turns: int, words: int = 10, path: str = CHAT, **more: Any) -> Request:
    """Return a conversation; each turn has so many words and a frame of four tokens."""
    items = [{"role": "user", "content": "word " * words} for _ in range(turns)]
    name = "messages" if path == CHAT else "input"
    fields = {"model": "app", name: items, **more}
    return Request("POST", path, content=json.dumps(fields).encode(), fields=fields)


def refusal(message: str = "") -> CallError:
    body = {"error": {"message": message, "code": "context_length_exceeded"}}
    return classify(400, (), json.dumps(body).encode(), now=0.0)


TOLD = "maximum context length is 60 tokens. However, your messages resulted in 90 tokens."
DROP = Policy("drop_oldest", reserve=10)


async def test_a_short_request_is_not_counted():
    """What cannot be too long by its bytes costs no count at all."""
    world = World(Policy("drop_oldest", window=100_000), place="up/unknown")
    request = talk(5)
    assert (await world.fit(request))[0] is request
    assert world.counter.threads == set()


async def test_an_unknown_window_lets_everything_pass():
    """Where nothing is known nothing is refused."""
    world = World(DROP, place="up/unknown")
    request = talk(500)
    assert (await world.fit(request))[0] is request


@pytest.mark.parametrize(
    "request_",
    [
        Request("POST", CHAT, fields={"model": "other"}),
        Request("POST", "/v1/embeddings", fields={"model": "app", "input": "word " * 500}),
        Request("GET", CHAT, fields={"model": "app", "messages": ["word " * 500]}),
    ],
    ids=["another model", "another part of the API", "another method"],
)
async def test_only_what_is_configured_is_looked_at(request_):
    """Other models, endpoints and methods pass untouched, before and after a refusal."""
    world = World(DROP)
    assert (await world.fit(request_))[0] is request_
    assert await world.refit(request_, refusal(TOLD)) == (None, Call("id", request_, 0.0, 0.0, route=PLACE))  # fmt: skip


async def test_big_requests_are_counted_beside_the_loop():
    """Counting half a megabyte does not keep other calls waiting; a little one is counted at once."""
    world = World(DROP)
    await world.fit(talk(10))
    assert world.counter.threads == {threading.current_thread()}
    world.counter.threads.clear()
    await world.fit(talk(9_000))
    assert threading.current_thread() not in world.counter.threads
    assert world.counter.threads


async def test_a_vocabulary_that_is_not_there_yet_is_waited_for_beside_the_loop():
    """The first count of a process stops nobody."""
    world = World(DROP, counter=Words(is_there=False))
    assert (await world.fit(talk(10)))[1].fitted is not None
    assert threading.current_thread() not in world.counter.threads


async def test_a_provider_that_counts_more_is_believed():
    """After one refusal all requests are counted as that provider counts, and fit."""
    world = World(DROP, place=ROUTE)
    smaller, call = await world.refit(talk(5), refusal(TOLD))
    assert smaller is not None
    assert world.windows.window(ROUTE) == Window(100, 60, 90 / 73)
    assert call.fitted is not None
    assert (call.fitted.again, call.fitted.after <= 50) == (True, True)
    assert (await world.fit(smaller))[0] is smaller


async def test_what_goes_again_is_always_smaller():
    """Also where our count says that the refused request fits, and the provider says nothing."""
    for message in ("", "maximum context length is 9999 tokens."):
        world = World(DROP)
        request = talk(6)
        smaller, _ = await world.refit(request, refusal(message))
        assert smaller is not None
        assert len(smaller.content) < len(request.content)


async def test_a_call_goes_again_once():
    """A second refusal is the provider's to explain."""
    world = World(DROP)
    smaller, call = await world.refit(talk(6), refusal(TOLD))
    assert smaller is not None
    call.request = smaller
    assert await world.fitting.refit(call, refusal(TOLD)) is None


async def test_what_the_provider_keeps_is_not_ours_to_drop():
    """Behind `previous_response_id` lies what we cannot count: nothing is learnt or dropped."""
    world = World(DROP)
    for name in ("previous_response_id", "conversation"):
        kept = talk(6, 10, "/v1/responses", **{name: "id_1"})
        assert (await world.refit(kept, refusal()))[0] is None
    reference = talk(6, path="/v1/responses")
    reference.fields["input"].insert(0, {"type": "item_reference", "id": "msg_1"})
    assert (await world.refit(reference, refusal()))[0] is None
    assert world.windows.window(ROUTE) == Window(100, 100)


async def test_pictures_teach_the_limit_alone():
    """What a picture costs we only guess, so that a wrong count says nothing about words."""
    picture = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a"}}]}  # fmt: skip
    request = talk(2)
    request = Request("POST", CHAT, content=b"{}", fields={**request.fields, "messages": [picture]})
    world = World(Policy("error"))
    await world.refit(request, refusal(TOLD))
    assert world.windows.window(ROUTE) == Window(100, 60)


async def test_a_refusal_changes_nothing_where_nothing_helps():
    """If no smaller request can be made, the call stays as it was."""
    world = World(DROP)
    smaller, call = await world.refit(talk(1, words=80), refusal(TOLD))
    assert (smaller, call.fitted) == (None, None)
    completion = Request("POST", "/v1/completions", content=b"{}", fields={"model": "app", "prompt": "word " * 80})  # fmt: skip
    assert (await world.refit(completion, refusal(TOLD)))[0] is None


async def test_what_is_summed_up_fits_who_sums_up():
    """A text longer than the cheap model's window is cut, its beginning kept."""
    world = World(Policy("summarize", model="small", window=3_000, reserve=10))
    world.windows = Windows(lambda name: Window(5_000, 5_000) if name == "tiny" else Window())
    request = talk(400, words=20)
    fitted, call = await world.fit(request)
    assert len(world.said.given[0].split()) <= 1_000
    assert call.fitted is not None
    assert call.fitted.summary == "call_summary"
    assert "They met." in fitted.content.decode()


async def test_a_summary_takes_its_share_and_no_more():
    """A model that talks too much is cut short: what stays of the conversation matters more."""
    policy = Policy("summarize", model="small", window=10_000, reserve=10)
    world = World(policy, said=Said("word " * 5_000), place="up/unknown")
    fitted, call = await world.fit(talk(1_000))
    assert call.fitted is not None
    assert call.fitted.strategy == "summarize"
    assert call.fitted.after <= 9_990
    (summary,) = [one for one in fitted.fields["messages"] if "Summary" in one["content"]]
    assert len(summary["content"].split()) < MOST_SUMMARY


async def test_without_room_for_a_summary_nobody_is_asked():
    """What has to stay is refused at once, not summed up first."""
    world = World(Policy("summarize", model="small", reserve=10))
    with pytest.raises(ContextTooLong):
        await world.fit(talk(1, words=200))
    assert world.said.given == []


async def test_a_window_too_small_for_a_summary_gets_none():
    """A summary of a few words would cost a call and say nothing."""
    world = World(Policy("summarize", model="small", reserve=10))
    assert str((await world.fit(talk(20)))[1].fitted).startswith("drop_oldest; ")
    assert world.said.given == []


async def test_an_unknown_larger_model_gets_the_request():
    """Nobody can tell whether it fits, so the provider does."""
    world = World(Policy("larger_model", model="big", reserve=10))
    fitted, call = await world.fit(talk(20))
    assert (fitted.model, str(call.fitted)) == ("big", "larger_model; dropped=0; tokens=283>283; model=big")  # fmt: skip


async def test_a_larger_model_may_drop_in_turn():
    """The header tells both: who is asked, and what was dropped for it."""
    world = World(Policy("larger_model", model="big", reserve=10))
    fitting = Fitting(
        {"app": world.policy, "big": Policy("drop_oldest", window=200, reserve=10)},
        world.fitting.places, world.windows, world.counter, world.said,
    )  # fmt: skip
    call = Call("id", talk(20), 0.0, 0.0)
    fitted = await fitting.fit(call.request, call)
    assert fitted.model == "big"
    assert str(call.fitted) == "drop_oldest; dropped=7; tokens=283>185; model=big"


async def test_the_null_object_keeps_the_port():
    """Switched off, nothing is looked at; both fulfil what the engine needs."""
    contexts: tuple[Context, ...] = (NoContext(), World(DROP).fitting)
    call = Call("id", talk(100), 0.0, 0.0)
    assert await contexts[0].fit(call.request, call) is call.request
    assert await contexts[0].refit(call, refusal(TOLD)) is None


async def test_calls_are_fitted_side_by_side():
    """Many long requests at once do not disturb each other."""
    world = World(DROP)
    found = await asyncio.gather(*(world.fit(talk(20 + one)) for one in range(20)))
    assert all(call.fitted is not None and call.fitted.after <= 90 for _, call in found)


def test_windows_are_known_by_place():
    """The same name at another upstream is another model."""
    windows = Windows(listed)
    windows.learn("a/m", Told(total=50), 10, is_plain=True)
    assert (windows.window("a/m").total, windows.window("b/m").total) == (50, 100)
