"""A practice OpenAI for a test: over a socket, or in this process and then in virtual time."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

from headworks.inprocess.carriage import Access, HttpRequest
from headworks.inprocess.clients import async_client, sync_client
from headworks.inprocess.portal import Portal
from headworks.inprocess.sending import Begun
from headworks.ports import Clock
from headworks.simulator import (
    RunningSimulator,
    Simulator,
    SimulatorConfig,
    running_application,
)
from headworks.simulator.server import WallClock
from headworks.testing.fakes import FakeClock
from headworks.testing.inside import ApplicationCarrier
from headworks.tokenizer import Tokenizer
from headworks.types import Headers, Request, Secret

if TYPE_CHECKING:
    import openai as _openai


@final
class Practice(RunningSimulator):
    """A running practice OpenAI with clients of its own.

    Attributes:
        base_url: As of any running simulator; "" for one that only its own clients reach.
        api_key: A key that it knows.
        clock: Its time; a `FakeClock` when time is virtual.
    """

    def __init__(
        self,
        application: Simulator,
        clock: Clock,
        connect: Callable[[str, Mapping[str, Any]], Any],
        base_url: str = "",
    ) -> None:
        super().__init__(application, base_url)
        self.clock = clock
        self.api_key = application.provider.accounts.secrets()[0]
        self._connect = connect

    def openai(self, **options: Any) -> "_openai.OpenAI":
        """Return an official client of this simulator; `options` are those of `openai.OpenAI`."""
        client: _openai.OpenAI = self._connect("OpenAI", {"api_key": self.api_key} | options)
        return client

    def async_openai(self, **options: Any) -> "_openai.AsyncOpenAI":
        """Return an official asynchronous client, for any asyncio loop."""
        client: _openai.AsyncOpenAI = self._connect(
            "AsyncOpenAI", {"api_key": self.api_key} | options
        )
        return client


@contextmanager
def practise(
    config: SimulatorConfig | None = None,
    *,
    in_process: bool = False,
    virtual_time: bool = False,
    **fields: Any,
) -> Generator[Practice]:
    """Run a practice OpenAI until the block is left.

    Args:
        config: How it behaves.
        in_process: Reached by its own clients alone, without a socket.
        virtual_time: Waits end at once, in order, and `clock` tells how long they were; always
            in process.
        fields: Those of `SimulatorConfig`, where there is no `config`.
    """
    settings = SimulatorConfig(**fields) if config is None else config
    clock = FakeClock() if virtual_time else WallClock()
    tokenizer = Tokenizer()
    tokenizer.load_soon(["o200k_base"])
    application = Simulator(settings, clock, tokenizer)
    if in_process or virtual_time:
        with _inside(application, clock) as practice:
            yield practice
        return
    with running_application(application) as base_url:
        yield Practice(application, clock, _official(base_url), base_url)


def _official(base_url: str) -> Callable[[str, Mapping[str, Any]], Any]:
    def connect(kind: str, options: Mapping[str, Any]) -> Any:
        import openai

        return getattr(openai, kind)(**options, base_url=base_url)

    return connect


@contextmanager
def _inside(application: Simulator, clock: Clock) -> Generator[Practice]:
    portal, carrier = Portal(), ApplicationCarrier(application)

    async def ready() -> ApplicationCarrier:
        return carrier

    access = Access(lambda: portal, ready, read=_read_as_sent, has_uploads=False)
    makers = {"OpenAI": sync_client, "AsyncOpenAI": async_client}
    try:
        yield Practice(application, clock, lambda kind, options: makers[kind](access, options))
    finally:
        portal.close(drain=0)


def _read_as_sent(
    request: HttpRequest, _added: Headers, body: bytes | Begun
) -> tuple[Request, Secret | None]:
    """Return a request with nothing checked and nothing left out: the simulator is the judge."""
    headers = tuple((name.lower(), value) for name, value in request.headers.raw)
    path, _, query = request.url.raw_path.partition(b"?")
    content = body if isinstance(body, bytes) else body.content
    return Request(request.method, path.decode("latin-1"), query, headers, content), None
