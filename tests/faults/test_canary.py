"""No secret shows anywhere: not in a log, a metric, an answer, a file or a command's output."""

import asyncio
import base64
import json
import signal
from collections import Counter
from dataclasses import dataclass
from urllib.parse import quote

import pytest

from tests.faults.canary import LEAST, Planted, Scanner, noise
from tests.faults.failpoints import Failpoint
from tests.faults.nursery import Nursery, Victim, nursery
from tests.faults.planting import (
    CONFIGURED,
    MISPLACED,
    SENT,
    blabber,
    configure,
    message,
    planted,
    prompt,
    send_all,
    wrong_configurations,
)
from tests.faults.processes import Reply, ask, line_to
from tests.upstream.scripted import until

pytestmark = pytest.mark.anyio

ENVIRONMENT = {**CONFIGURED, "BROKEN": MISPLACED["broken key"]}
SECRET = Planted("it", noise("it"))


@dataclass(frozen=True)
class Spelled:
    """A secret, or a part of it, as it may lie in a sink."""

    name: str
    text: bytes


def spelled() -> list[Spelled]:
    raw = SECRET.value.encode()
    part = raw[9 : 9 + LEAST]
    return [
        Spelled("raw", raw),
        Spelled("part", b"..." + part + b"..."),
        Spelled("beginning", raw[:LEAST]),
        Spelled("end", raw[-LEAST:]),
        Spelled("lower case", part.lower()),
        Spelled("basic", base64.b64encode(b"user:" + raw)),
        *(Spelled(f"base64 at {n}", base64.b64encode(bytes(n) + raw + b"x")) for n in range(3)),
        Spelled("url-safe base64", base64.urlsafe_b64encode(b"\xff\xfe" + raw)),
        Spelled("hex", raw.hex().encode()),
        Spelled("percent", b"".join(b"%%%02X" % byte for byte in part)),
        Spelled("escaped", b"".join(b"\\u%04x" % byte for byte in part)),
        Spelled("utf-16", SECRET.value.encode("utf-16-le")),
        Spelled("reversed", raw[::-1]),
        Spelled("in a database page", bytes(4000) + raw + bytes(96)),
    ]


@pytest.mark.parametrize("case", spelled(), ids=lambda case: case.name)
def test_the_scanner_finds(case):
    """Whole or in part, in any spelling: what is planted is found."""
    scanner = Scanner([SECRET])
    [hit] = scanner.scan("sink", b"before " + case.text + b" after")
    assert (hit.sink, hit.secret) == ("sink", "it")
    assert scanner.hits == [hit]


def test_the_scanner_finds_odd_secrets():
    """Secrets with signs that other spellings change are found in those."""
    odd = 'a"b\\c d/e?f&g=h%i+j' + noise("odd")
    for text in (odd, json.dumps(odd), quote(odd), quote(odd, safe=""), quote(odd[:16])):
        assert Scanner([Planted("odd", odd)]).scan("sink", text.encode()), text


def test_the_scanner_finds_nothing_else():
    """What is no secret is none: other texts, parts that are too short, and what may be shown."""
    scanner = Scanner([SECRET, Planted("key", "hw_publicpart1_" + noise("key"), begins=15)])
    raw = SECRET.value.encode()
    assert not scanner.scan("sink", noise("another").encode() * 100)
    assert not scanner.scan("sink", raw[: LEAST - 1] + b" " + raw[LEAST:][: LEAST - 1])
    assert not scanner.scan("sink", b"hw_publicpart1_")
    assert not scanner.scan("sink", raw, without=["it"])


def scan_replies(scanner: Scanner, replies: list[Reply]) -> None:
    """Look into what callers were told: of their own they may hear what the provider said."""
    for reply in replies:
        text = json.dumps(reply.headers).encode() + reply.body
        scanner.scan("answers", text, without=["answer", "path"])


async def scan_gateway(scanner: Scanner, victim: Victim) -> None:
    """Look into what the admin plane tells, also when asked with secrets."""
    for path in ("/metrics", "/healthz", "/readyz", f"/{SENT['path']}"):
        for line in (f"GET {path} HTTP/1.1", f"POST {path}?{SENT['query']} HTTP/1.1"):
            reply = await ask(victim.admin, message(line=line, host="localhost"))
            assert reply.status
            scanner.scan("admin", json.dumps(reply.headers).encode() + reply.body)


async def run_gateway(place: Nursery, scanner: Scanner, end: signal.Signals) -> list[Reply]:
    """Drive a gateway through everything, look into it while it lives, and end it."""
    async with place.victim(environ=ENVIRONMENT) as victim:
        replies = await send_all(victim.port)
        scan_replies(scanner, replies)
        await scan_gateway(scanner, victim)
        await leave_in_the_middle(victim.port)
        scanner.scan_folder(place.folder, without=["headworks.yaml"])
        victim.signal(signal.SIGHUP)
        victim.signal(end)
        await asyncio.wait_for(victim.ended, 20)
    return replies


async def run_broken_gateway(place: Nursery, scanner: Scanner, where: str) -> None:
    """Let a gateway meet a defect that tells every secret."""
    point = Failpoint(where, hit=2, action="raise", secret=" ".join(CONFIGURED.values()))
    async with place.victim(point, environ=ENVIRONMENT) as victim:
        for order in ("well", "well", "secret", "500"):
            scan_replies(scanner, [await ask(victim.port, message(prompt(order)))])
        await scan_gateway(scanner, victim)
        victim.signal(signal.SIGTERM)
        assert await asyncio.wait_for(victim.ended, 20) == 0
    assert place.reached.exists(), where


