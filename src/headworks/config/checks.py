"""What must fit together: checks over several values, told all at once like the rest."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, TypeVar

from headworks.config import schema, schema_health, units
from headworks.config.checks_budgets import budget_findings
from headworks.config.checks_limits import limit_findings
from headworks.config.problems import did_you_mean, values_at
from headworks.config.settings import Config, flat
from headworks.config.tree import Path, Reading, as_mapping

SHORTEST_SECRET = 16
LONG_PEPPER = 32
SIMULATOR = "sk-simulator"
"""What the simulator's keys begin with: they open nothing, so that they may stand in a file."""

_BY_REFERENCE = (
    'a key must not stand in the file; refer to it: "${env:OPENAI_API_KEY}" or '
    '"${file:/run/secrets/openai}"'
)
T = TypeVar("T")
Finding = tuple[Path, str]
_NAMED: tuple[tuple[Path, str], ...] = (
    (("keys", "*", "name"), "key"),
    (("upstreams", "*", "credentials", "*", "name"), "credential"),
)
_API_KEYS: tuple[Path, ...] = (
    ("upstreams", "*", "credentials", "*", "api_key"),
    ("upstreams", "*", "admin_credential", "api_key"),
)
_MODEL: Path = ("models", "*")
_ON: Path = (*_MODEL, "on", "*", "*")
_STRATEGIES = ("order", "weighted", "least_latency", "cheapest")
_TIMEOUTS: tuple[Path, ...] = tuple((one, "*", "timeouts") for one in ("upstreams", "models"))
_TYPES: tuple[Path, ...] = tuple((*one, "by_type", "*") for one in _TIMEOUTS)
_NEVER_STREAMED = frozenset({"embeddings", "moderations", "files", "uploads", "batches", "models"})
_WITHOUT_MODEL = frozenset({"files", "uploads", "batches", "vector_stores", "containers", "models"})
_SECRETS: tuple[Path, ...] = (("keys", "*", "secret"), ("key_pepper",))


def findings(reading: Reading) -> Iterator[Finding]:
    """Yield every contradiction between values that are fine by themselves."""
    for one in (
        _addresses,
        _waits,
        _routes,
        _groups,
        _targets,
        _filters,
        _contexts,
        _hedges,
        _names,
        _secrets,
        _signing,
        _cors,
        _upstreams,
        _breakers,
        _credentials,
        limit_findings,
        budget_findings,
    ):
        yield from one(reading)


def warnings(reading: Reading, config: Config) -> Iterator[Finding]:
    """Yield what works but is hardly meant; `config` is what the values come to."""
    values = reading.values
    if not _entries(values, "upstreams"):
        yield ("upstreams",), "no upstream is configured, so that no call can be answered"
    upstreams = _entries(values, "upstreams")
    for path, model in _texts(reading, ("keys", "*", "models", "*")):
        is_passed_on = len(upstreams) == 1 or model.split("/", 1)[0] in upstreams
        if model not in _entries(values, "models") and not is_passed_on:
            yield path, f"no route leads to {_shown(reading, path, model)}"
    yield from _idle_waits(reading)
    yield from _longer_than_total(reading)
    yield from _late_hedges(config)
    yield from _unused(reading)
    for pattern in (*_SECRETS, ("upstreams", "*", "proxy")):
        for path, value in _texts(reading, pattern):
            is_open = pattern[-1] == "proxy" and "@" not in value
            if not is_open and _is_written_out(reading, path):
                yield path, "a secret is written out here; better refer to it: ${env:NAME}"


def _unused(reading: Reading) -> Iterator[Finding]:
    routes = {route for _, route in route_texts(reading)}
    known = {*routes, *(route.partition("/")[2] for route in routes)}
    for name in _entries(reading.values, "capabilities"):
        if name not in known:
            yield ("capabilities", name), f"no route leads to this model{did_you_mean(name, known)}"


