"""Every route × every method × every kind of caller, asked for real and held against the policy."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from headworks.core.keys import RANDOM_BYTES, mint
from headworks.stores.keystore import Grant, KeyStore
from headworks.stores.pepper import load_pepper
from headworks.system import SystemClock
from tests.faults.processes import Gateway, Reply, ask, gateway_of, line_to, request
from tests.upstream.scripted import Wire, serve, whole

METHODS = (
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND",
)  # fmt: skip
MODEL = "gpt-6-sol"
CONFIGURATION = """\
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", drain: 2s}}
store: sqlite:{folder}/books.db
log: {{level: error}}
upstreams:
  up:
    base_url: http://127.0.0.1:{port}/v1
    credentials: [{{name: main, api_key: upstream-key-0123456789}}]
    admin_credential: {{api_key: upstream-admin-0123456789}}
keys:
  - {{name: open, secret: "open-{pad}", project: a}}
  - {{name: elsewhere, secret: "elsewhere-{pad}", project: b}}
  - {{name: fitting, secret: "fitting-{pad}", models: [gpt-6-sol]}}
  - {{name: narrow, secret: "narrow-{pad}", models: [another]}}
  - {{name: minting, secret: "minting-{pad}", client_tokens: {{}}}}
  - {{name: ops, secret: "ops-{pad}", scopes: [admin]}}
  - {{name: expired, secret: "expired-{pad}", expires: 2020-01-01}}
"""
_PAD = "0123456789-0123456789"


@dataclass(frozen=True, slots=True)
class Rule:
    """What one kind of caller gets for one method of one path.

    Attributes:
        model: Whether the request names a model.
    """

    path: str
    method: str
    model: bool
    column: str
    status: int


def rules(table: str) -> Iterator[Rule]:
    """Yield the rules of a policy table, one for each method."""
    head, *rows = table.strip().splitlines()
    columns = head.split()[2:]
    named: dict[tuple[str, bool], set[str]] = {}
    for row in rows:
        path, *words = row.split()
        model = "{none}" not in words
        words = [word for word in words if word != "{none}"]
        methods, statuses = words[: -len(columns)], words[-len(columns) :]
        seen = named.setdefault((path, model), set())
        if methods == ["*"]:
            methods = [method for method in METHODS if method not in seen]
        assert methods, f"no method is left for {row!r}"
        assert not seen & set(methods), f"named twice: {row!r}"
        seen |= set(methods)
        for method in methods:
            for column, status in zip(columns, statuses, strict=True):
                yield Rule(path, method, model, column, int(status))


def paths(table: str) -> set[str]:
    """Return the paths that a policy names."""
    return {rule.path for rule in rules(table)}


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the application does not follow the policy."""

    role: str
    rule: Rule
    got: int


@dataclass
class Matrix:
    """A gateway, everybody who may come to it, and what its provider got to see.

    Attributes:
        roles: Keys by role, None for a caller without one; and the column that each belongs to.
        passed: The numbers of the requests that reached the provider; `granted` of those that may.
        asked: How many requests were made.
    """

    gateway: Gateway
    roles: Mapping[str, tuple[str | None, str]]
    passed: set[int]
    granted: set[int] = field(default_factory=set)
    asked: int = 0

    async def differences(self, table: str) -> list[Difference]:
        """Ask for everything in the data plane's policy; return what does not follow it."""
        found = await asyncio.gather(
            *(self._ask(role, rule) for rule in rules(table) for role in self._in(rule.column))
        )
        return [one for one in found if one is not None]

    def _in(self, column: str) -> list[str]:
        return [role for role, (_, known) in self.roles.items() if known == column]

    async def _ask(self, role: str, rule: Rule) -> Difference | None:
        key = self.roles[role][0]
        self.asked += 1
        if rule.status == 200:
            self.granted.add(self.asked)
        headers = {"connection": "close", "x-client-request-id": str(self.asked)}
        content = request(
            _body(rule), line=f"{rule.method} {rule.path} HTTP/1.1", key=key or "", headers=headers
        )
        if key is None:
            content = content.replace(b"authorization: Bearer \r\n", b"")
        got = (await head_of(self.gateway.port, content)).status
        return None if got == rule.status else Difference(role, rule, got)

    async def admin_differences(self, table: str) -> list[Difference]:
        """Ask the admin plane, with and without a key; return what does not follow its policy."""
        found: list[Difference] = []
        hosts = {"loopback": "localhost", "unnamed": None, "foreign": "evil.example"}
        for rule in rules(table):
            for key in (None, self.roles["open"][0]):
                fields = {"host": hosts[rule.column], "connection": "close"}
                fields["authorization"] = key and f"Bearer {key}"
                lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
                content = f"{rule.method} {rule.path} HTTP/1.1\r\n{lines}\r\n".encode()
                self.asked += 1
                got = (await head_of(self.gateway.admin, content)).status
                if got != rule.status:
                    found.append(Difference(f"key={bool(key)}", rule, got))
        return found


