"""A real model, a gateway before it, and the official client before that."""

import asyncio
import re
import subprocess
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from tests.clients.elsewhere import python_with
from tests.faults.processes import Gateway, gateway_of

KEY = "real-key-0123456789"
MODEL = "small"
ALIAS = "smollm2"
API_KEY = "sk-realmodel"
INPUT_NANO, CACHED_NANO, OUTPUT_NANO = 1000, 100, 4000
"""What a token costs, in billionths of a dollar."""
CONFIGURATION = """\
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0"}}
store: sqlite:{folder}/books.db
log: {{level: warning, calls: false}}
retry: {{first: 10ms, longest: 20ms}}
upstreams:
  real:
    base_url: {url}/v1
    credentials: [{{name: main, api_key: sk-realmodel}}]
  disowned:
    base_url: {url}/v1
    credentials: [{{name: main, api_key: sk-wrong}}]
models:
  small: {{routes: [real/smollm2]}}
  rescued: {{routes: [disowned/smollm2, real/smollm2]}}
  disowned: {{routes: [disowned/smollm2]}}
prices:
  smollm2: {{input: 1, cached: 0.1, output: 4}}
keys:
  - {{name: app, secret: {key}}}
"""
_SERVER = Path(__file__).with_name("serve.py")


@dataclass(frozen=True)
class Model:
    """The server of the real model, asked directly."""

    url: str

    async def get(self, path: str) -> httpx2.Response:
        async with httpx2.AsyncClient() as client:
            return await client.get(self.url + path, headers=self._headers)

    async def post(self, path: str, body: dict[str, Any]) -> httpx2.Response:
        """Ask without a gateway."""
        async with httpx2.AsyncClient() as client:
            return await client.post(self.url + path, json=body, headers=self._headers, timeout=60)

    async def is_busy(self) -> bool:
        """Return whether it works for anybody."""
        slots: list[dict[str, Any]] = (await self.get("/slots")).json()
        return any(slot["is_processing"] for slot in slots)

    async def wait_idle(self, seconds: float) -> bool:
        """Return whether it works for nobody any more after so many seconds, or sooner.

        While a whole answer is made the server looks each second whether its caller is there, and
        any question begins that second anew.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while is_busy := await self.is_busy():
            if loop.time() > until:
                break
            await asyncio.sleep(1.5)
        return not is_busy

    async def said(self) -> int:
        """Return how many tokens it has ever said."""
        found = re.search(r"tokens_predicted_total (\d+)", (await self.get("/metrics")).text)
        assert found is not None
        return int(found[1])

    @property
    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {API_KEY}"}


@dataclass(frozen=True)
class Ground:
    """A gateway before the model.

    Attributes:
        client: The official client, as an app uses it.
    """

    model: Model
    gateway: Gateway
    client: openai.AsyncOpenAI

    def row(self, **facts: Any) -> dict[str, Any]:
        """Return the one row of the ledger, which states these facts."""
        [row] = self.gateway.rows()
        assert {name: row[name] for name in facts} == facts
        return row

    def assert_booked(self, read: int, written: int, cached: int = 0) -> None:
        """The ledger's one row has the model's own figures, and their price."""
        self.row(
            state="settled",
            certainty="exact",
            model_asked=MODEL,
            model_sent=ALIAS,
            input=read,
            cached=cached,
            output=written,
            cost_nano=(read - cached) * INPUT_NANO + cached * CACHED_NANO + written * OUTPUT_NANO,
        )


@pytest.fixture(scope="session")
def model() -> Generator[Model]:
    """Run the model's server for all tests."""
    command = [str(python_with("realmodel")), str(_SERVER)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url, "the model's server did not start"
            yield Model(url)
        finally:
            process.kill()


@pytest.fixture
async def ground(model, tmp_path):
    """Run a gateway of its own for each test, so that its ledger tells of that test alone."""
    file = tmp_path / "headworks.yaml"
    file.write_text(CONFIGURATION.format(folder=tmp_path, url=model.url, key=KEY))
    async with gateway_of(file) as gateway:
        url = f"http://127.0.0.1:{gateway.port}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
            yield Ground(model, gateway, client)
