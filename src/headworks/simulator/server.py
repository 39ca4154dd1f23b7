"""Runs the practice OpenAI under uvicorn: for ever, or in a thread for as long as a test needs it."""

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any, cast, final

from typing_extensions import override
from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headworks.simulator.app import Simulator
from headworks.simulator.config import SimulatorConfig
from headworks.simulator.exchange import CONNECTION
from headworks.tokenizer import Tokenizer

_LINGER_RESET = struct.pack("ii", 1, 0)
_BACKLOG = 2048
_KEEP_ALIVE = 300  # seconds; clients let go first, as with the real one


@final
class WallClock:
    """The real time."""

    def now(self) -> float:
        """Return seconds that only go forward."""
        return time.monotonic()  # noqa: TID251 - here time comes in

    def time(self) -> float:
        """Return seconds since 1970."""
        return time.time()  # noqa: TID251 - here time comes in

    async def sleep(self, seconds: float) -> None:
        """Wait, or let others run if there is nothing to wait for."""
        await asyncio.sleep(max(0.0, seconds))  # noqa: TID251 - here time comes in


@final
class _Lent:
    """A connection as faults see it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def close(self) -> None:
        self._transport.close()

    def reset(self) -> None:
        """Close with a linger time of zero: TCP then sends RST instead of FIN (RFC 9293, 3.10.5)."""
        wire = self._transport.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self._transport.abort()


@final
class _Protocol(HttpToolsProtocol):
    """uvicorn's, with its connection within reach of the application."""

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)["extensions"] = {CONNECTION: _Lent(self.transport)}


@final
class _Server(Server):
    """uvicorn's, which does not wait for those who hang when it is told to stop."""

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)


@final
class RunningSimulator:
    """A simulator that runs in a thread of its own.

    Attributes:
        base_url: What an official client takes, such as `http://127.0.0.1:41234/v1`.
    """

    def __init__(self, simulator: Simulator, port: int) -> None:
        self._simulator = simulator
        self.base_url = f"http://127.0.0.1:{port}/v1"

    def invoice(self) -> dict[str, Any]:
        """Return the sums in nano-dollars and tokens, also by model and by credential."""
        return self._simulator.books.invoice()

    def attempts(self) -> list[dict[str, Any]]:
        """Return every attempt, oldest first."""
        return self._simulator.books.attempts()

    def wait_settled(self, seconds: float = 5.0) -> bool:
        """Block until no attempt is open, as after a client has left; return whether in time."""
        return self._simulator.books.wait_settled(seconds)

    def reset(self) -> None:
        """Forget all attempts, prompts and faults."""
        self._simulator.reset()


@contextmanager
def running(config: SimulatorConfig | None = None) -> Generator[RunningSimulator]:
    """Run a simulator in a background thread on a free port, until the block is left."""
    tokenizer = Tokenizer()
    tokenizer.load_soon(["o200k_base"])
    simulator = Simulator(config or SimulatorConfig(), WallClock(), tokenizer)
    server = _Server(_settings(simulator))
    with socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(
            target=server.run, args=([listener],), name=f"simulator-{port}", daemon=True
        )
        thread.start()
        try:
            yield RunningSimulator(simulator, port)
        finally:
            server.should_exit = True
            thread.join()


def serve_forever(config: SimulatorConfig, listener: socket.socket) -> None:
    """Serve on a listening socket until interrupted."""
    tokenizer = Tokenizer()
    tokenizer.load_soon(["o200k_base"])
    settings = _settings(Simulator(config, WallClock(), tokenizer))
    with suppress(KeyboardInterrupt):
        _Server(settings).run([listener])


def _settings(simulator: Simulator) -> Config:
    return Config(
        cast("Any", simulator),
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        backlog=_BACKLOG,
    )
