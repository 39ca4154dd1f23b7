"""The refusals of `/responses`, its stored objects and conversations, in the words of the real ones."""

from collections.abc import Sequence

from headworks.simulator.fields import joined
from headworks.simulator.problems import Refusal


def unsupported(param: str, code: str | None = "unsupported_parameter") -> Refusal:
    """Refuse a parameter that this model does not take."""
    text = f"Unsupported parameter: '{param}' is not supported with this model."
    return Refusal(400, text, param=param, code=code)


def unknown_effort(effort: str, model: str, known: Sequence[str]) -> Refusal:
    """Refuse an effort that this model does not make."""
    text = (
        f"Unsupported value: '{effort}' is not supported with the '{model}' model. Supported "
        f"values are: {joined(known, 'and')}."
    )
    return Refusal(400, text, param="reasoning.effort", code="unsupported_value")


def exclusive(first: str, second: str) -> Refusal:
    """Refuse two parameters of which only one may be given."""
    text = (
        f"Mutually exclusive parameters: '{first}' and '{second}'. Ensure you are only providing "
        f"one of: '{first}' or '{second}'."
    )
    return Refusal(400, text, param=second, code="mutually_exclusive_parameters")


def no_json_word() -> Refusal:
    """Refuse JSON mode for a prompt that does not speak of JSON."""
    text = (
        "Response input messages must contain the word 'json' in some form to use 'text.format' of "
        "type 'json_object'."
    )
    return Refusal(400, text, param="input")


def no_such_tool(choice: str) -> Refusal:
    """Refuse the choice of a tool that is not among the tools."""
    return Refusal(
        400, f"Tool choice '{choice}' not found in 'tools' parameter.", param="tool_choice"
    )


def no_call(call_id: str, kind: str) -> Refusal:
    """Refuse the output of a call that was never made; `kind` is as `function call`."""
    text = f"No tool call found for {kind} output with call_id {call_id}."
    return Refusal(400, text, param="input")


def no_output(call_id: str, kind: str) -> Refusal:
    """Refuse to go on while a call has no output."""
    return Refusal(400, f"No tool output found for {kind} {call_id}.", param="input")


def no_response(name: str) -> Refusal:
    """Refuse a response that is not stored here."""
    return Refusal(404, f"Response with id '{name}' not found.")


def no_conversation(name: str) -> Refusal:
    """Refuse a conversation that is not kept here."""
    return Refusal(404, f"Conversation with id '{name}' not found.")


def no_item(name: str, *, stores: bool = True) -> Refusal:
    """Refuse a reference to an item that is not kept here."""
    text = f"Item with id '{name}' not found."
    if not stores:
        text += (
            " Items are not persisted when `store` is set to false. Try again with `store` set to "
            "true, or remove this item from your input."
        )
    return Refusal(404, text, param="input")


def no_prompt(name: str) -> Refusal:
    """Refuse a prompt template: none is kept here."""
    return Refusal(404, f"Prompt with id '{name}' not found.", param="prompt")


def synchronous() -> Refusal:
    """Refuse to cancel what nobody can wait for."""
    return Refusal(400, "Cannot cancel a synchronous response.")


def too_old() -> Refusal:
    """Refuse to tell again the events of a response of long ago."""
    text = "This response can no longer be streamed because it is more than 5 minutes old."
    return Refusal(400, text)
