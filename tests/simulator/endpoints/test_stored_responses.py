"""What is kept of responses: told again, gone on from, cancelled and deleted."""

import pytest
from openai.types.responses import ResponseItemList
from pydantic import TypeAdapter

from headworks.simulator import Latency, SimulatorConfig
from headworks.simulator.endpoints import stored
from headworks.simulator.problems import Refusal
from tests.simulator.endpoints.practice import Practice, told

SLOW = SimulatorConfig(latency=Latency(first_token=2.0, tokens_per_second=10.0))
OTHER = {"credential": "other"}
TOOL = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture
def slow():
    """A simulator that waits two seconds and then says ten tokens a second."""
    return Practice(SLOW)


def refused(ask, *args, **more):
    with pytest.raises(Refusal) as caught:
        ask(*args, **more)
    return caught.value


def path(response, rest=""):
    return f"/v1/responses/{response['id']}{rest}"


def test_a_response_is_kept(practice):
    """A response can be read again as it was."""
    answer = practice.ask()

    assert practice.get(path(answer)) == answer


def test_a_response_may_be_forgotten(practice):
    """What is not to be stored, or is deleted, is not there."""
    unstored, answer = practice.ask(store=False), practice.ask()
    deleted = practice.delete(path(answer))

    assert deleted == {"id": answer["id"], "object": "response", "deleted": True}
    for gone in (unstored, answer):
        refusal = refused(practice.get, path(gone))
        assert (refusal.status, refusal.error["message"], refusal.error["code"]) == (
            404,
            f"Response with id '{gone['id']}' not found.",
            None,
        )


@pytest.mark.parametrize("rest", ["", "/input_items", "?stream=true"])
def test_a_response_belongs_to_who_asked_for_it(practice, rest):
    """Another key does not see it, whatever it wants of it."""
    answer = practice.ask()

    assert refused(practice.get, path(answer, rest), **OTHER).status == 404
    assert refused(practice.delete, path(answer), **OTHER).status == 404
    assert refused(practice.post, path(answer, "/cancel"), {}, **OTHER).status == 404
    refusal = refused(practice.ask, OTHER, previous_response_id=answer["id"])
    assert refusal.error["code"] == "previous_response_not_found"


def test_the_oldest_responses_are_forgotten(practice, monkeypatch):
    """Memory is bounded: of many responses the ones that were used last are there."""
    monkeypatch.setattr(stored, "_MOST_RESPONSES", 2)
    first, second = practice.ask(), practice.ask()
    practice.get(path(first))
    third = practice.ask()

    assert refused(practice.get, path(second)).status == 404
    assert practice.get(path(first)) == first
    assert practice.get(path(third)) == third


def test_a_response_goes_on_from_another(practice):
    """What was said before is read again and paid for; earlier instructions are not."""
    first = practice.ask(instructions="Be kind.")
    second = practice.ask(input="Goodbye", previous_response_id=first["id"])

    said = first["usage"]["output_tokens"]
    assert second["previous_response_id"] == first["id"]
    assert second["instructions"] is None
    assert second["usage"]["input_tokens"] == 3 + (3 + 1 + 1) + (3 + 1 + said) + (3 + 1 + 2)


def test_a_conversation_that_is_sent_or_stored_costs_the_same(practice):
    """Going on from a response, and sending all that was said, are the same prompt."""
    first = practice.ask()
    text = first["output"][0]["content"][0]["text"]
    items = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": text},
        {"role": "user", "content": "Goodbye"},
    ]

    stored_answer = practice.ask(input="Goodbye", previous_response_id=first["id"])
    sent_answer = practice.ask(input=items)

    assert stored_answer["usage"] == sent_answer["usage"]
    assert stored_answer["output"][0]["content"] == sent_answer["output"][0]["content"]


def test_what_was_said_before_is_cached(practice):
    """The prompt of a longer conversation begins with the shorter one's, which is in the cache."""
    first = practice.ask(input="river " * 2_000)
    second = practice.ask(input="And?", previous_response_id=first["id"])

    assert first["usage"]["input_tokens_details"]["cached_tokens"] == 0
    assert second["usage"]["input_tokens_details"]["cached_tokens"] >= 1_792


def test_what_was_compacted_is_not_read_again(practice):
    """Once a long past is compacted, what follows costs as little as if it began there."""
    above = [{"type": "compaction", "compact_threshold": 1_000}]
    first = practice.ask(input="river " * 1_200, context_management=above)
    second = practice.ask(previous_response_id=first["id"], context_management=above)

    said = first["output"][1]["content"][0]["text"].count(" ") + 8
    assert [item["type"] for item in first["output"]] == ["compaction", "message"]
    assert [item["type"] for item in second["output"]] == ["message"]
    assert second["usage"]["input_tokens"] < 3 + (3 + 1 + said) + (3 + 1 + 1)


def test_a_call_must_be_answered_first(practice):
    """Going on from a response with a call needs the call's output."""
    first = practice.ask(tools=[TOOL])
    call = first["output"][0]["call_id"]
    output = {"type": "function_call_output", "call_id": call, "output": "3"}
    past = {"previous_response_id": first["id"]}

    refusal = refused(practice.ask, input="Go on.", **past)
    answer = practice.ask(input=[output], tools=[TOOL], **past)

    assert refusal.error["message"] == f"No tool output found for function call {call}."
    assert [item["type"] for item in answer["output"]] == ["message"]


def test_an_item_is_referred_to(practice):
    """The id of a stored item stands for the item."""
    first = practice.ask()
    said = first["output"][0]
    question = {"role": "user", "content": "Goodbye"}

    by_name = practice.ask(input=[{"type": "item_reference", "id": said["id"]}, question])
    by_words = practice.ask(input=[said, question])

    assert by_name["usage"] == by_words["usage"]
    listed = practice.get(path(by_name, "/input_items?order=asc"))
    assert listed["data"][0] == said


