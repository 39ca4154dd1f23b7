"""A server in a process of its own, so that its size can be told from its callers': `python -m tests.front.stand HEAD BODY READ`.

The arguments are the seconds that a head may take, after which a body must keep its pace, and for
which a reader may take nothing. It prints its port.
"""

import asyncio
import resource
import sys
from typing import Any

from headworks.gateway.heads import HttpLimits
from headworks.gateway.lifecycle import Lifecycle
from headworks.gateway.server import Hooks, ServerOptions, run, serve
from tests.gateway.conftest import absent, read_body

BIG = bytes(8 * 1024 * 1024)
"""More than the system takes for a caller who reads nothing."""


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer a whole request; with all of `BIG` where that is asked for."""
    if await read_body(receive) is None:
        return
    body = BIG if scope["path"] == "/big" else b"ok"
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await asyncio.sleep(0)  # the head leaves by itself, so that the body is nowhere copied
    await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": body})


def main() -> int:
    """Serve until a signal says stop."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    head, body, reader = map(float, sys.argv[1:])
    limits = HttpLimits(head_seconds=head, body_grace=body, write_seconds=reader)
    options = ServerOptions(listen="127.0.0.1:0", admin="127.0.0.1:0", limits=limits)
    hooks = Hooks(announce=lambda line: print(line, flush=True))  # noqa: T201 - its caller reads it
    return run(serve(app, absent, Lifecycle(), options, hooks))


if __name__ == "__main__":
    sys.exit(main())
