"""The callers of the worlds: a world ends, whatever becomes of its lines."""

import asyncio

from tests.faults.simworld.callers import PLACE, Ask, Caller, Reply
from tests.faults.simworld.clockwork import VirtualLoop
from tests.faults.simworld.network import Network, Place, Weather


def test_a_caller_on_a_mute_line_goes_in_the_end():
    """A world ends though a request never left whole: its caller's patience is finite."""
    loop = VirtualLoop()
    deaf = Weather(window=1_000, fate="hole", after=900)
    network = Network(loop, 0, lambda *_: None, lambda _: deaf)
    network.listen(asyncio.Protocol, Place(PLACE))

    async def call() -> Reply:
        caller = Caller([Ask("tag-0000", "chat", "key", {"input": "x" * 5_000})], loop.time())
        await caller.run()
        return caller.replies[0]

    reply = loop.run_until_complete(call())
    loop.close()
    assert (reply.gave_up, reply.status) == (True, 0)