def _idle_waits(reading: Reading) -> Iterator[Finding]:
    """Yield waits for types of requests that never meet them."""
    for path, value in (one for pattern in _TYPES for one in values_at(reading.values, pattern)):
        name = path[-1]
        if path[0] == "models" and name in _WITHOUT_MODEL:
            yield path, f"requests for {name} name no model; say it under upstreams"
        elif name in _NEVER_STREAMED and "first_byte" in (as_mapping(value) or {}):
            yield (
                (*path, "first_byte"),
                f"bounds streams only, and {name} are none; use first_byte_whole",
            )


def _longer_than_total(reading: Reading) -> Iterator[Finding]:
    """Yield waits that can never end since the whole call's, written beside them, is over first."""
    for pattern in (*_TIMEOUTS, *_TYPES):
        for path, value in values_at(reading.values, pattern):
            given = as_mapping(value) or {}
            total = _read(units.duration, given.get("total"))
            for name in ("connect", "first_byte", "first_byte_whole", "idle"):
                wait = _read(units.duration, given.get(name))
                if total and wait and wait >= total:
                    yield (*path, name), "is not shorter than total, which ends the call first"


def _late_hedges(config: Config) -> Iterator[Finding]:
    for name, model in config.models.items():
        waits = [way.timeouts for way in flat(model.routes)]
        totals = [one.total for base in waits for one in (base, *dict(base.by_type).values())]
        after = model.hedge.after if model.hedge is not None else None
        if after is not None and after >= max(totals):
            path = ("models", name, "hedge", "after")
            yield path, "is not shorter than timeouts.total: no second attempt is ever sent"


def _addresses(reading: Reading) -> Iterator[Finding]:
    server = schema.Server()
    listen = _read(units.address, _at(reading, ("server", "listen"), server.listen))
    admin = _read(units.address, _at(reading, ("server", "admin"), server.admin))
    if not listen or not admin or not listen.port or listen.port != admin.port:
        return
    if listen.host == admin.host or any(units.is_wildcard(a.host) for a in (listen, admin)):
        given = [name for name in ("admin", "listen") if _at(reading, ("server", name))]
        yield ("server", given[0]), "server.listen and server.admin need different ports"


def _waits(reading: Reading) -> Iterator[Finding]:
    retry = schema.Retry()
    first = _read(units.duration, _at(reading, ("retry", "first"), retry.first))
    longest = _read(units.duration, _at(reading, ("retry", "longest"), retry.longest))
    if first and longest and first > longest:
        given = [name for name in ("first", "longest") if _at(reading, ("retry", name))]
        yield ("retry", given[0]), "the first wait is longer than the longest one"


def route_texts(reading: Reading) -> Iterator[tuple[Path, str]]:
    """Yield each route that is written as one, wherever a model may name routes."""
    yield from _chain(reading)
    models = _entries(reading.values, "models")
    for path, target in _named_targets(reading):
        if "/" in target and target not in models:
            yield path, target


def _chain(reading: Reading) -> Iterator[tuple[Path, str]]:
    """Yield the routes of all models, those in groups included."""
    yield from _texts(reading, (*_MODEL, "routes", "*"))
    for path, value in values_at(reading.values, (*_MODEL, "routes", "*", "*", "*")):
        route = path[-1] if path[-2] == "weighted" else value
        if isinstance(route, str) and path[-2] in _STRATEGIES:
            yield path, route


def _routes(reading: Reading) -> Iterator[Finding]:
    upstreams = _entries(reading.values, "upstreams")
    for path, route in _chain(reading):
        name, slash, model = route.partition("/")
        if slash and model and name not in upstreams:
            shown = _shown(reading, path, name)
            yield path, f"there is no upstream {shown}{did_you_mean(name, upstreams)}"
    yield from _again(_chain(reading), len(_MODEL), "this route stands here twice")


def _groups(reading: Reading) -> Iterator[Finding]:
    for path, value in values_at(reading.values, (*_MODEL, "routes", "*")):
        group = as_mapping(value)
        if group is None or not isinstance(path[-1], int):
            continue
        if len(group.keys() & set(_STRATEGIES)) != 1:
            yield path, f"a group has one strategy: {', '.join(_STRATEGIES[:-1])} or cheapest"
        if as_mapping(group.get("weighted")) == {}:
            yield (*path, "weighted"), "the mapping is empty; name at least one route"


