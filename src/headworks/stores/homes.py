"""Sends calls to the account that made what they refer to, and remembers what answers make."""

from headworks.core.homes import Directory, narrowed
from headworks.core.stateful import is_list, references
from headworks.core.stateful_answers import has_news, life, told, told_by_event
from headworks.stores.homes_file import HomesFile
from headworks.types import Plan, Request, Route


class KnownHomes:
    """The homes of one configuration; what is remembered outlives it."""

    def __init__(self, directory: Directory, file: HomesFile) -> None:
        self._directory, self._file = directory, file
        self._numbers = {
            (home.upstream, name): home.number
            for home in directory.all
            for name in home.credentials
        }

    async def narrow(self, request: Request, plan: Plan) -> Plan:
        """Return the plan with the routes alone that can find what the request refers to.

        A list of all things of a kind is the first account's.

        Raises:
            StatefulIdElsewhere: No route leads there, or there are two such places.
            StatefulIdUnknown: Nobody knows where that is.
            HomesUnavailable: It cannot be looked up now.
        """
        named = references(request)
        if named:
            known = await self._file.find({id_ for one in named for id_ in one.ids})
            home = self._directory.find(named, known.get)
            return narrowed(plan, request, home, named[0].shown)
        if is_list(request):
            return narrowed(plan, request, self._directory.all[0], request.path)
        return plan

    def witness(self, request: Request, route: Route) -> "_Witness | None":
        """Return who is to see the answer, None where it tells of no ids."""
        if not has_news(request):
            return None
        return _Witness(self._file, request, self._numbers[route.upstream, route.credential])


class _Witness:
    """Remembers the ids that one answer tells of."""

    def __init__(self, file: HomesFile, request: Request, number: int) -> None:
        self._file, self._request, self._number = file, request, number
        self._life = life(request)

    def whole(self, content: bytes) -> None:
        """Learn from a whole answer. Never waits."""
        self._learn(told(self._request, content))

    def event(self, name: bytes, data: bytes) -> None:
        """Learn from one event of a stream. Never waits."""
        self._learn(told_by_event(self._request, name, data))

    def _learn(self, ids: list[str]) -> None:
        if ids:
            self._file.learn(ids, self._number, self._life)