async def leave_in_the_middle(port: int) -> None:
    """Send requests and hang up at once, or in the middle of the body."""
    for count in (200, 1200, 100_000):
        async with line_to(port) as line:
            line.writer.write(message(prompt("nothing"))[:count])
            await line.writer.drain()


REFUSALS = frozenset({
    "invalid_api_key", "model_not_allowed", "path_not_allowed", "path_not_found", "bad_request",
    "method_not_allowed", "body_too_large", "uri_too_long", "header_fields_too_large",
    "unsupported_media_type", "expectation_failed", "websocket_not_supported", "invalid_json",
    "invalid_request", "rate_limit_exceeded", "all_routes_failed", "upstream_unreachable",
})  # fmt: skip
"""Every way to refuse a request that needs no waiting; all carried secrets."""
STATUSES = frozenset({200, 400, 401, 403, 404, 405, 413, 414, 415, 417, 429, 431, 500, 501, 503})
RAISES = (
    "headworks.stores.keys:SqliteKeys.authenticate",
    "headworks.dispatch:Dispatcher.dispatch",
    "headworks.upstream.openai:render",
    "headworks.answer:Answer.open",
    "headworks.relay:Relay.relay",
    "headworks.observe.metrics:Metrics.record",
)
"""Where a defect is put that tells secrets."""


async def test_no_secret_shows(tmp_path, figure):
    """Every path, every error, debug level, both log formats, defects, kill -9: no secret shows."""
    scanner = Scanner(planted())
    assert len(planted()) >= 30
    replies: list[Reply] = []
    async with blabber() as (provider, port), nursery(tmp_path) as place:
        for style, end in (("json", signal.SIGTERM), ("text", signal.SIGKILL)):
            configure(tmp_path, port, style)
            replies += await run_gateway(place, scanner, end)
        for where in RAISES:
            await run_broken_gateway(place, scanner, where)
        await until(lambda: len(provider.keys) == 2)
        await run_commands(place, scanner)
    scanner.scan_folder(tmp_path, without=["headworks.yaml"])

    assert scanner.hits == []
    assert sum(scanner.read.values()) > 500_000
    logged = (tmp_path / "log").read_text()
    assert "***" in logged
    codes = {reply.error["code"] for reply in replies if reply.body.startswith(b'{"error"')}
    assert codes >= REFUSALS
    assert Counter(reply.status for reply in replies).keys() >= STATUSES
    assert "unforeseen" in logged
    figure(f"canary: {len(planted())} secrets, {sum(scanner.read.values()):,} bytes read in "
           f"{len(scanner.read)} sinks")  # fmt: skip


async def run_commands(place: Nursery, scanner: Scanner) -> None:
    """Run the commands, on a configuration that is right and on others that are wrong."""
    for words in (
        ["config", "show"],
        ["config", "validate"],
        ["keys", "list"],
        ["keys", "list", "--json"],
        ["usage", "--by", "key,user,credential", "--json"],
        ["ledger", "verify", "--json"],
        ["models", "list"],
    ):
        await run_command(place, scanner, words, code=0)
    for text in wrong_configurations():
        (place.folder / "wrong.yaml").write_text(text)
        for words in (["config", "validate"], ["config", "show"], ["serve"]):
            await run_command(place, scanner, [*words, "--config", "wrong.yaml"], code=1)
    (place.folder / "wrong.yaml").unlink()


async def run_command(place: Nursery, scanner: Scanner, words: list[str], *, code: int) -> None:
    out = await place.command(words, environ=ENVIRONMENT)
    assert place.code == code, (words, out[-2000:])
    scanner.scan("commands", out)


async def test_keys_that_are_made(tmp_path):
    """A key's secret is shown once, when it is made; after that it is nowhere, not even at rest."""
    async with blabber() as (_, port), nursery(tmp_path) as place:
        configure(tmp_path, port, "json")
        made: dict[str, str] = {}
        for name in ("kept", "rotated", "revoked"):
            out = await place.command(["keys", "create", "--name", name, "--json"], ENVIRONMENT)
            made[name] = json.loads(out)["secret"]
        out = await place.command(["keys", "rotate", "rotated", "--json"], ENVIRONMENT)
        made["new"] = json.loads(out)["secret"]
        assert (await place.command(["keys", "revoke", "revoked"], ENVIRONMENT), place.code)[1] == 0
        scanner = Scanner(
            [Planted(name, value, value.rindex("_") + 1) for name, value in made.items()]
        )
        for file in tmp_path.glob("out-*"):
            file.unlink()
        async with place.victim(environ=ENVIRONMENT) as victim:
            for key in made.values():
                for order in ("well", "401", "500", "nonsense"):
                    reply = await ask(victim.port, message(prompt(order), key=key))
                    scan_replies(scanner, [reply])
            await scan_gateway(scanner, victim)
            scanner.scan_folder(tmp_path)
        scanner.scan("list", await place.command(["keys", "list", "--json"], ENVIRONMENT))
        scanner.scan_folder(tmp_path)
    assert scanner.hits == []
    assert scanner.read["file books.db"] > 0
