"""Makes the output of a response: thoughts, calls, words, as far as its bound of tokens goes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, final

from headworks.simulator.answers import Answer, Ask, Piece, Split, Tool, compose
from headworks.simulator.asked import Asked
from headworks.simulator.chance import Chance
from headworks.simulator.endpoints.responses_checks import LIMIT, included
from headworks.simulator.endpoints.responses_hosted import CodeInterpreter, FileSearch, WebSearch
from headworks.simulator.endpoints.responses_items import (
    Compaction,
    CustomCall,
    FunctionCall,
    Item,
    Message,
    Reasoning,
    Refused,
)
from headworks.simulator.endpoints.responses_object import effort_of, habits
from headworks.simulator.endpoints.responses_tools import Tools, as_function
from headworks.simulator.fields import section
from headworks.simulator.logprobs import probabilities
from headworks.simulator.words import NOUNS, sentences

Cut = Literal["", "max_output_tokens", "content_filter", "failed"]

_NO = "I'm sorry, but I can't assist with that request."
_SHORT = (4, 20)  # tokens of a query, of code, of the input of a custom tool
_COMPACTED = 128  # tokens of all that was said before, made shorter
_SUMMARISED = 4  # thoughts a token of their summary


class Output(NamedTuple):
    """What was made, and why no more of it."""

    items: Sequence[Item]
    cut: Cut = ""

    @property
    def tokens(self) -> int:
        """All output tokens."""
        return sum(item.tokens for item in self.items)

    @property
    def reasoning(self) -> int:
        """The tokens of thoughts."""
        return sum(item.tokens for item in self.items if isinstance(item, Reasoning))

    @property
    def searches(self) -> int:
        """How often the web was searched."""
        return sum(isinstance(item, WebSearch) for item in self.items)


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be made.

    Attributes:
        key: Decides every word.
        tools: Are called, in their order.
        size: Least and about the most tokens of text.
        compacts: Whether what was said before is made shorter.
    """

    asked: Asked
    key: str
    tools: Tools
    split: Split
    size: tuple[int, int]
    compacts: bool = False


def make(order: Order) -> Output:
    """Return the output that was ordered."""
    if order.asked.ordered == "failed":
        return Output((), "failed")
    maker = _Maker(order)
    if order.compacts:
        maker.compact()
    if order.asked.ordered == "refusal":
        maker.refuse()
    else:
        for tool in order.tools:
            maker.call(tool)
        if not any(tool["type"] in {"function", "custom"} for tool in order.tools):
            maker.say()
    if order.asked.ordered == "content_filter":
        maker.stop()
    return Output(maker.items, maker.cut)


