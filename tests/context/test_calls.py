"""What an app gets whose conversation has grown too long, and what it cost."""

import json
from dataclasses import replace
from typing import Any

import pytest
from typing_extensions import override

from headworks.absent import NoContext
from headworks.build import Assembly
from headworks.context.fitting import Fitting
from headworks.context.windows import Windows
from headworks.core.context import Policy
from headworks.core.context_window import Window
from headworks.errors import CallError, ConfigurationError, ContextTooLong
from headworks.observe.journal import line_of
from headworks.simulator import FaultRule
from headworks.stores.ledger_schema import ledger_path
from headworks.stores.usage import Query, usage
from headworks.tokenizer import Tokenizer
from headworks.types import Call, Request
from tests.context.ground import CHAT, FAILING, NARROW, RESPONSES, Got, configured, ground, said
from tests.world import World

pytestmark = pytest.mark.anyio
LONG = said(30)
DROP = f"{{strategy: drop_oldest, window: {NARROW}, reserve_output: 20}}"
SUMMARISE = f"{{strategy: summarize, model: small, window: {NARROW}, reserve_output: 20}}"
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": LONG},
    RESPONSES: {"input": LONG[1:], "instructions": "Be brief."},
}
MOST_TURNS = 61


@pytest.fixture(params=[CHAT, RESPONSES])
def path(request):
    return request.param


def prompt_tokens(got: Got) -> int:
    used = json.loads(got.body)["usage"]
    tokens = used.get("prompt_tokens", used.get("input_tokens"))
    assert isinstance(tokens, int)
    return tokens


async def test_a_long_conversation_is_answered(tmp_path, path):
    """The oldest messages go, as few as must; the answer says how many, and so does the journal."""
    async with ground(DROP, tmp_path) as it:
        got = await it.ask(BODIES[path], path)
        assert len(it.asked()) == 1
    assert got.response.status == 200
    assert NARROW - 80 < prompt_tokens(got) <= NARROW - 20
    assert got.fitted.after == prompt_tokens(got)
    assert got.header == f"drop_oldest; dropped={got.fitted.dropped}; tokens={got.fitted.before}>{got.fitted.after}"  # fmt: skip
    assert 0 < got.fitted.dropped < MOST_TURNS
    assert got.fitted.before > NARROW


async def test_what_fits_goes_out_as_it_came(tmp_path, path):
    """A short conversation is not touched, and nothing is said about it."""
    async with ground(DROP, tmp_path) as it:
        got = await it.ask({"messages": said(1)} if path == CHAT else {"input": "Hi"}, path)
    assert (got.response.status, got.header, got.call.fitted) == (200, None, None)


async def test_without_a_strategy_nothing_changes(tmp_path, path):
    """A model without `context` gets what the app sends, and the app what the provider says."""
    async with ground(DROP, tmp_path) as it:
        with pytest.raises(CallError) as caught:
            await it.ask({**BODIES[path], "model": "plain"}, path)
        assert len(it.asked()) == 1
    assert (caught.value.code, caught.value.status) == ("context_length_exceeded", 400)
    assert not isinstance(caught.value, ContextTooLong)


async def test_error_refuses_before_anything_is_spent(tmp_path, path):
    """The default tells the counts, the limit and what is kept, without asking the provider."""
    async with ground(f"{{window: {NARROW}, reserve_output: 20}}", tmp_path) as it:
        with pytest.raises(ContextTooLong) as caught:
            await it.ask(BODIES[path], path)
        assert it.asked() == []
    name = "messages" if path == CHAT else "input"
    assert caught.value.param == name
    assert f"maximum context length is {NARROW} tokens" in str(caught.value)
    assert f"your {name} resulted in " in str(caught.value)
    assert "20 more are kept for the answer" in str(caught.value)
    assert dict(caught.value.headers)[b"x-should-retry"] == b"false"


async def test_an_answer_that_is_too_long_by_itself_is_refused(tmp_path):
    """Dropping everything would not help, so that nothing is dropped."""
    async with ground(DROP, tmp_path) as it:
        with pytest.raises(ContextTooLong):
            await it.ask({"messages": said(1), "max_completion_tokens": NARROW})
        assert it.asked() == []


async def test_tools_and_schemas_count(tmp_path):
    """A conversation that fits alone is shortened to make room for its tools."""
    tool = {"type": "function", "function": {"name": "look", "description": "word " * 200, "parameters": {"type": "object", "properties": {}}}}  # fmt: skip
    async with ground(DROP, tmp_path) as it:
        alone = await it.ask({"messages": said(6)})
        got = await it.ask({"messages": said(6), "tools": [tool]})
    assert alone.call.fitted is None
    assert got.response.status == 200
    assert got.fitted.dropped > 0


async def test_a_marked_message_and_the_first_turn_stay(tmp_path):
    """What an app marks is kept, as are the turns that the operator names."""
    marked = [dict(message) for message in LONG]
    marked[7]["headworks"] = {"keep": True}
    async with ground(DROP.replace("drop_oldest", "keep, first: 1"), tmp_path) as it:
        got = await it.ask({"messages": marked})
    sent = json.loads(got.call.request.content)["messages"]
    assert sent[:3] == LONG[:3]
    assert LONG[7] in sent
    assert got.fitted.strategy == "keep"