def _body(rule: Rule) -> bytes:
    if rule.method in {"GET", "HEAD", "DELETE"}:
        return b""
    fields = {"messages": [{"role": "user", "content": "Hello"}], "input": "Hello"}
    return json.dumps({"model": MODEL, **fields} if rule.model else fields).encode()


async def head_of(port: int, content: bytes) -> Reply:
    """Send a request and return the head of its answer."""
    async with line_to(port) as line:
        line.writer.write(content)
        reply = Reply()
        await asyncio.wait_for(line.head(reply), 20)
        return reply


_ANSWER = b'{"object": "list", "data": [], "choices": [], "usage": {"prompt_tokens": 1}}'


@asynccontextmanager
async def matrix(folder: Path) -> AsyncGenerator[Matrix]:
    """Run a gateway with a key of every kind, before a provider that grants everything."""
    passed: set[int] = set()

    async def grant(wire: Wire) -> None:
        while True:
            content = await wire.request()
            passed.add(int(content.partition(b"x-client-request-id: ")[2].partition(b"\r\n")[0]))
            length = _ANSWER if not content.startswith(b"HEAD") else b""
            await wire.send(whole(length, fields=b"content-type: application/json\r\n"))

    async with serve(grant) as server:
        file = folder / "headworks.yaml"
        file.write_text(CONFIGURATION.format(folder=folder, port=server.port, pad=_PAD))
        revoked = _revoked(folder)
        async with gateway_of(file) as gateway:
            token = await _minted(gateway.port)
            yield Matrix(gateway, {**_roles(revoked), "token": (token, "token")}, passed)


def _revoked(folder: Path) -> str:
    """Make a key in the store and revoke it."""
    store = KeyStore(folder / "books.db", SystemClock().time)
    _, secret = store.create(Grant("gone"), load_pepper(folder / "books.db"))
    store.revoke("gone")
    return secret.reveal()


async def _minted(port: int) -> str:
    """Return a client token of a key without restriction."""
    line = "POST /api/client-tokens HTTP/1.1"
    reply = await ask(port, request(b'{"user": "u42"}', line=line, key=f"minting-{_PAD}"))
    return str(json.loads(reply.body)["token"])


def _roles(revoked: str) -> dict[str, tuple[str | None, str]]:
    unknown = mint(bytes(RANDOM_BYTES)).secret.reveal()
    return {
        "no key": (None, "strangers"),
        "empty key": ("", "strangers"),
        "malformed key": ("hw_not-a-key", "strangers"),
        "mistyped key": (unknown[:-1] + "x", "strangers"),
        "unknown key": (unknown, "strangers"),
        "revoked key": (revoked, "strangers"),
        "expired key": (f"expired-{_PAD}", "strangers"),
        "longer key": (f"open-{_PAD}x", "strangers"),
        "shorter key": (f"open-{_PAD}"[:-1], "strangers"),
        "narrow key": (f"narrow-{_PAD}", "narrow"),
        "fitting key": (f"fitting-{_PAD}", "fitting"),
        "open": (f"open-{_PAD}", "open"),
        "another project's key": (f"elsewhere-{_PAD}", "open"),
        "a key with the scope": (f"ops-{_PAD}", "admin"),
    }
