"""`headworks simulate`: the practice OpenAI as a command."""

import asyncio
import re
import signal
import socket
import sys
from contextlib import asynccontextmanager

import pytest

from tests.cli.running import environment, headworks
from tests.faults.processes import ask, chat

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def simulating(folder, *words: str):
    """Run the command until it listens; yield process and port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "headworks", "simulate", "--port", "0", *words,
        cwd=folder, env=environment({}),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        said = (await process.stdout.readline()).decode()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/v1", said)
        assert found is not None, said
        yield process, int(found[1])
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_it_says_where_it_listens_and_answers_there(tmp_path):
    """Port 0 takes a free one, and the address that is told is the one that works."""
    (tmp_path / "fast.yaml").write_text("latency: {}\ncredentials: {one: sk-simulator-one}\n")
    async with simulating(tmp_path, "--config", "fast.yaml", "--speed", "2") as (process, port):
        reply = await ask(port, chat(key="sk-simulator-one", model="gpt-6-sol", max_tokens=1))
        assert reply.status == 200
        assert process.stdout is not None
        assert b"sk-simulator-one" in await process.stdout.readline()
        assert b"/_simulator/invoice" in await process.stdout.readline()


async def test_ctrl_c_ends_it_without_a_traceback(tmp_path):
    """Whoever tried it out leaves it as any other program."""
    async with simulating(tmp_path) as (process, port):
        assert (await ask(port, chat(key="no-such-key"))).status == 401
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()
    assert process.returncode == 0
    assert errors == b""


async def test_a_busy_port_is_one_line(tmp_path):
    """It never says that it listens where another program does."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = await headworks(tmp_path, "simulate", "--port", str(port))
    assert (done.code, done.out) == (1, "")
    (line,) = done.err.splitlines()
    assert line.startswith("headworks: --port: cannot listen on 127.0.0.1:")


@pytest.mark.parametrize("text", ["faults: [{fault: nonsense}]", "modles: {}", "a: [", "\xff"])
async def test_a_wrong_file_is_one_line(tmp_path, text: str):
    """The line names the file and what is wrong with it."""
    (tmp_path / "faults.yaml").write_bytes(text.encode("latin-1"))
    done = await headworks(tmp_path, "simulate", "--config", "faults.yaml")
    assert (done.code, done.out) == (1, "")
    (line,) = done.err.splitlines()
    assert line.startswith("headworks: faults.yaml: ")
