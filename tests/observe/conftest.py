"""Finished calls to be remembered."""

from headworks.types import Call, Caller, Request, Route, Tags, Usage


def finished(**changes: object) -> Call:
    """Return a call that went well, but for the changes."""
    request = Request(
        "POST",
        "/v1/chat/completions",
        fields={"model": changes.pop("model", "assistant")},
        tags=Tags(feature=str(changes.pop("feature", "search")), user="u42"),
    )
    call = Call(id="call_1", request=request, started=100.0, time=1_800_000_000.5)
    call.caller = Caller("web", "id1", project="shop")
    call.route = Route("openai", "gpt-5", "main")
    call.attempts, call.status, call.outcome = 1, 200, "completed"
    call.answered, call.ended = 100.3, 102.0
    call.usage, call.cost = Usage(10, 20, cached=5, reasoning=7), 1_500_000
    for name, value in changes.items():
        setattr(call, name, value)
    return call
