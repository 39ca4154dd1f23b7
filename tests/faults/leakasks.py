"""What fifty tenants ask, each call with a tag of its own in head and body, and what they are told."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from headworks.core.client_tokens import Asked
from headworks.stores.client_tokens import Minted
from headworks.types import Secret
from tests.faults.leakfindings import Findings
from tests.faults.liar import LARGE, TAG
from tests.faults.processes import Reply

TENANTS = 50
CONFIGURATION = """\
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", drain: 5s}}
store: sqlite:{folder}/books.db
log: {{level: debug}}
retry: {{first: 1ms, longest: 2ms}}
upstreams:
  up:
    base_url: http://127.0.0.1:{port}/v1
    credentials: [{{name: main, api_key: upstream-key-0123456789}}]
    timeouts: {{first_byte: 5s, idle: 5s}}
    breaker: false
    retry_budget: {{floor: 10000}}
models:
  assistant: {{routes: [up/gpt-6-sol, up/gpt-6-luna], patience: 0s}}
  hurried: {{routes: [up/gpt-6-sol, up/gpt-6-luna], patience: 0s, hedge: {{after: 1ms, share: 1}}}}
  embedder: {{routes: [up/text-embedding-3-small], patience: 0s}}
  scribe: {{routes: [up/whisper-1], patience: 0s}}
keys:
"""
KINDS = {
    "chat": 34,
    "stream": 14,
    "words": 4,
    "sentences": 3,
    "interval": 3,
    "hedged": 3,
    "response": 9,
    "response stream": 6,
    "embeddings": 16,
    "upload": 4,
    "chunked upload": 4,
}
"""What is asked for, and how often of a hundred times."""
STREAMS = frozenset({"stream", "words", "sentences", "interval", "response stream"})
_CHAT = b'{"model": "%b", "stream": %b, "messages": [{"role": "user", "content": "%b"}]}'
_RESPONSE = b'{"model": "assistant", "stream": %b, "input": "%b"}'
_EMBEDDINGS = b'{"model": "embedder", "input": ["%b"], "dimensions": 2}'
_BOUNDARY = b"a-boundary-of-ours"
_PART = b'--%b\r\ncontent-disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
_REPEATED = 40
"""Idempotency keys of each tenant, by the same names."""

Mint = Callable[[Secret, Asked], Minted]


def key_of(tenant: int) -> str:
    """Return a tenant's key."""
    return f"tenant-{tenant:02}-0123456789-0123456789"


def write_configuration(folder: Path, port: int) -> Path:
    """Write a configuration with a key for each tenant, which may mint client tokens."""
    keys = (
        f"  - {{name: t{n:02}, secret: {key_of(n)}, project: p{n:02}, client_tokens: {{}}}}\n"
        for n in range(TENANTS)
    )
    file = folder / "headworks.yaml"
    file.write_text(CONFIGURATION.format(folder=folder, port=port) + "".join(keys))
    return file


@dataclass(slots=True)
class Ask:
    """One call of a tenant.

    Attributes:
        own: The tags that may be in its answer: its own, and those of the calls that are the same.
        traits: What is special about it.
    """

    tag: str
    kind: str
    path: str
    key: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    own: set[bytes]
    traits: list[str]

    @property
    def is_chunked(self) -> bool:
        return self.kind == "chunked upload"

    def bytes(self) -> bytes:
        """Return the request as it goes over the wire."""
        size = b"%d" % len(self.body)
        framing = (b"transfer-encoding", b"chunked") if self.is_chunked else (b"content-length", size)  # fmt: skip
        fields = [
            (b"host", b"gateway"),
            (b"authorization", f"Bearer {self.key}".encode()),
            framing,
            *self.headers,
        ]
        head = b"".join(b"%b: %b\r\n" % field for field in fields)
        body = self.body
        if self.is_chunked:
            cuts = (body[:100], body[100:])
            body = b"".join(b"%x\r\n%b\r\n" % (len(cut), cut) for cut in cuts) + b"0\r\n\r\n"
        return b"POST %b HTTP/1.1\r\n%b\r\n%b" % (self.path.encode(), head, body)


