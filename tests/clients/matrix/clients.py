"""The apps of the matrix, and what is known of each."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.clients.elsewhere import NODE_LOCK, ROOT, node_with_packages, python_lock, python_with
from tests.clients.ground import EMBEDDER, MODEL, NO_FAULT, WAYS

HERE = ROOT / "tests/clients/matrix/apps"
CHAT, RESPONSES = WAYS
FILES, BATCH, REALTIME, SOCKET = BESIDES = ("files", "batch", "realtime", "socket")
"""What belongs to neither way: what a provider keeps, and its APIs over a WebSocket."""
KEPT = (FILES, BATCH)
THIS = "dev"
"""The environment of the tests themselves; the others are named by their locks, or `node`."""

UNKNOWN_KEY = "hw_nobody"
FAILING = {
    "unknown key": (401, "invalid_api_key"),
    "no such model": (404, "model_not_found"),
    "unpaid": (429, "insufficient_quota"),
    "failing": (500, "server_error"),
}
"""Calls that fail, with status and code; the Responses API answers 400 for an unknown model."""

_OFFICIAL = ("AuthenticationError", "NotFoundError", "RateLimitError", "InternalServerError")
_PYDANTIC_AI = (
    "ModelAuthenticationError",
    "ModelNotFoundError",
    "ModelQuotaExceededError",
    "ModelServerError",
)
_LANGCHAIN = (
    "OpenAIAuthenticationError",
    "OpenAIModelNotFoundError",
    "OpenAIRateLimitError",
    "OpenAIAPIError",
)
_AI = ("APICallError", "APICallError", "RetryError", "RetryError")

NEVER_STREAMED = "36"
BROKEN = {
    "19": ("cut-clean-4", "upstream_stream_truncated"),
    "22": ("cut-rst-4", "upstream_stream_truncated"),
    "26": ("gives-up", "server_error"),
    NEVER_STREAMED: ("never-streams", ""),
}
"""Streams that clients may take for whole ones, and the code that the gateway gives them.

19 ends cleanly before its finish reason, 22 by a reset; 26 says in an event that it failed; 36 is
JSON where a stream was asked for, of which the gateway makes that stream.
"""
_SILENT = {CHAT: {"19", "36"}, RESPONSES: {"19", "26", "36"}}
_SILENT_IN_NODE = {CHAT: {"19", "36"}, RESPONSES: {"19", "36"}}


@dataclass(frozen=True)
class App:
    """An app, how to start it, and what it can tell.

    Attributes:
        package: Whose version the report names.
        raises: The classes of its errors, in the order of FAILING.
        tells: What a whole answer shows of `finish` and `id`; all show text and usage.
        silent: The broken streams that it takes for whole ones when it asks the provider directly.
        tries: How often it asks in all where nothing tells it not to.
        gated_tries: How often it does in spite of `x-should-retry: false`.
        pieces: Whether it shows a stream's pieces as they come.
        embeds: Whether it makes embeddings.
        also: What it can do besides asking, by `BESIDES`.
        loops: Whether it calls tools; else its tool is the shape of its answer.
    """

    name: str
    environment: str
    script: str
    argument: str = ""
    package: str = "openai"
    ways: tuple[str, ...] = WAYS
    raises: tuple[str, ...] = _OFFICIAL
    tells: frozenset[str] = frozenset({"finish", "id"})
    silent: Mapping[str, set[str]] = field(default_factory=lambda: _SILENT)
    tries: int = 3
    gated_tries: int = 1
    pieces: bool = True
    embeds: bool = True
    also: tuple[str, ...] = ()
    loops: bool = True

    def command(self) -> list[str]:
        """Return how to run it, once its environment is there."""
        if self.environment == "node":
            return [node_with_packages(), str(HERE / self.script), self.argument]
        is_here = self.environment == THIS
        python = sys.executable if is_here else str(python_with(self.environment))
        return [python, "-m", f"tests.clients.matrix.apps.{self.script}", self.argument]

    def locked(self) -> str:
        """Return the version that its environment's lock names."""
        if self.environment == "node":
            packages = json.loads(NODE_LOCK.read_text())["packages"]
            return str(packages[f"node_modules/{self.package}"]["version"])
        _, _, found = python_lock(self.environment).read_text().partition(f"\n{self.package}==")
        return found.split()[0]