def _targets(reading: Reading) -> Iterator[Finding]:
    models = _entries(reading.values, "models")
    upstreams = _entries(reading.values, "upstreams")
    for path, target in _named_targets(reading):
        name, slash, model = target.partition("/")
        if target == path[1]:
            yield path, "leads back to the model itself"
        elif target not in models and not (slash and model and name in upstreams):
            shown = _shown(reading, path, target)
            near = did_you_mean(target, models)
            yield path, f"there is no model {shown}, and no upstream of a route like it{near}"
    yield from _repeated(reading, _ON, "this one stands here twice")


def _named_targets(reading: Reading) -> Iterator[tuple[Path, str]]:
    """Yield what stands where a model or a route may be named."""
    reroute, shorter = (*_MODEL, "content_filter", "reroute"), (*_MODEL, "context", "model")
    return (one for pattern in (_ON, reroute, shorter) for one in _texts(reading, pattern))


def _filters(reading: Reading) -> Iterator[Finding]:
    for path, value in values_at(reading.values, (*_MODEL, "content_filter")):
        given = as_mapping(value)
        if given is None:
            continue
        if len(given.keys() & {"reroute", "answer"}) != 1:
            yield path, "give either reroute or answer"
        if _at(reading, (*path[:-1], "on", "content_filter")):
            yield path, "on.content_filter says already what is tried next; leave one of them out"


def _contexts(reading: Reading) -> Iterator[Finding]:
    for path, value in values_at(reading.values, (*_MODEL, "context")):
        given = as_mapping(value) or {"strategy": value}
        strategy = given.get("strategy")
        if not isinstance(strategy, str | None):
            continue
        if strategy in {"summarize", "larger_model"} and not given.get("model"):
            yield path, f"{strategy} needs a model: {{strategy: {strategy}, model: NAME}}"
        if strategy not in {"summarize", "larger_model"} and "model" in given:
            yield (*path, "model"), "is for the strategies summarize and larger_model"
        if strategy in {None, "error", "larger_model"}:
            for name in sorted({"system", "first", "last"} & given.keys()):
                yield (*path, name), "is for the strategies that drop messages"
        if strategy == "keep" and not given.keys() & {"first", "last"}:
            yield (
                path,
                "keep needs first or last, the turns to keep; without them it is drop_oldest",
            )
        yield from _rooms(path, given)
        yield from _larger(reading, path)


