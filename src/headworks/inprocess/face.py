"""The engine in this process, under the official `openai` clients.

One engine in one background thread serves every client of a `Headworks`, synchronous or not and
from whatever loop: limits and ledger are one, as they are behind a gateway.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from contextvars import Context
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from headworks.errors import ConfigurationError
from headworks.inprocess.carriage import Access
from headworks.inprocess.clients import async_client, sync_client
from headworks.inprocess.exchange import Carrier
from headworks.inprocess.portal import DRAIN, Portal
from headworks.inprocess.tagging import Tagging
from headworks.ports import Keys
from headworks.types import Caller, Priority, Secret

if TYPE_CHECKING:
    import openai as _openai

    from headworks.config.settings import Config

NO_KEY = "headworks-in-process"
"""Stands for "no virtual key" where the official client insists on one."""

IN_PROCESS = Caller(name="in-process", key_id="in-process")
"""Who calls without a virtual key: code that holds the engine may use all of it."""

_NO_FILE = Path("<config>")
"""The name under which problems of a configuration without a file are told."""


class Assembly(Protocol):
    """A whole engine with everything it holds open."""

    @property
    def engine(self) -> Carrier:
        """The engine, as the latest configuration wants it."""
        ...

    async def start(self) -> None:
        """Open what needs a running loop."""
        ...

    async def aclose(self) -> None:
        """Settle and close everything."""
        ...


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """Lets the process itself in without a key; a virtual key counts as it does anywhere."""

    inner: Keys
    caller: Caller = IN_PROCESS

    def authenticate(self, key: Secret | None) -> Caller:
        """Return the trusted caller where no key is shown, else the key's caller."""
        if key is None or key.reveal() == NO_KEY:
            return self.caller
        return self.inner.authenticate(key)


class Headworks:
    """The whole engine in this process. Close it, or use it in a `with` block.

    Nothing runs until the first call; then one background thread does.
    """

    def __init__(self, assemble: Callable[[], Assembly]) -> None:
        """Prepare an engine.

        Args:
            assemble: Puts the engine together; called in the background thread, at the first call.
        """
        self._assembled = _Assembled(assemble)
        self._portal = Portal(self._assembled.aclose)
        self._tagging = Tagging()
        self._access = Access(lambda: self._portal, self._assembled.engine, self._tagging.headers)

    def openai(self, **options: Any) -> "_openai.OpenAI":
        """Return an official client whose calls go through this engine.

        Args:
            options: As for `openai.OpenAI`, save `base_url` and `http_client`; an `api_key` is a
                virtual key (`hw_...`), with that key's models and limits.

        Raises:
            ImportError: The `openai` package is not installed.
        """
        return sync_client(self._access, {"api_key": NO_KEY} | options)

    def async_openai(self, **options: Any) -> "_openai.AsyncOpenAI":
        """Return an official asynchronous client; like `openai`, for any asyncio loop."""
        return async_client(self._access, {"api_key": NO_KEY} | options)

    def tagged(
        self,
        *,
        feature: str | None = None,
        user: str | None = None,
        session: str | None = None,
        tags: Iterable[str] | None = None,
        priority: Priority | None = None,
    ) -> AbstractContextManager[None]:
        """Say what the calls inside a `with` block are for.

        Holds for this thread or task, and for tasks started inside the block. Inner values replace
        outer ones, one by one; what a request says in its own headers comes first.

        Raises:
            ValueError: On entering: a value cannot be a tag.
        """
        return self._tagging.laid_over(feature, user, session, tags, priority)

    @property
    def in_flight(self) -> int:
        """How many calls are running."""
        return self._portal.in_flight

    def close(self, drain: float = DRAIN) -> None:
        """Refuse new calls, let those in flight finish, settle, and end the thread. Idempotent.

        Args:
            drain: Seconds for calls in flight; then they are cancelled, and settled as such.
        """
        self._portal.close(drain)

    async def aclose(self, drain: float = DRAIN) -> None:
        """Close without holding up the running loop."""
        await asyncio.to_thread(self.close, drain)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


def open(  # noqa: A001 - read as `headworks.open`
    config: str | Path | Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
) -> Headworks:
    """Read a configuration and return the engine that it describes.

    Args:
        config: A file, or what would be in it; None takes the file that `headworks serve` would
            take: `headworks.yaml`, or without one `OPENAI_API_KEY` for a single upstream.
        environ: Stands in for the environment's variables.

    Raises:
        ConfigurationError: The configuration is not valid; it names every problem.
    """
    from headworks.system import SystemClock
    from headworks.wiring.standing import with_standing

    read = _load(config, os.environ if environ is None else environ)
    # Between this process and itself nobody cuts a silent stream: a failure keeps its status.
    read = replace(read, stream=replace(read.stream, keep_alive=0.0))
    loaded = with_standing(read, SystemClock().time())

    def assemble_trusting() -> Assembly:
        from headworks.build import assemble

        return assemble(loaded, trust=TrustedKeys)

    return Headworks(assemble_trusting)


def _load(config: str | Path | Mapping[str, Any] | None, environ: Mapping[str, str]) -> "Config":
    from headworks.config.loading import find, load, read_limited

    if not isinstance(config, Mapping):
        return load(find(environ) if config is None else Path(config), environ)
    written = _written(config)

    def read_file(path: Path) -> bytes:
        if path == _NO_FILE:
            return written
        if path.name.startswith(_NO_FILE.name):
            raise FileNotFoundError(path)  # a mapping has no second file laid over it
        return read_limited(path)

    return load(_NO_FILE, environ, read_file)


def _written(config: Mapping[str, Any]) -> bytes:
    import yaml

    try:
        return yaml.safe_dump(dict(config), allow_unicode=True, sort_keys=False).encode()
    except yaml.YAMLError:
        raise ConfigurationError(
            [f"{_NO_FILE}: holds something that is not a text, number, boolean, list or mapping"]
        ) from None


class _Assembled:
    """An assembly that is put together and started once, when it is first needed.

    Everything here runs in the portal's loop.
    """

    def __init__(self, assemble: Callable[[], Assembly]) -> None:
        self._assemble = assemble
        self._ready: Assembly | None = None
        self._starting: asyncio.Task[Assembly] | None = None

    async def engine(self) -> Carrier:
        """Return the engine; all who come while it starts wait for the same start."""
        if self._ready is not None:
            return self._ready.engine
        if self._starting is None:
            # In a context of its own: what starts now outlives the call that needed it.
            self._starting = asyncio.get_running_loop().create_task(
                self._start(), context=Context()
            )
        return (await asyncio.shield(self._starting)).engine

    async def aclose(self) -> None:
        """Close what was started; a start under way is given up, for nobody waits for it."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        if self._ready is not None:
            await self._ready.aclose()

    async def _start(self) -> Assembly:
        try:
            assembly = self._assemble()
            try:
                await assembly.start()
            except BaseException:
                await assembly.aclose()
                raise
        finally:
            self._starting = None
        self._ready = assembly
        return assembly
