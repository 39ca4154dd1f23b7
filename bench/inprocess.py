"""What a call costs in the app's own process: the official client, alone and over the engine.

    python bench/inprocess.py MOCK_PORT [--calls N]

`httpx` is the official client as it comes, over its own connections. `engine` is the client over
`headworks.open`, with everything on; the engine does the networking then. So what headworks costs an
app is `engine` less `httpx`. `client` answers from memory beneath the client: what that costs alone.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2
import openai

import headworks
from headworks_settings import EVERYTHING, settings
from process import GATEWAY_CPU, pinned
from subjects import KEY, Subject, body, post

ROUNDS = 5
_CALL: dict[str, Any] = json.loads(body())


class _Canned(httpx2.AsyncBaseTransport):
    """Answers every call with the same bytes."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": "application/json"}
        return httpx2.Response(200, headers=headers, content=self.content, request=request)


async def _cost(client: openai.AsyncOpenAI, calls: int, together: int) -> tuple[float, float]:
    """Return CPU time and wall time of a call in microseconds, of the least disturbed round."""

    async def work(share: int) -> None:
        for _ in range(share):
            await client.chat.completions.create(**_CALL)

    await work(20)
    found: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        cpu, wall = time.process_time(), time.perf_counter()
        await asyncio.gather(*(work(calls // together) for _ in range(together)))
        done = calls // together * together
        found.append(((time.process_time() - cpu) / done, (time.perf_counter() - wall) / done))
    return min(one[0] for one in found) * 1e6, min(one[1] for one in found) * 1e6


async def _costs(mock_port: int, calls: int, folder: Path) -> dict[str, float]:
    answer = post(Subject("direct", "", mock_port), "json", body())[1]
    url = f"http://127.0.0.1:{mock_port}/v1"
    file = folder / "headworks.yaml"
    file.write_text(json.dumps(settings(EVERYTHING, folder, 21998, 21999, mock_port)))
    canned = httpx2.AsyncClient(transport=_Canned(answer))
    found: dict[str, float] = {}
    with headworks.open(file) as hw:
        clients = {
            "client": openai.AsyncOpenAI(api_key=KEY, base_url=url, http_client=canned),
            "httpx": openai.AsyncOpenAI(api_key=KEY, base_url=url),
            "engine": hw.async_openai(),
        }
        for together in (1, 16):
            for name, client in clients.items():
                cpu, wall = await _cost(client, calls, together)
                found |= {f"{name}_{together}": cpu, f"{name}_{together}_wall": wall}
        for client in clients.values():
            await client.close()
    return found


def measure(mock_port: int) -> dict[str, float]:
    """Return the figures, measured by a process of its own on the gateway's CPU."""
    command = pinned([sys.executable, __file__, str(mock_port)], GATEWAY_CPU)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise SystemExit(f"calls in process failed:\n{done.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("mock_port", type=int)
    parser.add_argument("--calls", type=int, default=320, help="in each of the rounds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headworks-bench-") as folder:
        found = asyncio.run(_costs(options.mock_port, options.calls, Path(folder)))
    print(json.dumps({name: round(value, 1) for name, value in found.items()}))


if __name__ == "__main__":
    main()
