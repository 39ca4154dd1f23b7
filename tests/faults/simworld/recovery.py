"""When all is well again, all is as if nothing had been: calls go where they went at first."""

from collections.abc import Iterator

from tests.faults.simworld.world import LAST_CALLS, World

_FIRST = ("east", "gpt-6-sol", "main")


def findings(world: World) -> Iterator[str]:
    """Yield what is not as it was before anybody was ill."""
    if not world.has_recovered:
        return
    for reply in world.replies[-LAST_CALLS:]:
        told = [reply.headers.get(f"x-headworks-{name}") for name in ("route", "attempts", "trail")]
        if (reply.status, told) != (200, ["east/gpt-6-sol", "1", None]) or not reply.is_whole:
            yield f"{reply.ask.tag}: all is well, and it got {reply.status}: {told}"
    for upstream in world.assembly.health.statistics():
        for route in upstream.routes:
            is_first = (route.upstream, route.model, route.credential) == _FIRST
            if is_first and (route.state != "closed" or route.refusal is not None):
                yield f"all is well, and {_FIRST} is {route.state}: {route.refusal}"
