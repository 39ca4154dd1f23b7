"""The Responses API, as the official client sees it."""

import openai
import pytest

TOOL = {
    "type": "function",
    "name": "add",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
}


def test_a_text_is_answered(client):
    """A plain question gets a completed response with its usage."""
    answer = client.responses.create(model="gpt-4o", input="Hello", instructions="Be kind.")

    assert (answer.status, answer.output[0].type) == ("completed", "message")
    assert answer.output_text.endswith(".")
    assert answer.usage.input_tokens == 3 + (3 + 1 + 3) + (3 + 1 + 1)
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


def test_a_model_thinks_before_it_answers(client):
    """Thoughts are an item of their own, sealed, and their tokens are told and bounded apart."""
    answer = client.responses.create(model="gpt-6-sol", input="Hello")
    silent = client.responses.create(model="gpt-6-sol", input="Hello", reasoning={"effort": "none"})

    assert [item.type for item in answer.output] == ["reasoning", "message"]
    assert answer.output[0].encrypted_content.startswith("gAAAAA")
    assert answer.usage.output_tokens_details.reasoning_tokens == 128
    assert [item.type for item in silent.output] == ["message"]
    assert silent.usage.output_tokens_details.reasoning_tokens == 0


def test_a_stream_tells_the_whole_life_of_a_response(client):
    """Events come in the documented order, numbered without a gap, and add up to the answer."""
    whole = client.responses.create(model="gpt-4o", input="Hello")
    events = list(client.responses.create(model="gpt-4o", input="Hello", stream=True))

    kinds = [event.type.removeprefix("response.") for event in events]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert kinds == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *["output_text.delta"] * len(deltas),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(deltas) == whole.output_text == events[-1].response.output_text
    assert len(deltas) == whole.usage.output_tokens
    assert events[-1].response.usage == whole.usage


def test_a_bound_leaves_the_response_incomplete(client):
    """A response that may say sixteen tokens says sixteen, and why it stopped."""
    answer = client.responses.create(model="gpt-4o", input="Hello", max_output_tokens=16)
    events = list(
        client.responses.create(model="gpt-4o", input="Hello", max_output_tokens=16, stream=True)
    )

    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.output[0].status == "incomplete"
    assert answer.usage.output_tokens == 16
    assert events[-1].type == "response.incomplete"


def test_a_function_is_called(client):
    """The client's own accumulation of a streamed call has valid arguments."""
    with client.responses.stream(model="gpt-4o", input="Hello", tools=[TOOL]) as stream:
        kinds = {event.type for event in stream}
        call = stream.get_final_response().output[0]

    assert (call.type, call.name) == ("function_call", "add")
    assert call.parsed_arguments.keys() == {"a", "b"}
    assert "response.function_call_arguments.delta" in kinds


def test_a_functions_output_is_answered_in_words(client):
    """After the output of a call comes a message."""
    first = client.responses.create(model="gpt-4o", input="Hello", tools=[TOOL]).output[0]
    output = {"type": "function_call_output", "call_id": first.call_id, "output": "3"}
    items = [{"role": "user", "content": "Hello"}, first.to_dict(), output]

    answer = client.responses.create(model="gpt-4o", input=items, tools=[TOOL])

    assert answer.output_text


def test_a_tool_loop_comes_to_its_end(client):
    """A client that runs every call and goes on from the response is answered in words at last."""
    answer = client.responses.create(model="gpt-6-sol", input="Hello", tools=[TOOL])
    turns = 1
    while calls := [item for item in answer.output if item.type == "function_call"]:
        outputs = [
            {"type": "function_call_output", "call_id": call.call_id, "output": "3"}
            for call in calls
        ]
        answer = client.responses.create(
            model="gpt-6-sol", input=outputs, previous_response_id=answer.id, tools=[TOOL]
        )
        turns += 1

    assert (turns, bool(answer.output_text)) == (2, True)


def test_a_background_response_is_polled(client):
    """A background response is queued at once, and complete when it is looked for."""
    queued = client.responses.create(model="gpt-4o", input="Hello", background=True)
    answer = client.responses.retrieve(queued.id)

    assert (queued.status, queued.output, queued.usage) == ("queued", [], None)
    assert (answer.status, bool(answer.output_text)) == ("completed", True)


def test_the_invoice_has_a_background_response_once(client, simulator):
    """What is made in the background is billed when it is ordered, not when it is read."""
    queued = client.responses.create(model="gpt-4o", input="Hello", background=True)
    usage = client.responses.retrieve(queued.id).usage
    list(client.responses.retrieve(queued.id, stream=True))

    invoice = simulator.invoice()
    assert (invoice["billed"], invoice["attempts"]) == (1, 3)
    assert invoice["output_tokens"] == usage.output_tokens


def test_a_stream_is_taken_up_again(client):
    """After the last event that arrived come those that did not, with their numbers."""
    events = list(
        client.responses.create(model="gpt-4o", input="Hello", background=True, stream=True)
    )
    again = list(client.responses.retrieve(events[0].response.id, stream=True, starting_after=7))

    assert [event.to_dict() for event in again] == [event.to_dict() for event in events[8:]]


def test_an_unknown_model_is_a_bad_request(client):
    """This endpoint has words of its own for a model that does not exist."""
    with pytest.raises(openai.BadRequestError, match="The requested model 'x' does not exist"):
        client.responses.create(model="x", input="Hello")


def test_an_error_event_is_numbered_like_the_others(client):
    """A broken stream's error continues the count, in the flat form of the real one."""
    events = list(
        client.responses.create(
            model="gpt-4o",
            input="Hello",
            stream=True,
            extra_headers={"x-simulator-fault": "error_event=2"},
        )
    )

    assert (events[-1].type, events[-1].code) == ("error", "server_error")
    assert events[-1].sequence_number == len(events) - 1 == 6