APPS = (
    App("openai3-sync", THIS, "official", "sync", also=KEPT),
    App("openai3-async", THIS, "official", "async", also=KEPT),
    App("openai2-sync", "openai2", "official", "sync", also=KEPT),
    App("openai2-async", "openai2", "official", "async", also=KEPT),
    App("openai1", "openai1", "official", "sync", also=KEPT),
    App("node", "node", "on_node.mjs", "openai", silent=_SILENT_IN_NODE, also=BESIDES),
    App(
        "openai-agents",
        "frameworks",
        "on_agents",
        package="openai-agents",
        tells=frozenset({"id"}),
        embeds=False,
        silent={CHAT: {"19", "36"}, RESPONSES: set()},
    ),
    App(
        "pydantic-ai",
        "frameworks",
        "on_pydantic_ai",
        package="pydantic-ai-slim",
        raises=_PYDANTIC_AI,
        tells=frozenset({"finish"}),
        also=(BATCH,),
        silent={CHAT: {"19"}, RESPONSES: {"19"}},
    ),
    App(
        "langchain",
        "frameworks",
        "on_langchain",
        package="langchain-openai",
        raises=_LANGCHAIN,
        silent={CHAT: {"19"}, RESPONSES: {"19"}},
    ),
    App(
        "llama-index",
        "frameworks2",
        "on_llama_index",
        package="llama-index-llms-openai",
        tries=12,
        gated_tries=3,
    ),
    App(
        "instructor",
        "frameworks2",
        "on_instructor",
        package="instructor",
        ways=(CHAT,),
        raises=("InstructorRetryException",) * 4,
        silent={CHAT: {"19", "36"}},
        pieces=False,
        embeds=False,
        also=(BATCH,),
        loops=False,
    ),
    App("ai", "node", "on_node.mjs", "ai", "ai", WAYS, _AI, silent=_SILENT_IN_NODE, gated_tries=3),
)  # fmt: skip
PAIRS = [(app, way) for app in APPS for way in app.ways]
"""Every app by every one of its ways to ask."""
ALSO = [(app, name) for app in APPS for name in app.also]
"""Every app with every thing that it can do besides."""

TOOL = {
    "name": "water_level",
    "description": "Return the water level at a gauge.",
    "parameters": {
        "type": "object",
        "properties": {"gauge": {"type": "string"}, "unit": {"type": "string"}},
        "required": ["gauge", "unit"],
        "additionalProperties": False,
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"place": {"type": "string"}, "centimetres": {"type": "integer"}},
    "required": ["place", "centimetres"],
    "additionalProperties": False,
}
TEXTS = ["weir", "sluice"]
CONTENT = "Pegel 182 cm, steigend: 水位\n" * 3
BATCHED = "gpt-6-luna"
LINES = {name: f"What does a {name} do?" for name in TEXTS}
"""The requests of a batch: a question by name."""
LONG = {f"{number}": "And then?" for number in range(500)}
"""Those of a batch that is not over before it is cancelled."""
RECOVERS = {way: f"recovers-{way}" for way in WAYS}
"""Models that fail once; then the gateway leaves them alone for longer than clients would."""
VOICE = "gpt-realtime"
LATE = "thinks"
"""A model that is silent for longer than the gateway leaves its callers without a sign."""


def plan(key: str) -> dict[str, object]:
    """Return what every app is to do."""
    return {
        "model": MODEL,
        "key": key,
        "late": LATE,
        "voice": VOICE,
        "recovers": RECOVERS,
        "buffer": {"x-headworks-buffer": "words; max_delay=20s"},
        "content": CONTENT,
        "batched": BATCHED,
        "lines": _lines(LINES),
        "long": _lines(LONG),
        "embedder": EMBEDDER,
        "texts": TEXTS,
        "tool": TOOL,
        "schema": SCHEMA,
        "failures": {
            "unknown key": (MODEL, UNKNOWN_KEY),
            "no such model": ("nothing", key),
            "unpaid": ("unpaid", key),
            "failing": ("fails", key),
        },
        "broken": {case: model for case, (model, _) in BROKEN.items()},
    }


def _lines(questions: Mapping[str, str]) -> str:
    """Return the file of a batch."""
    url = "/v1/chat/completions"
    bodies = {
        name: {"model": BATCHED, "messages": [{"role": "user", "content": question}]}
        for name, question in questions.items()
    }
    return "\n".join(
        json.dumps({"custom_id": name, "method": "POST", "url": url, "body": body})
        for name, body in bodies.items()
    )


def is_of_app(attempt: Mapping[str, object]) -> bool:
    """Return whether an attempt in the provider's log came from an app, not from a test."""
    return attempt["fault"] != NO_FAULT
