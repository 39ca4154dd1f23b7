"""Reads the input file of a batch as the provider does before it begins: line by line, strictly."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, final

import msgspec

from headworks.simulator.fields import is_list, is_map
from headworks.simulator.nesting import is_too_deep

MOST_LINES = 50_000
_MOST_ERRORS = 100
_NO_MODEL = frozenset({"/v1/moderations"})

_decode = msgspec.json.Decoder().decode


class Line(NamedTuple):
    """One request: its name, and where it stands in the file."""

    custom_id: str
    start: int
    end: int


@final
class Input:
    """What a file asks for, and what is wrong with it.

    Attributes:
        model: The one model of all lines, "" while none is named.
        tokens: Input tokens of all lines, as `weigh` counts them.
        errors: As `errors.data` of the batch tells them.
    """

    def __init__(
        self,
        content: bytes,
        endpoint: str,
        is_served: Callable[[str], bool],
        weigh: Callable[[Mapping[str, Any]], int],
    ) -> None:
        self._content, self._endpoint = content, endpoint
        self._is_served, self._weigh = is_served, weigh
        self._seen: set[str] = set()
        self._inputs = 0
        self.lines: list[Line] = []
        self.errors: list[dict[str, Any]] = []
        self.model, self.tokens = "", 0

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self._content)

    def drop(self) -> None:
        """Forget the file and what is known of its lines."""
        self._content = b""
        self._seen.clear()
        self.lines.clear()

    def read(self) -> Iterator[None]:
        """Read the file, and pause after each line."""
        place = number = 0
        while place < len(self._content) and len(self.errors) < _MOST_ERRORS:
            end = self._content.find(b"\n", place)
            end = len(self._content) if end < 0 else end
            number += 1
            if self._content[place:end].strip():
                self._take(number, place, end)
                yield
            if max(len(self.lines), self._inputs) > MOST_LINES:
                self.errors = [_too_many()]
                return
            place = end + 1
        if not self.lines and not self.errors:
            self.errors = [_empty()]

    def request(self, line: Line) -> tuple[bytes, dict[str, Any]]:
        """Return a line that was found good, and the body of its request."""
        written = self._content[line.start : line.end]
        return written, _decode(written)["body"]

    def _take(self, number: int, start: int, end: int) -> None:
        try:
            fields = _decode(self._content[start:end])
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            fields = None
        if not is_map(fields) or is_too_deep(self._content[start:end]):
            message = "This line is not parseable as valid JSON."
            self.errors.append(fault("invalid_json_line", message, None, number))
            return
        wrong = self._wrong(fields)
        if wrong is not None:
            self.errors.append({**wrong, "line": number})
            return
        body: dict[str, Any] = fields["body"]
        self._seen.add(fields["custom_id"])
        self.model = self.model or str(body.get("model") or "")
        self.lines.append(Line(fields["custom_id"], start, end))
        self.tokens += self._weigh(body)
        if self._endpoint == "/v1/embeddings":
            given = body.get("input")
            self._inputs += len(given) if is_list(given) else 1

    def _wrong(self, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what is wrong with one line."""
        for name in ("custom_id", "method", "url", "body"):
            kind: type = dict if name == "body" else str
            if not isinstance(fields.get(name), kind) or fields[name] == "":
                return _missing(name)
        custom_id = fields["custom_id"]
        if custom_id in self._seen:
            message = (
                f"The custom_id '{custom_id}' for this request is a duplicate of another request. "
                "The custom_id parameter must be unique for each request in a batch."
            )
            return fault("duplicate_custom_id", message, "custom_id")
        if fields["method"] != "POST":
            return fault("invalid_method", "The method must be 'POST'.", "method")
        if fields["url"] != self._endpoint:
            message = "The URL provided for this request does not match the batch endpoint."
            return fault("url_mismatch", message, "url")
        return self._wrong_model(fields["body"].get("model"))

    def _wrong_model(self, model: object) -> dict[str, Any] | None:
        if model is None and self._endpoint in _NO_MODEL:
            return None
        if not isinstance(model, str) or not model:
            return _missing("body.model")
        if self.model and model != self.model:
            message = (
                f"The model '{model}' for this request does not match the rest of the batch. Each "
                "batch must contain requests for a single model."
            )
            return fault("model_mismatch", message, "body.model")
        if not self._is_served(model):
            message = f"The provided model '{model}' is not supported by the Batch API."
            return fault("model_not_found", message, "body.model")
        return None


def fault(
    code: str, message: str, param: str | None = None, line: int | None = None
) -> dict[str, Any]:
    """Return one entry of `errors.data`."""
    return {"code": code, "message": message, "param": param, "line": line}


def _missing(name: str) -> dict[str, Any]:
    return fault("missing_required_parameter", f"Missing required parameter: '{name}'.", name)


def _empty() -> dict[str, Any]:
    message = (
        "The batch input file is empty. Please ensure that the batch contains at least one request."
    )
    return fault("empty_file", message)


def _too_many() -> dict[str, Any]:
    message = (
        "The batch input file contains too many requests. A batch may contain at most "
        f"{MOST_LINES} requests, and as many embedding inputs."
    )
    return fault("too_many_tasks", message)