def _rooms(path: Path, given: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield an answer's room that takes all of the window."""
    window, reserved = given.get("window"), given.get("reserve_output")
    if isinstance(window, int) and isinstance(reserved, int) and reserved >= window:
        yield (*path, "reserve_output"), "leaves no room for a request; make it less than window"


def _larger(reading: Reading, path: Path) -> Iterator[Finding]:
    """Yield a chain of larger models that leads back into itself."""
    seen, name = [path[1]], path[1]
    while _at(reading, ("models", name, "context", "strategy")) == "larger_model":
        name = _at(reading, ("models", name, "context", "model"))
        if name == path[1] and len(seen) > 1:
            yield (*path, "model"), "these larger models lead back to each other"
        if name in seen or not isinstance(name, str):
            return
        seen.append(name)


def _hedges(reading: Reading) -> Iterator[Finding]:
    attempts = _at(reading, ("retry", "attempts"))
    for path, value in values_at(reading.values, (*_MODEL, "hedge")):
        if value is not None and str(attempts) == "1":
            yield path, "retry.attempts: 1 leaves no attempt for it; allow 2, or leave it out"


def _names(reading: Reading) -> Iterator[Finding]:
    for pattern, noun in _NAMED:
        yield from _repeated(reading, pattern, f"another {noun} has the same name")


def _secrets(reading: Reading) -> Iterator[Finding]:
    for pattern in _SECRETS:
        for path, value in _texts(reading, pattern):
            if len(value) < SHORTEST_SECRET:
                yield path, f"is shorter than {SHORTEST_SECRET} characters"
    yield from _repeated(reading, _SECRETS[0], "another key has the same secret")


def _signing(reading: Reading) -> Iterator[Finding]:
    pepper = _at(reading, ("key_pepper",))
    if isinstance(pepper, str) and SHORTEST_SECRET <= len(pepper) < LONG_PEPPER:
        for path, _ in values_at(reading.values, ("keys", "*", "client_tokens")):
            yield path, f"tokens are signed with key_pepper: it needs {LONG_PEPPER} characters"


def _cors(reading: Reading) -> Iterator[Finding]:
    origins = ("server", "cors", "origins", "*")
    given = [origin for _, origin in _texts(reading, origins)]
    if "*" in given and len(given) > 1:
        yield origins[:-1], '"*" allows every origin; leave it out, or all the others'
    yield from _repeated(reading, origins, "this origin stands here twice")


def _upstreams(reading: Reading) -> Iterator[Finding]:
    for path, url in _texts(reading, ("upstreams", "*", "base_url")):
        is_allowed = str(_at(reading, (*path[:-1], "allow_http"))).lower() in {"true", "1"}
        if url.startswith("http://") and not units.is_loopback(url) and not is_allowed:
            yield (
                path,
                "http:// would send keys and prompts openly; use https://, or set allow_http: true",
            )


def _breakers(reading: Reading) -> Iterator[Finding]:
    breaker = schema_health.Breaker()
    for path, value in values_at(reading.values, ("upstreams", "*", "breaker")):
        given = as_mapping(value) or {}
        if "slow_share" in given and given.get("slow") is None:
            yield (
                (*path, "slow_share"),
                "needs slow: the wait from which on an answer counts as slow",
            )
        first = _read(units.duration, given.get("open", breaker.open))
        longest = _read(units.duration, given.get("longest", breaker.longest))
        if first and longest and first > longest:
            name = "longest" if "longest" in given else "open"
            yield (*path, name), "the first wait is longer than the longest one"


def _credentials(reading: Reading) -> Iterator[Finding]:
    for path, value in chain.from_iterable(_texts(reading, pattern) for pattern in _API_KEYS):
        url = _at(reading, (*path[:2], "base_url"))
        is_harmless = value.startswith(SIMULATOR) or (
            isinstance(url, str) and units.is_loopback(url)
        )
        if not is_harmless and _is_written_out(reading, path):
            yield path, _BY_REFERENCE


def _is_written_out(reading: Reading, path: Path) -> bool:
    return reading.origin(path) != "reference" and not reading.places[path].is_variable


def _repeated(reading: Reading, pattern: Path, message: str) -> Iterator[Finding]:
    """Yield each value that equals an earlier one of the same list, the pattern's last "*"."""
    depth = len(pattern) - 1 - pattern[::-1].index("*")
    yield from _again(_texts(reading, pattern), depth, message)


def _again(found: Iterable[tuple[Path, str]], depth: int, message: str) -> Iterator[Finding]:
    """Yield each value that equals an earlier one whose path begins with the same so many parts."""
    seen: set[tuple[Path, str]] = set()
    for path, value in found:
        if (path[:depth], value) in seen:
            yield path, message
        seen.add((path[:depth], value))


def _shown(reading: Reading, path: Path, text: str) -> str:
    """Name a value in a message, unless it came by a reference and so may be a secret."""
    return repr(text[:100]) if reading.origin(path) == "literal" else "of that name"


def _texts(reading: Reading, pattern: Path) -> Iterator[tuple[Path, str]]:
    return (
        (path, value)
        for path, value in values_at(reading.values, pattern)
        if isinstance(value, str)
    )


def _entries(values: Any, name: str) -> dict[str, Any]:
    return as_mapping((as_mapping(values) or {}).get(name)) or {}


def _at(reading: Reading, path: Path, default: object = None) -> Any:
    return next((value for _, value in values_at(reading.values, path)), default)


def _read(reader: Callable[[Any], T], value: Any) -> T | None:
    try:
        return reader(value)
    except (ValueError, TypeError, AttributeError):
        return None
