"""`headworks simulate`: the practice OpenAI as a command."""

import asyncio
import json
import re
import signal
import socket
import sys
from contextlib import asynccontextmanager
from typing import get_args

import pytest

from headworks.simulator.config import FaultName
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
        reply = await ask(
            port, chat(key="sk-simulator-one", model="gpt-6-sol", max_completion_tokens=1)
        )
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


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("seed: 1\nfaults: [{fault: cut_aftr}]", ":2: faults[0].fault: must be one of status"),
        ("modles: {}", ":1: modles: unknown key, did you mean 'models'?"),
        ("a: [", ":2: not valid YAML"),
        ("\xff", ":1: is not UTF-8 text"),
    ],
)
async def test_a_wrong_file_is_one_line(tmp_path, text: str, problem: str):
    """The line names file, line and key, and what is wrong there."""
    (tmp_path / "faults.yaml").write_bytes(text.encode("latin-1"))
    done = await headworks(tmp_path, "simulate", "--config", "faults.yaml")
    assert (done.code, done.out) == (1, "")
    (line,) = done.err.splitlines()
    assert line.startswith("headworks: faults.yaml" + problem)


async def test_a_wrong_scenario_is_told_whole(tmp_path):
    """Every mistake has its line; none has to be found by running again."""
    text = "phases:\n- {seconds: 5, cals: 3}\n- faults:\n  - {fault: status, status: 42}\n  - {fault: crlf}\n"
    (tmp_path / "day.yaml").write_text(text)
    done = await headworks(tmp_path, "simulate", "--scenario", "day.yaml")
    assert (done.code, done.out) == (1, "")
    first, second = done.err.splitlines()
    assert first == "headworks: day.yaml:2: phases[0].cals: unknown key, did you mean 'calls'?"
    assert second.startswith("headworks: day.yaml:4: phases[1].faults[0].status: ")


async def test_it_says_what_is_on(tmp_path):
    """Rules, their shares and the phases of a scenario are told before the first call."""
    (tmp_path / "faults.yaml").write_text("faults: [{fault: crlf, probability: 0.25}]\n")
    (tmp_path / "day.yaml").write_text("phases: [{name: calm, calls: 1}, {name: storm}]\n")
    words = ("--config", "faults.yaml", "--scenario", "day.yaml")
    async with simulating(tmp_path, *words) as (process, _):
        assert process.stdout is not None
        lines = [await process.stdout.readline() for _ in range(4)]
    assert lines[2:] == [b"Faults by rule: crlf 25%; seed 0\n", b"Scenario: calm, storm\n"]


async def test_programs_read_where_it_listens(tmp_path):
    """With --json the first line is an object with the address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "headworks", "simulate", "--port", "0", "--json",
        cwd=tmp_path, env=environment({}), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    told = json.loads(await process.stdout.readline())
    process.terminate()
    await process.communicate()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", told["base_url"])


async def test_all_faults_are_listed(tmp_path):
    """What can be ordered is told with the fields it uses, for people and for programs."""
    told = await headworks(tmp_path, "simulate", "--faults")
    listed = json.loads((await headworks(tmp_path, "simulate", "--faults", "--json")).out)
    assert {each["fault"] for each in listed} == set(get_args(FaultName))
    assert all(each["fault"] in told.out for each in listed)
