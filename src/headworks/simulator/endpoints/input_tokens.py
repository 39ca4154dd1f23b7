"""POST /v1/responses/input_tokens: how many tokens a request would read, counted as if it were made."""

from headworks.simulator.asked import Asked
from headworks.simulator.endpoints.responses_checks import COUNTED, check
from headworks.simulator.endpoints.responses_turn import take_turn
from headworks.simulator.provider import Provider
from headworks.simulator.reply import Body, Listing


def count_input(provider: Provider, asked: Asked) -> Body:
    """Return the input tokens."""
    provider.served_model(asked, "responses")
    check(asked.fields, COUNTED)
    turn = take_turn(provider, asked, f"{asked.credential} counts")
    return Listing({"object": "response.input_tokens", "input_tokens": turn.usage.input})
