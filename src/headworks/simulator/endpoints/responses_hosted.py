"""Items of the tools that the provider runs itself: searches, and code in a container."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, final

from typing_extensions import override

from headworks.simulator.answers import Piece
from headworks.simulator.endpoints.responses_items import Event, Item, Status


class Search(Item):
    """A search that needs no bits: it begins, searches and is done."""

    _event: ClassVar[str]

    @override
    def told(self) -> Iterator[Event]:
        for step in ("in_progress", "searching", "completed"):
            yield Event("open", f"{self._event}.{step}", {})


@final
class WebSearch(Search):
    """A search of the web.

    Attributes:
        sources: What was found, told only when it is asked for.
    """

    prefix = "ws"
    _event = "response.web_search_call"

    def __init__(self, serial: str, query: str, sources: Sequence[str], *, head: int) -> None:
        super().__init__(serial, head=head)
        self._query, self._sources = query, sources

    @override
    def begun(self) -> dict[str, Any]:
        return self._form("in_progress", {"type": "search"})

    @override
    def ended(self) -> dict[str, Any]:
        action: dict[str, Any] = {
            "type": "search",
            "queries": [self._query],
            "query": self._query,
        }
        if self._sources:
            action["sources"] = [{"type": "url", "url": url} for url in self._sources]
        return self._form("completed", action)

    def _form(self, status: Status, action: Mapping[str, Any]) -> dict[str, Any]:
        return {"id": self.id, "type": "web_search_call", "status": status, "action": action}


@final
class FileSearch(Search):
    """A search of the caller's files.

    Attributes:
        results: What was found, None where it is not asked for.
    """

    prefix = "fs"
    _event = "response.file_search_call"

    def __init__(
        self, serial: str, query: str, results: list[dict[str, Any]] | None, *, head: int
    ) -> None:
        super().__init__(serial, head=head)
        self._query, self._results = query, results

    @override
    def begun(self) -> dict[str, Any]:
        return self._form("in_progress", [], None)

    @override
    def ended(self) -> dict[str, Any]:
        return self._form("completed", [self._query], self._results)

    def _form(
        self, status: Status, queries: list[str], results: list[dict[str, Any]] | None
    ) -> dict[str, Any]:
        form = {"id": self.id, "type": "file_search_call", "status": status}
        return {**form, "queries": queries, "results": results}


@final
class CodeInterpreter(Item):
    """Code that is written, run, and answers.

    Attributes:
        container: Where it runs.
        logs: What it prints; None where outputs are not asked for.
    """

    prefix = "ci"

    def __init__(
        self,
        serial: str,
        pieces: Sequence[Piece],
        *,
        container: str,
        logs: str | None,
        is_cut: bool = False,
    ) -> None:
        super().__init__(serial, pieces, is_cut=is_cut)
        self._container, self._logs = container, logs

    @override
    def begun(self) -> dict[str, Any]:
        return self._form("in_progress", "", None)

    @override
    def ended(self) -> dict[str, Any]:
        printed = None if self._logs is None else [{"type": "logs", "logs": self._logs}]
        return self._form(self.status, self.text, printed)

    @override
    def told(self) -> Iterator[Event]:
        call, code = "response.code_interpreter_call", "response.code_interpreter_call_code"
        yield Event("open", f"{call}.in_progress", {})
        for piece in self.pieces:
            yield Event("token", f"{code}.delta", {"delta": piece.text}, piece.tokens)
        yield Event("close", f"{code}.done", {"code": self.text})
        if self.is_cut:
            return
        yield Event("open", f"{call}.interpreting", {})
        yield Event("open", f"{call}.completed", {})

    def _form(
        self, status: Status, code: str, outputs: list[dict[str, Any]] | None
    ) -> dict[str, Any]:
        form = {"id": self.id, "type": "code_interpreter_call", "status": status, "code": code}
        return {**form, "container_id": self._container, "outputs": outputs}