@pytest.mark.parametrize(
    ("context", "model"), [(DROP, "assistant"), (DROP, "small"), ("null", "assistant")]
)
async def test_a_mark_never_reaches_the_provider(tmp_path, context, model):
    """Marks, which a provider would refuse, are not sent: whatever is done with long requests."""
    marked = {"role": "user", "content": "Hi", "headworks": {"keep": True}}
    async with ground(context, tmp_path) as it:
        got = await it.ask({"model": model, "messages": [marked]})
    assert b"headworks" not in got.call.request.content
    assert got.response.status == 200


async def test_a_summary_stands_for_what_was_dropped(tmp_path, path):
    """A cheap model sums it up: a call of its own, in journal and ledger, named in the header."""
    async with ground(SUMMARISE, tmp_path) as it:
        got = await it.ask(BODIES[path], path, feature="chat")
        assert len(it.asked()) == len(it.asked("gpt-6-luna")) == 1
        billed = it.practice.invoice()["nano_usd"]
    summary, call = it.journal.calls
    assert got.fitted.strategy == "summarize"
    assert got.header is not None
    assert got.header.endswith(f"model=small; summary={summary.id}")
    assert (summary.outcome, summary.request.model, summary.caller) == ("completed", "small", call.caller)  # fmt: skip
    booked = usage(ledger_path(tmp_path / "store.db"), Query(by=("tag",)))
    assert {line.group: line.calls for line in booked.lines if line.group != ("",)} == {("context-summary",): 1}  # fmt: skip
    assert (booked.total.calls, booked.total.cost_nano) == (2, billed)
    assert summary.cost is not None
    assert call.cost is not None
    assert summary.cost + call.cost == billed
    sent = got.call.request.content.decode()
    assert len(sent.partition("is left out here:")[2].partition('"}')[0]) > len("a few words")
    assert prompt_tokens(got) <= NARROW - 20


async def test_without_a_summary_messages_are_dropped(tmp_path):
    """When the cheap model fails the call goes on, with less."""
    async with ground(SUMMARISE, tmp_path, FAILING) as it:
        got = await it.ask({"messages": LONG})
    assert got.response.status == 200
    assert got.header is not None
    assert got.header.startswith("drop_oldest; dropped=")
    assert it.journal.outcomes[1:] == ["completed"]
    assert it.journal.calls[0].status == 500


async def test_a_larger_model_is_asked_instead(tmp_path, path):
    """What is too long for one model goes whole to the one that is named for it."""
    async with ground(f"{{strategy: larger_model, model: big, window: {NARROW}}}", tmp_path) as it:
        got = await it.ask(BODIES[path], path)
        assert it.asked() == []
    assert dict(got.response.headers)[b"x-headworks-route"] == b"up/gpt-6-astra"
    assert line_of(got.call, tuple).model == "assistant"  # what the caller named
    booked = usage(ledger_path(tmp_path / "store.db"), Query(by=("asked", "model")))
    assert [line.group for line in booked.lines] == [("assistant", "gpt-6-astra")]
    assert got.header is not None
    assert got.header.startswith("larger_model; dropped=0; tokens=")
    assert got.header.endswith("; model=big")


async def test_a_larger_model_may_have_no_room_either(tmp_path):
    """Its window is known, so that nothing is sent in vain."""
    async with ground("{strategy: larger_model, model: big, window: 10}", tmp_path) as it:
        with pytest.raises(ContextTooLong, match="maximum context length is 922000"):
            await it.ask({"messages": [{"role": "user", "content": "word " * 930_000}]})
        assert it.practice.attempts() == []


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_by_the_provider_is_repaired_once(tmp_path, path, stream):
    """What lists did not know, the provider tells: one smaller request follows, and we learn."""
    async with ground("drop_oldest", tmp_path) as it:
        body = BODIES[path] if path == CHAT else {"input": said(18)}
        got = await it.ask({**body, "stream": stream, "max_completion_tokens" if path == CHAT else "max_output_tokens": 50}, path)  # fmt: skip
        first, second = it.asked()
        again = await it.ask({"messages": said(28), "max_completion_tokens": 50})
        asked = len(it.asked())
    assert got.response.status == 200
    assert (first["status"], second["status"]) == (400, 200)
    assert got.call.attempts == 2
    assert got.header is not None
    assert got.header.endswith("; again")
    if path == CHAT:
        assert (asked, again.call.attempts) == (3, 1)


