"""Forty secrets, and every path on which one could get lost: requests, errors, commands, crashes."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from headworks.core.keys import RANDOM_BYTES, mint
from tests.faults.canary import Planted, noise
from tests.faults.processes import Reply, line_to
from tests.upstream.scripted import Wire, serve, whole

# What is secret.

CONFIGURED = {
    "UPSTREAM_KEY": "sk-proj-" + noise("upstream"),
    "SPARE_KEY": "sk-svcacct-" + noise("spare"),
    "OTHER_KEY": "sk-" + noise("other"),
    "PEPPER": noise("pepper"),
    "CALLER_KEY": "app-" + noise("caller"),
    "NARROW_KEY": "narrow-" + noise("narrow"),
    "TIGHT_KEY": "tight-" + noise("tight"),
    "EXPIRED_KEY": "expired-" + noise("expired"),
    "PROXY_PASSWORD": noise("proxy"),
}
"""Secrets that the configuration names, by environment variable."""

WRONG_KEY = mint(bytes(range(RANDOM_BYTES))).secret.reveal()
SENT = {
    "unknown key": WRONG_KEY,
    "malformed key": "hw_" + noise("malformed"),
    "provider's key as key": "sk-proj-" + noise("caller's own provider key"),
    "basic password": noise("basic"),
    "api-key": noise("api-key"),
    "x-api-key": noise("x-api-key"),
    "cookie": noise("cookie"),
    "organization": "org-" + noise("organization"),
    "project": "proj_" + noise("project"),
    "proxy-authorization": noise("proxy-authorization"),
    "x-forwarded-authorization": noise("forwarded"),
    "unknown header": noise("unknown header"),
    "query": noise("query"),
    "path": noise("path"),
    "request line": noise("request line"),
    "large header": noise("large header"),
}
"""Secrets that callers send outside of a body."""

SAID = {
    "cloud key": "AKIA" + noise("cloud", 16).upper() + "/" + noise("cloud secret"),
    "source key": "ghp_" + noise("source", 36),
    "chat key": "xoxb-" + noise("chat", 24),
    "payment key": "sk_live_" + noise("payment", 24),
    "private key": "-----BEGIN PRIVATE KEY-----\n" + noise("private", 64),
    "token": f"eyJhbGciOiJIUzI1NiJ9.{noise('claims')}.{noise('signature')}",
    "password": "my password is " + noise("password"),
    "connection": f"postgresql://app:{noise('connection')}@db/app",
    "tool argument": noise("tool"),
    "image address": f"https://files.example/x.png?signature={noise('image')}",
    "metadata": noise("metadata"),
    "invalid JSON": noise("invalid JSON"),
    "deep JSON": noise("deep JSON"),
}
"""Secrets that callers write into bodies, which are not stored."""

ANSWERED = {
    "set-cookie": noise("set-cookie"),
    "answer": noise("answer"),
    "error page": noise("error page"),
    "malformed answer": noise("malformed answer"),
    "malformed event": noise("malformed event"),
    "redirect": noise("redirect"),
    "answer's header": noise("answer's header"),
    "answer's trailer": noise("answer's trailer"),
}
"""Secrets that a provider sends."""

MISPLACED = {
    "unknown setting": noise("unknown setting"),
    "broken key": noise("broken") + " \n" + noise("broken on"),
    "wrong type": noise("wrong type"),
}
"""Secrets that stand where the configuration is wrong."""

PEPPER_FILE = ".pepper"


def planted() -> list[Planted]:
    """Return everything that is secret."""
    known = {**CONFIGURED, **SENT, **SAID, **ANSWERED, **MISPLACED}
    begins = {"unknown key": WRONG_KEY.rindex("_") + 1}
    for name, value in SAID.items():
        begins[name] = value.rindex(value[-24:]) if name != "source key" else 4
    return [Planted(name, value, begins.get(name, 0)) for name, value in known.items()]


# The configuration.

CONFIGURATION = """\
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", drain: 2s, max_body: 100KB}}
store: sqlite:{folder}/books.db
key_pepper: "${{env:PEPPER}}"
log: {{level: debug, format: {style}}}
retry: {{first: 1ms, longest: 2ms}}
upstreams:
  up:
    base_url: http://127.0.0.1:{port}/v1
    credentials:
      - {{name: main, api_key: "${{env:UPSTREAM_KEY}}", organization: org-known}}
      - {{name: spare, api_key: "${{env:SPARE_KEY}}"}}
    timeouts: {{connect: 1s, first_byte: 300ms, idle: 300ms, total: 2s}}
  far:
    base_url: https://provider.invalid/v1
    proxy: "http://user:${{env:PROXY_PASSWORD}}@127.0.0.1:{port}"
    credentials: [{{name: main, api_key: "${{env:OTHER_KEY}}"}}]
