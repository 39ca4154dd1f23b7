"""A whole engine before a practice OpenAI whose models have small windows."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headworks.build import Assembly
from headworks.config.loading import load
from headworks.config.settings import Config
from headworks.core.intake import read_request
from headworks.simulator import FaultRule, SimulatedModel
from headworks.testing import RecordingJournal
from headworks.testing.practice import Practice, practise
from headworks.types import Call, Fitted, Response, Secret

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
KEY = "first-key-0123456789"
NARROW = 600
DOCUMENT = """\
store: sqlite:{folder}/store.db
upstreams:
  up:
    base_url: {url}
    credentials: [{{name: main, api_key: {key}}}]
models:
  assistant: {{routes: [up/gpt-6-sol], context: {context}}}
  plain: {{routes: [up/gpt-6-sol]}}
  small: {{routes: [up/gpt-6-luna]}}
  big: {{routes: [up/gpt-6-astra]}}
keys: [{{name: first, secret: {mine}}}]
retry: {{first: 10ms, longest: 20ms}}
"""
FAILING = FaultRule("status", status=500, model="gpt-6-luna")


def document(context: str, folder: Path, url: str = "http://127.0.0.1:1/v1", key: str = "sk-simulator") -> str:  # fmt: skip
    return DOCUMENT.format(context=context, folder=folder, url=url, key=key, mine=KEY)


def configured(context: str, folder: Path, *place: str) -> Config:
    """Return a configuration whose `assistant` has such a `context`."""
    content = document(context, folder, *place).encode()
    return load(Path("headworks.yaml"), {}, lambda _: content)


@dataclass
class Got:
    """An answer, what became of the call, and how its request was shortened."""

    response: Response
    body: bytes
    call: Call

    @property
    def header(self) -> str | None:
        found = dict(self.response.headers).get(b"x-headworks-context")
        return None if found is None else found.decode()

    @property
    def fitted(self) -> Fitted:
        assert self.call.fitted is not None
        return self.call.fitted


@dataclass
class Ground:
    """An assembly, its provider, and its journal."""

    assembly: Assembly
    practice: Practice
    journal: RecordingJournal

    async def ask(self, fields: dict[str, Any], path: str = CHAT, **headers: str) -> Got:
        """Make a call, or raise its error."""
        kind = ((b"content-type", b"application/json"),)
        more = tuple((f"x-headworks-{name}".encode(), value.encode()) for name, value in headers.items())  # fmt: skip
        body = json.dumps({"model": "assistant", **fields}).encode()
        request = read_request("POST", path, b"", (*kind, *more), body)
        async with self.assembly.engine.call(request, Secret(KEY)) as response:
            content = response.content
            got = content if isinstance(content, bytes) else b"".join([one async for one in content])  # fmt: skip
        return Got(response, got, self.journal.calls[-1])

    def asked(self, model: str = "gpt-6-sol") -> list[dict[str, Any]]:
        """Return what reached a model, oldest first."""
        return [one for one in self.practice.attempts() if one["model"] == model]


@asynccontextmanager
async def ground(context: str, folder: Path, *faults: FaultRule, narrow: int | None = NARROW) -> AsyncIterator[Ground]:  # fmt: skip
    """Run it; `narrow` is what really fits the model, whatever lists say."""
    models = {"gpt-6-sol": SimulatedModel(context=narrow)} if narrow else {}
    journal = RecordingJournal()
    with practise(models=models, faults=faults) as practice:
        config = configured(context, folder, practice.base_url, practice.api_key)
        assembly = Assembly(config, journals=(journal,))
        assembly.tokenizer.load_soon(["o200k_base"])
        assembly.tokenizer.wait_loaded()
        try:
            yield Ground(assembly, practice, journal)
        finally:
            await assembly.aclose()


def said(turns: int, words: int = 20) -> list[dict[str, Any]]:
    """Return a conversation that ends with a question; a turn is of twice as many words."""
    talk: list[dict[str, Any]] = [{"role": "system", "content": "Be brief."}]
    for turn in range(turns):
        talk += [
            {"role": "user", "content": f"Question {turn}: " + "what else " * (words // 2)},
            {"role": "assistant", "content": f"Answer {turn}: " + "nothing more " * (words // 2)},
        ]
    return [*talk, {"role": "user", "content": "And now?"}]