def test_input_items_are_listed(practice):
    """What a response answers is listed by the page, newest first, in the client's types."""
    parts = [
        {"type": "input_text", "text": "Look"},
        {"type": "input_image", "image_url": "https://example.com/a.png"},
    ]
    call = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "call_1", "output": "1"}
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": "Well"}]
    answer = practice.ask(input=[*messages, call, output])

    newest = practice.get(path(answer, "/input_items?limit=3"))
    oldest = practice.get(path(answer, f"/input_items?after={newest['last_id']}"))

    TypeAdapter(ResponseItemList).validate_python(newest, strict=True)
    TypeAdapter(ResponseItemList).validate_python(oldest, strict=True)
    listed = [*newest["data"], *oldest["data"]]
    assert [item["type"] for item in listed] == [
        *("function_call_output", "function_call", "message", "message")
    ]
    assert (newest["has_more"], oldest["has_more"]) == (True, False)
    assert len({item["id"] for item in listed}) == 4
    assert listed[3]["content"][0] == parts[0]


def test_a_background_response_takes_its_time(slow):
    """It waits in the queue, is made, and is complete after as long as its tokens take."""
    answer = slow.ask(background=True)
    seen = []
    for _ in range(12):
        seen.append(slow.get(path(answer)))
        slow.clock.advance(1.0)

    states = [response["status"] for response in seen]
    assert answer["status"] == "queued"
    assert states[:4] == ["queued", "queued", "in_progress", "in_progress"]
    assert states[-1] == "completed"
    seconds = 2 + seen[-1]["usage"]["output_tokens"] / 10
    assert states.index("completed") == -(-seconds // 1)
    assert seen[-1]["completed_at"] == answer["created_at"] + int(seconds)
    assert {(r["usage"] is None, not r["output"]) for r in seen if r["status"] != "completed"} == {
        (True, True)
    }


def test_a_background_response_is_kept_in_any_case(slow):
    """What is made in the background can be read even if it is not to be stored."""
    answer = slow.ask(background=True, store=False)

    assert slow.get(path(answer))["status"] == "queued"


def test_a_background_response_is_cancelled(slow):
    """A response that is not complete stops, once and for ever; another one stays as it is."""
    answer, complete = slow.ask(background=True), slow.ask(background=True)
    slow.clock.advance(3.0)
    cancelled = slow.post(path(answer, "/cancel"), {})
    slow.clock.advance(100.0)

    assert (cancelled["status"], cancelled["output"], cancelled["usage"]) == ("cancelled", [], None)
    assert slow.post(path(answer, "/cancel"), {}) == cancelled == slow.get(path(answer))
    assert slow.post(path(complete, "/cancel"), {})["status"] == "completed"
    assert [event.name for event in told(slow.answer("GET", path(answer, "?stream=true"), {}))] == [
        *("response.created", "response.queued", "response.in_progress")
    ]


def test_only_a_background_response_is_cancelled(practice):
    """A response that somebody waited for cannot be cancelled."""
    refusal = refused(practice.post, path(practice.ask(), "/cancel"), {})

    assert (refusal.status, refusal.error["message"]) == (
        400,
        "Cannot cancel a synchronous response.",
    )


def test_what_is_not_made_yet_takes_time_in_a_stream(slow):
    """Taken up in the middle, the tokens of the past come at once, the others at their pace."""
    answer = slow.ask(background=True)
    slow.clock.advance(2.95)
    events = told(slow.answer("GET", path(answer, "?stream=true&starting_after=8"), {}))

    texts = [event for event in events if event.name == "response.output_text.delta"]
    assert events[0].content["sequence_number"] == 9
    assert [event.tokens for event in texts] == [0] * 5 + [1] * (len(texts) - 5)
    assert events[-1].name == "response.completed"


def test_old_events_are_not_told_again(practice):
    """After five minutes a response can be read, but no longer streamed."""
    answer = practice.ask()
    practice.clock.advance(301.0)

    refusal = refused(practice.get, path(answer, "?stream=true"))

    assert refusal.error["message"] == (
        "This response can no longer be streamed because it is more than 5 minutes old."
    )
    assert practice.get(path(answer)) == answer


def test_a_wrong_place_to_start_after_is_refused(practice):
    """`starting_after` is a number."""
    refusal = refused(practice.get, path(practice.ask(), "?stream=true&starting_after=x"))

    assert (refusal.error["code"], refusal.error["param"]) == ("invalid_type", "starting_after")


@pytest.mark.parametrize("ordered", ["failed", "content_filter", "refusal"])
def test_what_went_wrong_is_kept_too(practice, ordered):
    """A response that failed, was filtered or refused is read again as it was told."""
    answer = practice.ask({"ordered": ordered})

    assert practice.get(path(answer)) == answer


def test_tokens_are_counted_beforehand(practice):
    """`input_tokens` says exactly what the request will be billed, and leaves no trace in the cache."""
    fields = {
        "model": "gpt-4o",
        "input": "river " * 2_000,
        "instructions": "Be kind.",
        "tools": [TOOL],
    }

    counted = practice.post("/v1/responses/input_tokens", fields)
    usage = practice.ask(**fields)["usage"]

    assert counted == {"object": "response.input_tokens", "input_tokens": usage["input_tokens"]}
    assert usage["input_tokens_details"]["cached_tokens"] == 0
    refusal = refused(practice.post, "/v1/responses/input_tokens", {**fields, "store": True})
    assert refusal.error["message"] == "Unknown parameter: 'store'."
