"""A provider in virtual time with files and batches, asked without HTTP."""

import json
from collections.abc import Iterable
from typing import Any, Final

from typing_extensions import override

from headworks.simulator import SimulatedPrice, SimulatorConfig
from headworks.simulator.asked import Upload
from tests.simulator.endpoints.practice import Practice

CHAT: Final = "/v1/chat/completions"
PRICES = {
    "gpt-4o": SimulatedPrice(input=2_500, output=10_000, cached=1_250),
    "gpt-4o@batch": SimulatedPrice(input=1_250, output=5_000),
    "gpt-3.5-turbo-instruct": SimulatedPrice(input=1_500, output=2_000),
    "gpt-4o-mini": SimulatedPrice(input=150, output=600),
    "text-embedding-3-small": SimulatedPrice(input=20),
    "text-embedding-3-small@batch": SimulatedPrice(input=10),
}


class Bureau(Practice):
    """What its callers do with files and batches; whoever looks makes it do what is due."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(SimulatorConfig(**{"prices": PRICES, "seed": 7, **settings}))

    @override
    def answer(self, method: str, target: str, fields: Any, **more: Any) -> Any:
        """Answer, after everything that is due."""
        self.provider.batches.catch_up_now()
        return super().answer(method, target, fields, **more)

    def upload(self, content: bytes, name: str = "in.jsonl", purpose: str = "batch") -> str:
        """Return the id of a new file."""
        files = {"file": [Upload(name, content)]}
        return str(self.post("/v1/files", {"purpose": purpose}, uploads=files)["id"])

    def begin(self, lines: bytes | Iterable[dict[str, Any]], **fields: Any) -> str:
        """Return the id of a new batch."""
        content = lines if isinstance(lines, bytes) else jsonl(lines)
        usual = {"endpoint": CHAT, "completion_window": "24h"}
        asked = {"input_file_id": self.upload(content), **usual, **fields}
        return str(self.post("/v1/batches", asked)["id"])

    def batch(self, name: str) -> dict[str, Any]:
        """Return a batch as it is now."""
        return dict(self.get(f"/v1/batches/{name}"))

    def lines(self, file: str) -> list[dict[str, Any]]:
        """Return the lines of a file."""
        content = self.answer("GET", f"/v1/files/{file}/content", {}).whole(usage=True)
        return [json.loads(line) for line in content.splitlines()]

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)


def jsonl(lines: Iterable[dict[str, Any]]) -> bytes:
    """Return objects, one a line."""
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def chat(number: int | str, *, model: str = "gpt-4o", **body: Any) -> dict[str, Any]:
    """Return a line that asks for a short chat."""
    said = {"messages": [{"role": "user", "content": f"Hello {number}"}], "max_tokens": 3}
    body = {"model": model, **said, **body}
    return {"custom_id": f"r{number}", "method": "POST", "url": CHAT, "body": body}
