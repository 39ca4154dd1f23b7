"""The promises of `headworks.open` and of what it returns."""

import asyncio
import json
import subprocess
import sys
import threading
from types import ModuleType
from typing import Any

import httpx
import openai
import pytest

import headworks
from headworks.errors import ConfigurationError, Unauthenticated
from headworks.inprocess.face import IN_PROCESS, NO_KEY, TrustedKeys
from headworks.inprocess.portal import Portal, PortalClosed
from headworks.testing import WHOLE, MemoryKeys
from headworks.types import Caller, Secret
from tests.inprocess.conftest import MESSAGES
from tests.inprocess.world import KEY


@pytest.fixture
def provider():
    """The port of a provider that answers every request with the same completion."""
    portal = Portal()
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(size or 0))
        writer.write(answer % (len(WHOLE), WHOLE))
        await writer.drain()
        writer.close()

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(serve, "127.0.0.1", 0)

    server = portal.call(listen())
    yield server.sockets[0].getsockname()[1]
    portal.call_soon(server.close)
    portal.close()


@pytest.fixture
def config(provider, tmp_path) -> dict[str, Any]:
    return {
        "store": f"sqlite:{tmp_path}/headworks.db",
        "upstreams": {
            "openai": {
                "base_url": f"http://127.0.0.1:{provider}/v1",
                "credentials": [{"name": "main", "api_key": "${env:OPENAI_API_KEY}"}],
            }
        },
        "models": {"assistant": {"routes": ["openai/gpt-5.4-mini"]}},
    }


ENVIRON = {"OPENAI_API_KEY": "sk-test"}


@pytest.mark.parametrize("form", ["mapping", "file", "text"])
def test_the_whole_engine_in_one_process(config, form, tmp_path):
    """From a configuration to an answer of a provider, with nothing running beside the program."""
    file = tmp_path / "headworks.yaml"
    file.write_text(json.dumps(config))
    given = {"mapping": config, "file": file, "text": str(file)}[form]

    with headworks.open(given, environ=ENVIRON) as hw:
        answer = hw.openai().chat.completions.create(model="assistant", messages=MESSAGES)

    assert answer.choices[0].message.content == "Hello!"


def test_the_same_from_asyncio(config):
    """`async with` works, and closing does not hold up the loop."""

    async def main() -> str | None:
        async with headworks.open(config, environ=ENVIRON) as hw:
            client = hw.async_openai()
            answer = await client.chat.completions.create(model="assistant", messages=MESSAGES)
            return answer.choices[0].message.content

    assert asyncio.run(main()) == "Hello!"


def test_a_wrong_configuration_is_told_at_once(config):
    """`open` itself raises, naming the place and the key; nothing has started by then."""
    with pytest.raises(ConfigurationError, match=r"<config>:\d+: modles: .*models"):
        headworks.open(config | {"modles": {}}, environ=ENVIRON)


def test_a_value_that_is_no_configuration():
    """A mapping with an object in it is refused without showing the object."""
    with pytest.raises(ConfigurationError, match="not a text, number") as raised:
        headworks.open({"upstreams": Secret("sk-hidden")}, environ=ENVIRON)
    assert "hidden" not in str(raised.value)


def test_nothing_starts_before_the_first_call(world):
    """Opening and closing without a call starts no engine."""
    with world.headworks() as hw:
        hw.openai()

    assert (world.starts, world.closes) == (0, 0)


def test_an_engine_that_cannot_start_says_why(hw, world, chat):
    """What keeps the engine from starting is raised as it is; the next call tries again."""
    world.fault = OSError("the disk is read-only")
    with pytest.raises(OSError, match="read-only"):
        chat.ask()
    assert world.closes == 1

    world.fault = None
    assert chat.ask().choices[0].message.content == "Hello!"
    assert hw.in_flight == 0


def test_closing_gives_up_a_start_that_hangs(hw, world):
    """An engine that never finishes starting cannot keep `close`, nor its callers, waiting."""
    world.hangs = threading.Event()
    raised = list[BaseException]()

    def ask() -> None:
        try:
            hw.openai().chat.completions.create(model="m", messages=MESSAGES)
        except PortalClosed as error:
            raised.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert world.hangs.wait(10)
    hw.close(drain=0)
    thread.join()

    assert len(raised) == 1
    assert (world.starts, world.closes) == (1, 1)


def test_code_in_the_process_needs_no_key(hw, world):
    """Without a key, calls are made by the process itself, which may use every model."""
    hw.openai().chat.completions.create(model="gold", messages=MESSAGES)

    assert world.journal.calls[0].caller is IN_PROCESS


def test_a_virtual_key_counts_in_process_too(chat, world):
    """With a virtual key, that key's name, models and limits hold."""
    chat.ask(client={"api_key": KEY})
    with pytest.raises(openai.PermissionDeniedError):
        chat.ask("gold", client={"api_key": KEY})

    assert [call.caller.name for call in world.journal.calls] == ["shop", "shop"]


def test_trusted_keys():
    """Only the absence of a key is trusted; a wrong key is refused as ever."""
    keys = TrustedKeys(MemoryKeys({KEY: Caller("shop", "k1")}))

    assert keys.authenticate(None) is IN_PROCESS
    assert keys.authenticate(Secret(NO_KEY)) is IN_PROCESS
    assert keys.authenticate(Secret(KEY)).name == "shop"
    with pytest.raises(Unauthenticated):
        keys.authenticate(Secret("sk-anything"))


@pytest.mark.parametrize("option", ["base_url", "http_client"])
def test_options_that_would_lead_elsewhere(hw, option):
    """An option that would bypass the engine is an error, not a surprise."""
    with pytest.raises(TypeError, match=option):
        hw.openai(**{option: None})


def test_the_clients_are_the_official_ones(hw):
    """Nothing is wrapped or patched: the clients are instances of the official classes."""
    client, aclient = hw.openai(timeout=3), hw.async_openai(max_retries=5)

    assert type(client) is openai.OpenAI
    assert type(aclient) is openai.AsyncOpenAI
    assert (client.timeout, client.max_retries, aclient.max_retries) == (3, 2, 5)
    assert openai.DefaultHttpx2Client is not type(client._client)


def test_an_older_official_client_gets_its_own_http_library(hw, monkeypatch):
    """Versions before 3 are given httpx, later ones httpx2; each with its own defaults."""
    older = ModuleType("openai")
    older.__dict__.update(
        VERSION="2.54.0",
        OpenAI=openai.OpenAI,
        AsyncOpenAI=openai.AsyncOpenAI,
        DefaultHttpxClient=httpx.Client,
        DefaultAsyncHttpxClient=httpx.AsyncClient,
    )
    monkeypatch.setitem(sys.modules, "openai", older)

    client, aclient = hw.openai(), hw.async_openai()

    assert isinstance(client._client, httpx.Client)
    assert isinstance(aclient._client, httpx.AsyncClient)
    answer = client.chat.completions.create(model="m", messages=MESSAGES)
    assert answer.choices[0].message.content == "Hello!"


def test_without_the_official_client_the_remedy_is_named():
    """A program without the `openai` package is told what to install."""
    program = (
        "import sys; sys.modules['openai'] = None\n"
        "from headworks.inprocess.face import Headworks\n"
        "try:\n    Headworks(None).openai()\n"
        "except ImportError as error:\n    print(error)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )

    assert "pip install 'headworks[client]'" in ended.stdout