models:
  assistant: {{routes: [up/gpt-6-sol, up/gpt-6-luna]}}
  far: {{routes: [far/gpt-6-sol]}}
keys:
  - {{name: app, secret: "${{env:CALLER_KEY}}"}}
  - {{name: narrow, secret: "${{env:NARROW_KEY}}", models: [other]}}
  - {{name: tight, secret: "${{env:TIGHT_KEY}}", limits: {{rpm: 1, parallel: 1}}}}
  - {{name: expired, secret: "${{env:EXPIRED_KEY}}", expires: 2020-01-01}}
"""
WRONG_CONFIGURATIONS = (
    'serverr: "{unknown}"\n',
    'log: {{level: "{wrong}"}}\n',
    'upstreams: {{up: {{base_url: "https://u:{wrong}@h/v1", credentials: [{{name: a, api_key: "${{env:UPSTREAM_KEY}}"}}]}}}}\n',
    'upstreams: {{up: {{base_url: "https://h/v1", credentials: [{{name: a, api_key: "${{env:BROKEN}}"}}]}}}}\n',
    'upstreams: {{up: {{base_url: "https://h/v1", proxy: "ftp://u:{wrong}@h", credentials: [{{name: a, api_key: x}}]}}}}\n',
    'keys: [{{name: a, secret: "{wrong}", limits: {{rpm: -1}}}}]\n',
    'keys: [{{name: a, secret: ["{wrong}"]}}]\n',
    'key_pepper: ["{wrong}"]\n',
    'keys: [{{name: a, secret: "{wrong}", secrett: "{unknown}"}}]\n',
    'keys: [{{name: a, secret: "{wrong}"}}, {{name: b, secret: "{wrong}"}}]\n',
    'keys: [{{name: a, secret: "{wrong}"\n',
)
"""Each has a mistake beside a secret."""


def wrong_configurations() -> Iterator[str]:
    """Yield configurations that are refused."""
    words = {"unknown": MISPLACED["unknown setting"], "wrong": MISPLACED["wrong type"]}
    for text in WRONG_CONFIGURATIONS:
        yield text.format(**words)


# The provider.


@dataclass
class Blabber:
    """A provider that does what the prompt's first word says, and says what it should not.

    Attributes:
        keys: The Authorization fields that it got.
    """

    keys: set[bytes] = field(default_factory=set)

    async def __call__(self, wire: Wire) -> None:
        while True:
            await self.answer(wire)

    async def answer(self, wire: Wire) -> None:
        content = await wire.request()
        head, _, body = content.partition(b"\r\n\r\n")
        if head.startswith(b"CONNECT"):
            await wire.send(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n")
            raise ConnectionError
        self.keys |= {line for line in head.split(b"\r\n") if line.startswith(b"authorization")}
        words = json.loads(body)["messages"][0]["content"] if b"messages" in body else ["well"]
        order = words.split()[0] if isinstance(words, str) else "well"
        tell = getattr(self, f"tell_{order}", None)
        if tell is not None:
            await tell(wire, head)
        else:
            await self.refuse(wire, int(order), head)

    async def refuse(self, wire: Wire, status: int, head: bytes) -> None:
        """Refuse, and repeat the key where a provider would: in an answer about the key."""
        key = next(line for line in head.split(b"\r\n") if line.startswith(b"authorization"))
        says = f"No: {key.decode()}" if status in {401, 403} else "No."
        code = "invalid_api_key" if status in {401, 403} else "rate_limit_exceeded"
        error = {"message": says, "type": "t", "code": code if status != 400 else "c"}
        await wire.send(whole(json.dumps({"error": error}).encode(), status, fields=_FIELDS))

    async def tell_well(self, wire: Wire, _head: bytes) -> None:
        message = {"role": "assistant", "content": "Well."}
        answer = {"choices": [{"index": 0, "message": message}], "usage": _USAGE}
        await wire.send(whole(json.dumps(answer).encode(), fields=_FIELDS))

    async def tell_secret(self, wire: Wire, _head: bytes) -> None:
        """Answer with a secret: for the caller alone, not for the log."""
        message = {"role": "assistant", "content": ANSWERED["answer"]}
        answer = {"choices": [{"index": 0, "message": message}], "usage": _USAGE}
        await wire.send(whole(json.dumps(answer).encode(), fields=_FIELDS))

    async def tell_page(self, wire: Wire, head: bytes) -> None:
        page = f"<html>{ANSWERED['error page']} {head.decode('latin-1')}</html>"
        await wire.send(whole(page.encode(), 502, fields=b"content-type: text/html\r\n"))

    async def tell_nonsense(self, wire: Wire, head: bytes) -> None:
        text = f'{{"choices": {ANSWERED["malformed answer"]} {head.decode("latin-1")}'
        await wire.send(whole(text.encode(), fields=b"content-type: application/json\r\n"))

    async def tell_garbage(self, wire: Wire, head: bytes) -> None:
        await wire.send(b"%b %b\r\n\r\n" % (ANSWERED["malformed answer"].encode(), head[:40]))
        raise ConnectionError

    async def tell_events(self, wire: Wire, head: bytes) -> None:
        event = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'
        bad = b"data: {%b %b}\n\n" % (ANSWERED["malformed event"].encode(), head)
        await wire.send(_STREAM + b"%x\r\n%b\r\n" % (len(event), event))
        await wire.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(bad), bad))

    async def tell_half(self, wire: Wire, _head: bytes) -> None:
        event = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'
        await wire.send(_STREAM + b"%x\r\n%b\r\n" % (len(event), event))
        raise ConnectionError

    async def tell_nothing(self, wire: Wire, _head: bytes) -> None:
        await wire.gone()

    async def tell_elsewhere(self, wire: Wire, _head: bytes) -> None:
        place = f"location: http://127.0.0.1:1/?key={ANSWERED['redirect']}\r\n"
        await wire.send(whole(b"", 302, fields=place.encode()))


_USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
_FIELDS = (
    b"content-type: application/json\r\nset-cookie: session=%b\r\nx-echo: %b\r\nserver: %b\r\n"
    % (
        ANSWERED["set-cookie"].encode(),
        ANSWERED["answer's header"].encode(),
        ANSWERED["answer's header"].encode(),
    )
)
_STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
ORDERS = (
    "well", "secret", "400", "401", "403", "404", "429", "500", "503",
    "page", "nonsense", "garbage", "events", "half", "nothing", "elsewhere",
)  # fmt: skip


@asynccontextmanager
async def blabber() -> AsyncGenerator[tuple[Blabber, int]]:
    """Run the provider."""
    script = Blabber()
    async with serve(script) as server:
        yield script, server.port


# The requests.


def message(
    body: bytes = b"",
    *,
    line: str = "POST /v1/chat/completions HTTP/1.1",
    key: str | None = CONFIGURED["CALLER_KEY"],
    **more: str,
) -> bytes:
    """Return a request that carries every secret that a head can hold."""
    fields = {
        "host": "gateway",
        "content-type": "application/json",
        "content-length": str(len(body)),
        "cookie": f"session={SENT['cookie']}",
        "openai-organization": SENT["organization"],
        "openai-project": SENT["project"],
        "proxy-authorization": f"Basic {_base64('p:' + SENT['proxy-authorization'])}",
        "x-forwarded-authorization": SENT["x-forwarded-authorization"],
        "x-secret-thing": SENT["unknown header"],
        "x-api-key": SENT["x-api-key"],
        "connection": "close",
    }
    if key is not None:
        fields["authorization"] = f"Bearer {key}"
    fields |= {name.replace("_", "-"): value for name, value in more.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    return f"{line}\r\n{lines}\r\n".encode("latin-1") + body


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def prompt(order: str = "well", *, model: str = "assistant", stream: bool = False) -> bytes:
    """Return a body that carries every secret that a body can hold."""
    arguments = json.dumps({"key": SAID["tool argument"]})
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    parts = [{"type": "image_url", "image_url": {"url": SAID["image address"]}}]
    messages = [
        {"role": "user", "content": f"{order} {' '.join(SAID.values())}"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "user", "content": parts},
    ]
    metadata = {"secret": SAID["metadata"]}
    return json.dumps(
        {"model": model, "stream": stream, "messages": messages, "metadata": metadata}
    ).encode()


def requests() -> Iterator[bytes]:
    """Yield requests that end in every way in which one can end."""
    keys = (*SENT.values(), None)
    yield from (message(prompt(), key=key) for key in keys[:3])
    yield message(prompt(), key=None)
    yield message(prompt(), authorization=f"Basic {_base64('u:' + SENT['basic password'])}")
    yield message(prompt(), authorization=SENT["unknown key"])
    yield message(prompt(), key=None, api_key=SENT["api-key"])
    yield message(prompt(), api_key=SENT["api-key"])
    yield message(prompt(), key=CONFIGURED["EXPIRED_KEY"])
    yield message(prompt(), key=CONFIGURED["NARROW_KEY"])
    yield message(b"", line="GET /v1/files HTTP/1.1", key=CONFIGURED["NARROW_KEY"])
    yield message(prompt(), key=CONFIGURED["TIGHT_KEY"])
    yield message(prompt(), key=CONFIGURED["TIGHT_KEY"])
    for order in ORDERS:
        yield message(prompt(order))
        yield message(prompt(order, stream=True))
    yield message(prompt("well", model="far"))
    yield from _at_the_door()


def _at_the_door() -> Iterator[bytes]:
    """Yield requests that are refused before or while they are read."""
    secret, line = SENT["query"], "POST /v1/chat/completions HTTP/1.1"
    yield message(prompt(), line=f"POST /v1/chat/completions?api_key={secret} HTTP/1.1")
    yield message(line=f"GET /v1/files/{SENT['path']} HTTP/1.1")
    yield message(line=f"GET /v1/organization/{SENT['path']} HTTP/1.1")
    yield message(line=f"GET /secrets/{SENT['path']} HTTP/1.1")
    yield message(line=f"PATCH /v1/models?{secret} HTTP/1.1")
    yield message(line=f"GET {SENT['request line']} HTTP/1.1")
    yield message(line=f"GET /{SENT['request line']}\x01 HTTP/9.1")
    yield message(line=f"GET /v1/{SENT['request line'] * 300} HTTP/1.1")
    yield message(x_large=SENT["large header"] * 500)
    yield message(b"{" + SAID["invalid JSON"].encode())
    yield message(b'{"model": "a", "model": "%b"}' % SAID["invalid JSON"].encode())
    yield message(b"[" * 200_000 + SAID["deep JSON"].encode())
    yield message(b'{"model": 1, "messages": "%b"}' % SAID["deep JSON"].encode())
    yield message(prompt(), content_encoding="gzip")
    yield message(prompt(), expect=SENT["unknown header"])
    yield message(prompt(), upgrade="websocket")
    yield message(prompt(), content_length="9" * 30)
    yield message(prompt(), host="a@" + SENT["unknown header"])
    yield message(prompt(), x_headworks_deadline=SENT["unknown header"])
    yield message(prompt(), line=line, content_length=str(len(prompt()) + 999))


async def send_all(port: int) -> list[Reply]:
    """Send every request, each on a connection of its own; return what came back."""
    return await asyncio.gather(*(_send(port, content) for content in requests()))


async def _send(port: int, content: bytes) -> Reply:
    async with line_to(port) as line:
        line.writer.write(content)
        if b"%d" % (len(prompt()) + 999) in content:
            line.writer.write_eof()  # a body that ends too soon
        return await asyncio.wait_for(line.reply(), 20)


def configure(folder: Path, port: int, style: str) -> None:
    """Write the configuration."""
    text = CONFIGURATION.format(folder=folder, port=port, style=style)
    (folder / "headworks.yaml").write_text(text)