@dataclass
class Crowd:
    """Makes up calls, and reads what is answered.

    Attributes:
        left: How many calls are still to be made.
        cancelled: How many calls were left or cancelled before their end.
        seen: How often calls of each kind and trait got their answer.
        unforeseen: What broke calls, and is no answer of ours.
    """

    chance: random.Random
    mint: Mint
    left: int = 0
    findings: Findings = field(default_factory=Findings)
    owned: dict[bytes, set[bytes]] = field(default_factory=dict[bytes, set[bytes]])
    statuses: Counter[int] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    cancelled: int = 0
    unforeseen: list[str] = field(default_factory=list[str])
    _kept: dict[tuple[int, int], Ask] = field(default_factory=dict[tuple[int, int], Ask])

    def next_ask(self, tenant: int) -> Ask:
        """Return a tenant's next call."""
        self.left -= 1
        chance, tag = self.chance, f"t{tenant:02}-{len(self.findings.calls):06}"
        self.findings.calls[tag] = None
        [kind] = chance.choices(tuple(KINDS), tuple(KINDS.values()))
        ask = Ask(tag, kind, "", key_of(tenant), _headers(tag), b"", {tag.encode()}, [])
        ask.path, kind_of_body, ask.body = self._body(kind, tag)
        ask.headers.append((b"content-type", kind_of_body))
        if kind in {"words", "sentences", "interval"}:
            ask.headers.append((b"x-headworks-buffer", kind.encode()))
        if chance.random() < 0.1:
            asked = Asked(user=tag, expires_in=600.0, feature=tag, tags=(tag,))
            ask.key = self.mint(Secret(ask.key), asked).text.reveal()
            ask.traits.append("client token")
        if chance.random() < 0.15:
            self._repeat(ask, tenant)
        self.owned[tag.encode()] = ask.own
        return ask

    def _body(self, kind: str, tag: str) -> tuple[str, bytes, bytes]:
        """Return path, content type and body of a request."""
        text = (tag + (LARGE if self.chance.random() < 0.003 else "")).encode()
        stream = b"true" if kind in STREAMS else b"false"
        json_ = b"application/json"
        if kind in {"response", "response stream"}:
            return "/v1/responses", json_, _RESPONSE % (stream, text)
        if kind == "embeddings":
            return "/v1/embeddings", json_, _EMBEDDINGS % text
        if kind in {"upload", "chunked upload"}:
            form = b"multipart/form-data; boundary=" + _BOUNDARY
            return "/v1/audio/transcriptions", form, _form(text + self._recording())
        model = b"hurried" if kind == "hedged" else b"assistant"
        return "/v1/chat/completions", json_, _CHAT % (model, stream, text)

    def _recording(self) -> bytes:
        """Return a file, now and then one that is larger than what is held of a body."""
        return bytes(400_000) if self.chance.random() < 0.03 else b""

    def _repeat(self, ask: Ask, tenant: int) -> None:
        """Give a call an idempotency key, which other tenants use too, and mostly its old body."""
        number = self.chance.randrange(_REPEATED)
        ask.headers.append((b"idempotency-key", b"again-%d" % number))
        before = self._kept.get((tenant, number))
        if "client token" in ask.traits:
            ask.traits.append("idempotency key of another user")
        elif before is None:
            self._kept[tenant, number] = ask
        elif self.chance.random() < 0.9:
            before.own.update(ask.own)
            ask.kind, ask.path, ask.body, ask.own = (
                before.kind,
                before.path,
                before.body,
                before.own,
            )
            ask.headers = [field for field in ask.headers if field[0] != b"content-type"]
            ask.headers.append((b"content-type", dict(before.headers)[b"content-type"]))
            ask.traits.append("repeated")
        else:
            ask.traits.append("idempotency key of another body")

    def judge(self, ask: Ask, reply: Reply) -> None:
        """Read an answer, head and body, as far as it came."""
        findings, told = self.findings, reply.body + json.dumps(reply.headers).encode()
        findings.look("answer", told, ask.own)
        self.statuses[reply.status] += 1
        self.findings.calls[ask.tag] = reply.headers.get("x-headworks-call")
        if reply.status != 200 or not reply.has_ended:
            return
        if b"HTTP/1.1 200" in reply.body:  # half an answer was filled up with another one to us
            self.seen["garbled"] += 1
            return
        is_told = not ask.own.isdisjoint(TAG.findall(reply.body))
        findings.demand("answer says its tag", ask.tag, holds=is_told)
        self.seen[ask.kind] += 1
        self.seen.update(ask.traits)
        self.seen["replayed"] += "x-headworks-replay-of" in reply.headers
        self.seen["made good"] += reply.headers.get("x-headworks-attempts", "1") != "1"


def _headers(tag: str) -> list[tuple[bytes, bytes]]:
    names = (b"user", b"feature", b"session", b"tags")
    text = tag.encode()
    told = [(b"x-headworks-" + name, text) for name in names]
    return [(b"x-client-request-id", text), *told]


def _form(text: bytes) -> bytes:
    """Return a form with a file, and its model before that."""
    file = b'; filename="a.wav"\r\ncontent-type: audio/wav'
    parts: Iterable[tuple[bytes, bytes, bytes]]
    parts = ((b"model", b"", b"scribe"), (b"file", file, text), (b"prompt", b"", text[:10]))
    return b"".join(_PART % (_BOUNDARY, *part) for part in parts) + b"--%b--\r\n" % _BOUNDARY
