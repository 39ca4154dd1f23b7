"""What must fit together: checks over several values, told all at once like the rest."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from headworks.config import schema, units
from headworks.config.problems import did_you_mean, values_at
from headworks.config.tree import Path, Reading, as_mapping

SHORTEST_SECRET = 16
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
_SECRETS: tuple[Path, ...] = (("keys", "*", "secret"), ("key_pepper",))


def findings(reading: Reading) -> Iterator[Finding]:
    """Yield every contradiction between values that are fine by themselves."""
    for one in (_addresses, _waits, _routes, _names, _secrets, _upstreams, _credentials):
        yield from one(reading)


def warnings(reading: Reading) -> Iterator[Finding]:
    """Yield what works but is hardly meant."""
    values = reading.values
    if not _entries(values, "upstreams"):
        yield ("upstreams",), "no upstream is configured, so that no call can be answered"
    upstreams = _entries(values, "upstreams")
    for path, model in _texts(reading, ("keys", "*", "models", "*")):
        is_passed_on = len(upstreams) == 1 or model.split("/", 1)[0] in upstreams
        if model not in _entries(values, "models") and not is_passed_on:
            yield path, f"no route leads to {_shown(reading, path, model)}"
    for pattern in (*_SECRETS, ("upstreams", "*", "proxy")):
        for path, value in _texts(reading, pattern):
            is_open = pattern[-1] == "proxy" and "@" not in value
            if not is_open and _is_written_out(reading, path):
                yield path, "a secret is written out here; better refer to it: ${env:NAME}"


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


def _routes(reading: Reading) -> Iterator[Finding]:
    upstreams = _entries(reading.values, "upstreams")
    for path, route in _texts(reading, ("models", "*", "routes", "*")):
        name, slash, model = route.partition("/")
        if slash and model and name not in upstreams:
            shown = _shown(reading, path, name)
            yield path, f"there is no upstream {shown}{did_you_mean(name, upstreams)}"
    yield from _repeated(reading, ("models", "*", "routes", "*"), "this route stands here twice")


def _names(reading: Reading) -> Iterator[Finding]:
    for pattern, noun in _NAMED:
        yield from _repeated(reading, pattern, f"another {noun} has the same name")


def _secrets(reading: Reading) -> Iterator[Finding]:
    for pattern in _SECRETS:
        for path, value in _texts(reading, pattern):
            if len(value) < SHORTEST_SECRET:
                yield path, f"is shorter than {SHORTEST_SECRET} characters"
    yield from _repeated(reading, _SECRETS[0], "another key has the same secret")


def _upstreams(reading: Reading) -> Iterator[Finding]:
    for path, url in _texts(reading, ("upstreams", "*", "base_url")):
        is_allowed = str(_at(reading, (*path[:-1], "allow_http"))).lower() in {"true", "1"}
        if url.startswith("http://") and not units.is_loopback(url) and not is_allowed:
            yield (
                path,
                "http:// would send keys and prompts openly; use https://, or set allow_http: true",
            )


def _credentials(reading: Reading) -> Iterator[Finding]:
    for path, value in _texts(reading, ("upstreams", "*", "credentials", "*", "api_key")):
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
    seen: set[tuple[Path, str]] = set()
    for path, value in _texts(reading, pattern):
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
