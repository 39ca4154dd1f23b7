"""What must fit together: checks over several values, told all at once like the rest."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from headworks.config import units
from headworks.config.problems import did_you_mean, values_at
from headworks.config.tree import Path, Reading

SHORTEST_SECRET = 16
SIMULATOR = "sk-simulator"
"""What the simulator's keys begin with: they open nothing, so that they may stand in a file."""

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
    texts = [_at(reading, ("server", name)) for name in ("listen", "admin")]
    listen, admin = (
        _read(units.address, text or default)
        for text, default in zip(texts, ("127.0.0.1:4000", "127.0.0.1:4001"), strict=True)
    )
    if not listen or not admin or not listen.port or listen.port != admin.port:
        return
    if listen.host == admin.host or any(units.is_wildcard(a.host) for a in (listen, admin)):
        name = "admin" if texts[1] else "listen"
        yield ("server", name), "server.listen and server.admin need different ports"


def _waits(reading: Reading) -> Iterator[Finding]:
    first, longest = (
        _read(units.duration, value if value is not None else default)
        for value, default in (
            (_at(reading, ("retry", "first")), "0.5s"),
            (_at(reading, ("retry", "longest")), "8s"),
        )
    )
    if first and longest and first > longest:
        yield ("retry", "first"), "the first wait is longer than the longest one"


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
        is_allowed = _at(reading, (*path[:-1], "allow_http")) in {True, "true", "1"}
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
            yield (
                path,
                'a key must not stand in the file; refer to it: "${env:OPENAI_API_KEY}" or '
                '"${file:/run/secrets/openai}"',
            )


def _is_written_out(reading: Reading, path: Path) -> bool:
    is_variable = any(
        place.is_variable
        for place in (reading.places.get(path[:end]) for end in (len(path),))
        if place
    )
    return reading.origin(path) != "reference" and not is_variable


def _repeated(reading: Reading, pattern: Path, message: str) -> Iterator[Finding]:
    """Yield each later value that equals an earlier one of the same list."""
    depth = max(at for at, part in enumerate(pattern[:-1] if pattern[-1] != "*" else pattern) if part == "*")
    seen: Counter[tuple[Path, str]] = Counter()
    for path, value in _texts(reading, pattern):
        seen[path[:depth], value] += 1
        if seen[path[:depth], value] > 1:
            yield path, message


def _shown(reading: Reading, path: Path, text: str) -> str:
    """Name a value in a message, unless it came by a reference and so may be a secret."""
    return repr(text) if reading.origin(path) == "literal" else "of that name"


def _texts(reading: Reading, pattern: Path) -> Iterator[tuple[Path, str]]:
    return (
        (path, value)
        for path, value in values_at(reading.values, pattern)
        if isinstance(value, str)
    )


def _entries(values: Any, name: str) -> dict[str, Any]:
    entries = values.get(name) if isinstance(values, dict) else None
    return entries if isinstance(entries, dict) else {}


def _at(reading: Reading, path: Path) -> Any:
    return next((value for _, value in values_at(reading.values, path)), None)


def _read[T](reader: Callable[[Any], T], value: Any) -> T | None:
    try:
        return reader(value)
    except (ValueError, TypeError, AttributeError):
        return None