async def test_a_refusal_among_others_is_repaired_as_well(tmp_path):
    """Where the route for such a case fails too, one smaller request follows, and we learn whose limit it is."""
    gone = FaultRule("status", status=404, code="model_not_found", model="gpt-6-luna")
    async with ground("drop_oldest, on: {context_length: [small]}", tmp_path, gone) as it:
        got = await it.ask({"messages": LONG, "max_completion_tokens": 50})
        asked = [one["status"] for one in it.asked()]
        again = await it.ask({"messages": said(28), "max_completion_tokens": 50})
    assert (got.response.status, asked, len(it.asked("gpt-6-luna"))) == (200, [400, 200], 1)
    assert got.header is not None
    assert got.header.endswith("; again")
    assert again.call.attempts == 1


async def test_a_refusal_teaches_even_where_nothing_may_be_dropped(tmp_path):
    """With `error` the provider's answer passes; the next one is refused here, with its limit."""
    async with ground("error", tmp_path) as it:
        errors = []
        for _ in range(2):
            with pytest.raises(CallError) as caught:
                await it.ask({"messages": LONG})
            errors.append(caught.value)
        assert len(it.asked()) == 1
    assert [error.code for error in errors] == ["context_length_exceeded"] * 2
    assert [isinstance(error, ContextTooLong) for error in errors] == [False, True]
    assert f"maximum context length is {NARROW} tokens" in str(errors[1])


async def test_a_refusal_leads_to_the_larger_model(tmp_path, path):
    """One attempt at the model that refused, one at the larger one."""
    async with ground("{strategy: larger_model, model: big}", tmp_path) as it:
        got = await it.ask(BODIES[path], path)
        assert (len(it.asked()), len(it.asked("gpt-6-astra"))) == (1, 1)
    assert got.header is not None
    assert got.header.endswith("model=big; again")


async def test_what_cannot_get_smaller_is_not_sent_again(tmp_path):
    """A single message that is too long is refused by the provider, once, in its own words."""
    async with ground("drop_oldest", tmp_path) as it:
        with pytest.raises(CallError) as caught:
            await it.ask({"messages": [{"role": "user", "content": "word " * 700}]})
        assert len(it.asked()) == 1
    assert caught.value.code == "context_length_exceeded"
    assert not isinstance(caught.value, ContextTooLong)


async def test_other_refusals_are_not_touched(tmp_path):
    """Only a request that is too long is made shorter."""
    fault = FaultRule("status", status=400, code="invalid_value", model="gpt-6-sol")
    async with ground("drop_oldest", tmp_path, fault) as it:
        with pytest.raises(CallError) as caught:
            await it.ask({"messages": LONG})
        assert len(it.asked()) == 1
    assert caught.value.code == "invalid_value"


async def test_a_retired_model_cannot_sum_up(tmp_path):
    """At the start the operator learns which model is gone, and since when."""
    config = configured("{strategy: summarize, model: up/gpt-3.5-turbo-16k}", tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        Assembly(config)
    (problem,) = caught.value.problems
    assert (
        "models.assistant.context.model: gpt-3.5-turbo-16k was shut down on 2024-09-13" in problem
    )


async def test_what_was_learnt_outlives_a_reload(tmp_path):
    """A changed configuration does not send the same request in vain again."""
    async with ground("drop_oldest", tmp_path) as it:
        await it.ask({"messages": LONG})
        await it.assembly.reload(it.assembly.config)
        got = await it.ask({"messages": LONG})
    assert got.call.attempts == 1


async def test_the_time_for_fitting_is_the_call_s():
    """What counting and summing up take is taken from the call's one deadline."""
    world, patient = World(), {"x-headworks-deadline": "50s"}

    class Slow(NoContext):
        @override
        async def fit(self, request: Request, call: Call) -> Request:
            await world.clock.sleep(20.0)
            return request

    world.engine = replace(world.engine, context=Slow())
    async with world.client("inprocess") as client:
        await client.post(CHAT, json={"model": "m", "messages": []}, headers=patient)
    assert [sent.remaining for sent in world.upstream.sent] == [30.0]


@pytest.mark.parametrize("face", ["gateway", "inprocess"])
async def test_clients_see_what_was_done(face):
    """Through either face the header tells of a shortened request, and an error of a refused one."""
    world = World()
    windows = Windows(lambda _: Window(100, 100))
    policies = {"m": Policy("drop_oldest", reserve=10), "small": Policy()}
    tokenizer = Tokenizer()
    fitting = Fitting(
        policies, {"m": "first/big", "small": "up/s"}, windows, tokenizer, NoSummary()
    )
    world.engine = replace(world.engine, context=fitting)
    async with world.client(face) as client:
        got = await client.post(CHAT, json={"model": "m", "messages": LONG[:20]})
        refused = await client.post(CHAT, json={"model": "small", "messages": LONG[:20]})
    assert got.headers["x-headworks-context"].startswith("drop_oldest; dropped=")
    assert refused.json()["error"]["code"] == "context_length_exceeded"
    assert refused.json()["error"]["param"] == "messages"
    assert refused.headers["x-headworks-attempts"] == "0"
    assert len(world.upstream.sent) == 1


class NoSummary:
    async def summarise(self, text: str, model: str, parent: Call) -> tuple[str, str]:
        raise AssertionError("nothing is to be summed up")