@final
class _Maker:
    """One output in the making."""

    def __init__(self, order: Order) -> None:
        self._order, self._fields = order, order.asked.fields
        self._left = self._fields.get(LIMIT)
        self._effort = effort_of(self._fields)
        self._count = 0
        self._notes: Callable[[str], list[dict[str, Any]]] | None = None
        self.items: list[Item] = []
        self.cut: Cut = ""

    def compact(self) -> None:
        """Put all that was said into one item, if there is room for it."""
        if self._left is not None and self._left <= _COMPACTED:
            return
        self._pay(_COMPACTED)
        self.items.append(Compaction(self._serial(), _COMPACTED, self._order.asked.created))

    def stop(self) -> None:
        """End what is said last half way."""
        if self.items and not self.cut:
            self.items[-1].stop()
            self.cut = "content_filter"

    def refuse(self) -> None:
        """Say no."""
        self.items.append(Refused(self._serial(), self._order.split(_NO), phase=self._phase()))

    def say(self) -> None:
        """Say what the format asks for."""
        if self.cut:
            return
        answer = self._compose(schema=_schema(self._fields), size=self._order.size)
        if answer.is_cut and not answer.pieces:
            return
        notes = self._notes(answer.text) if self._notes and not answer.is_cut else []
        message = Message(
            self._serial(),
            answer.pieces,
            is_cut=answer.is_cut,
            phase=self._phase(),
            annotations=notes,
            logprobs=self._logprobs(answer.pieces),
        )
        self.items.append(message)

    def call(self, tool: Mapping[str, Any]) -> None:
        """Call a tool; the provider's own answer at once."""
        if self.cut:
            return
        kind = tool["type"]
        if kind in {"function", "custom"}:
            self._call_function(tool)
        elif kind == "code_interpreter":
            self._run_code(tool)
        elif kind == "file_search":
            self._search_files()
        else:
            self._search_web()

    def _call_function(self, tool: Mapping[str, Any]) -> None:
        """Call a tool of the caller's: a function, or a custom one."""
        is_custom = tool["type"] == "custom"
        called = Tool(tool["name"], None, is_custom=True) if is_custom else as_function(tool)
        answer = self._compose(tool=called)
        if answer.is_cut and not answer.head:
            return
        serial = self._serial()
        item = (CustomCall if is_custom else FunctionCall)(
            serial,
            answer.pieces,
            call_id=_call_id(serial),
            name=tool["name"],
            head=answer.head,
            is_cut=answer.is_cut,
        )
        self.items.append(item)

    def _run_code(self, tool: Mapping[str, Any]) -> None:
        """Write a line of code that prints a text: what it prints is then no secret."""
        answer = self._compose(size=_SHORT)
        if answer.is_cut:
            return
        box, serial = tool["container"], self._serial()
        wants_logs = included(self._fields, "code_interpreter_call.outputs")
        pieces = self._order.split(f'print("{answer.text}")')
        code = CodeInterpreter(
            serial,
            pieces,
            container=box if isinstance(box, str) else f"cntr_{serial}",
            logs=f"{answer.text}\n" if wants_logs else None,
        )
        more = code.tokens - _paid(answer)
        if self._left is not None and more > self._left:
            self.cut = "max_output_tokens"
            return
        self._pay(more)
        self.items.append(code)

    def _search_web(self) -> None:
        answer = self._compose(size=_SHORT)
        if answer.is_cut:
            return
        url = f"https://example.com/{self._noun()}?utm_source=openai"
        sources = [url] if included(self._fields, "web_search_call.action.sources") else []
        self._notes = lambda text: [_cited(text, url)]
        self.items.append(WebSearch(self._serial(), _query(answer), sources, head=_paid(answer)))

    def _search_files(self) -> None:
        answer = self._compose(size=_SHORT)
        if answer.is_cut:
            return
        serial, noun = self._serial(), self._noun()
        found = {"file_id": f"file-{serial[:24]}", "filename": f"{noun}.txt"}
        hit: dict[str, Any] = {"attributes": {}, **found, "score": 0.5, "text": answer.text}
        results = [hit] if included(self._fields, "file_search_call.results") else None
        self._notes = lambda text: [{"type": "file_citation", **found, "index": len(text) - 1}]
        self.items.append(FileSearch(serial, _query(answer), results, head=_paid(answer)))

    def _compose(
        self, tool: Tool | None = None, schema: object = None, size: tuple[int, int] = _SHORT
    ) -> Answer:
        """Return the next answer; before the first one stand the thoughts."""
        order = self._order
        ask = Ask(
            order.asked.model,
            order.key,
            limit=self._left,
            tool=tool,
            schema=schema,
            effort=self._effort,
            size=size,
        )
        answer = compose(ask, self._count, order.split)
        self._effort, self._count = "", self._count + 1
        self._pay(answer.tokens)
        if answer.is_cut:
            self.cut = "max_output_tokens"
        if answer.reasoning:
            summary = () if answer.is_cut and not answer.pieces else self._summary(answer.reasoning)
            created = order.asked.created
            self.items.append(Reasoning(self._serial(), answer.reasoning, summary, created))
        return answer

    def _pay(self, tokens: int) -> None:
        if self._left is not None:
            self._left = max(0, self._left - tokens)

    def _summary(self, tokens: int) -> Sequence[Piece]:
        """Return what the thoughts are about, if somebody wants to know it."""
        asked = section(self._fields, "reasoning")
        if not (asked.get("summary") or asked.get("generate_summary")):
            return ()
        chance = Chance(self._order.key, "summary")
        title = f"**Thinking about a {chance.pick(NOUNS)}**\n\n"
        told = next(sentences(chance))
        pieces = [*self._order.split(title), *(Piece(word, 1) for word in told)]
        return pieces[: max(8, tokens // _SUMMARISED)]

    def _logprobs(self, pieces: Sequence[Piece]) -> Sequence[Sequence[Mapping[str, Any]]]:
        if not included(self._fields, "message.output_text.logprobs"):
            return ()
        return probabilities(pieces, self._fields.get("top_logprobs") or 0, self._order.key)

    def _noun(self) -> str:
        return Chance(self._order.key, "source", self._count).pick(NOUNS)

    def _serial(self) -> str:
        return f"{self._order.asked.serial[:44]}{len(self.items):04x}"

    def _phase(self) -> str:
        return "final_answer" if habits(self._order.asked.model).has_phases else ""


def _schema(fields: Mapping[str, Any]) -> object:
    """Return what the text must be valid under as JSON, None for words."""
    form = section(section(fields, "text"), "format")
    if form.get("type") == "json_object":
        return {}
    return form["schema"] if form.get("type") == "json_schema" else None


def _call_id(serial: str) -> str:
    return f"call_{Chance(serial).hex(24)}"


def _query(answer: Answer) -> str:
    return answer.text.removesuffix(".").lower()


def _paid(answer: Answer) -> int:
    return sum(piece.tokens for piece in answer.pieces)


def _cited(text: str, url: str) -> dict[str, Any]:
    start = max(0, text.rfind(". ", 0, -1) + 2) if ". " in text else 0
    title = "A page"
    return {
        "type": "url_citation",
        "end_index": len(text),
        "start_index": start,
        "title": title,
        "url": url,
    }
