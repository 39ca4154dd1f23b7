"""The pages under /_simulator/: what happened, and what shall happen."""

from collections.abc import Callable, Mapping
from typing import final
from urllib.parse import parse_qs

import msgspec

from headworks.errors import ConfigurationError
from headworks.simulator.breakage.kinds import KINDS
from headworks.simulator.endpoints.images import drawn_page
from headworks.simulator.exchange import Exchange
from headworks.simulator.invoice import Books
from headworks.simulator.reading import rules_of, scenario_of
from headworks.simulator.weather import Weather

PREFIX = "/_simulator/"
_JSON = {"content-type": "application/json"}
Page = Callable[[bytes], object]


@final
class Control:
    """Answers for one simulator. Whoever reaches it may use it: it listens to no stranger's host."""

    def __init__(self, books: Books, weather: Weather, reset: Callable[[], None]) -> None:
        self._books, self._weather, self._reset = books, weather, reset
        self._pages: Mapping[str, Mapping[str, Page]] = {
            "invoice": {"GET": lambda _: books.invoice()},
            "attempts": {"GET": lambda _: books.attempts()},
            "reset": {"POST": self._forget, "GET": self._forget},
            "faults": {"GET": self._faults, "POST": self._set_rules, "DELETE": self._clear_rules},
            "scenario": {
                "GET": lambda _: weather.course(),
                "POST": self._follow,
                "DELETE": self._leave,
            },
        }

    def pages(self) -> list[tuple[str, str]]:
        """Return method and name of every page."""
        return [(method, name) for name, methods in self._pages.items() for method in methods]

    async def answer(self, exchange: Exchange) -> None:
        """Answer one request."""
        await exchange.read()
        drawn = drawn_page(exchange.path)
        if drawn is not None:
            await exchange.answer(200, drawn, {"content-type": "image/png"})
            return
        status, content = self._answer(exchange)
        await exchange.answer(status, msgspec.json.encode(content), _JSON)

    def _answer(self, exchange: Exchange) -> tuple[int, object]:
        methods = self._pages.get(exchange.path.removeprefix(PREFIX))
        if methods is None:
            return 404, {"pages": sorted(self._pages)}
        page = methods.get(exchange.method)
        if page is None:
            return 405, {"methods": sorted(methods)}
        if exchange.path.endswith("invoice") and _is_asked(exchange.query, "attempts"):
            return 200, {**self._books.invoice(), "listed": self._books.attempts()}
        try:
            return 200, page(exchange.content)
        except ConfigurationError as error:
            return 400, {"problems": error.problems}

    def _forget(self, _content: bytes) -> object:
        self._reset()
        return {"reset": True}

    def _faults(self, _content: bytes) -> object:
        return {**self._weather.told(), "known": {name: kind.says for name, kind in KINDS.items()}}

    def _set_rules(self, content: bytes) -> object:
        self._weather.set_rules(rules_of(content, "request"))
        return self._weather.told()

    def _clear_rules(self, _content: bytes) -> object:
        self._weather.set_rules(())
        return self._weather.told()

    def _follow(self, content: bytes) -> object:
        self._weather.follow(scenario_of(content, "request"))
        return self._weather.course()

    def _leave(self, _content: bytes) -> object:
        self._weather.follow(None)
        return self._weather.course()


def _is_asked(query: bytes, name: str) -> bool:
    return parse_qs(query.decode("latin-1")).get(name, [""])[-1] == "1"
