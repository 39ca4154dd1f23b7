"""Finds the addresses of servers, with at most one look-up of a name at a time.

A look-up runs in a thread that nothing can stop, and there are few of them (four under uvloop). A
resolver that hangs for one upstream must not keep the others from being found: whoever asks for a
name that is being looked up waits for that look-up, and may leave it at any moment.
"""

import asyncio
import socket
from ipaddress import ip_address
from weakref import WeakKeyDictionary

Found = list[str]
_under_way: WeakKeyDictionary[
    asyncio.AbstractEventLoop, dict[tuple[str, int], asyncio.Task[Found]]
] = WeakKeyDictionary()
"""Look-ups that have not ended, by the loop that waits for them."""


async def addresses(host: str, port: int) -> Found:
    """Return the addresses of a host, the one to try first being first.

    Raises:
        OSError: It has none, or the resolver does not say.
    """
    if _is_address(host):
        return [host]
    loop = asyncio.get_running_loop()
    looking = _under_way.setdefault(loop, {})
    key = host, port
    task = looking.get(key)
    if task is None:
        task = looking[key] = loop.create_task(_look_up(loop, host, port))
        task.add_done_callback(lambda done: _forget(looking, key, done))
    return await asyncio.shield(task)


async def _look_up(loop: asyncio.AbstractEventLoop, host: str, port: int) -> Found:
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def _forget(
    looking: dict[tuple[str, int], asyncio.Task[Found]],
    key: tuple[str, int],
    done: asyncio.Task[Found],
) -> None:
    """Let go of a look-up, and take note of a failure that nobody waits for any more."""
    looking.pop(key, None)
    if not done.cancelled():
        done.exception()


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
