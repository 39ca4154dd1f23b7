"""What a failed attempt says about its route, and what about its credential."""

from typing import Final, Literal

from headworks.errors import Failure, UpstreamError

Symptom = Literal["failure", "pause", "unpaid", "none"]
"""The route fails; it asks for a pause; its credential cannot pay; nothing of that."""

_SYMPTOMS: Final[dict[Failure, Symptom]] = {
    "connection": "failure",
    "timeout": "failure",
    "broken": "failure",
    "overloaded": "failure",
    "server_error": "failure",
    "rate_limit": "pause",
    "quota": "unpaid",
}
_SERVER_ERROR: Final = 500


def symptom(error: UpstreamError) -> Symptom:
    """Return what an attempt's failure says.

    A limit that was reached is no failure, since the provider works; nor is an answer below 500,
    whose cause is the request or the credential.
    """
    found = _SYMPTOMS.get(error.failure, "none")
    return "none" if found == "failure" and error.status < _SERVER_ERROR else found


def asks_slower(error: UpstreamError) -> bool:
    """Return whether the provider asks for a slower pace: OpenAI does, where traffic grows fast."""
    return error.code == "slow_down"


def is_load(error: UpstreamError) -> bool:
    """Return whether asking the same upstream again adds to what may have made it fail.

    A provider that says "not by this credential" or "not this model" is none the worse for being
    asked by another, or for another.
    """
    return symptom(error) in {"failure", "pause"}
