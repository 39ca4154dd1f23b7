"""Which models of a configuration are there, and known: those that are not are told."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from urllib.parse import urlsplit

from headworks.catalog import load as load_catalogue
from headworks.catalog import spellings
from headworks.config.settings import Config, RouteConfig, flat
from headworks.core.context_window import Window
from headworks.errors import ConfigurationError
from headworks.wiring.routes import said_window, ways

NOTICE_DAYS = 90
"""So many days before a model's end a warning begins."""

_OPENAI = "api.openai.com"
_NAMED = 3
_LATE = "requests are too long only once the provider has refused one"
_VOUCH = "name it in capabilities, even as {}, to use it"


def with_standing(config: Config, now: float) -> Config:
    """Return the configuration with a warning for each model that ends soon or has no known window.

    `now` is in seconds since 1970. What is OpenAI's own is known; of other upstreams only the
    operator knows, whose entry in `capabilities` or `prices` is taken for it.

    Raises:
        ConfigurationError: A route leads to a model that was shut down, or to none of OpenAI's.
    """
    today = datetime.fromtimestamp(now, UTC).date()
    problems: list[str] = []
    warnings = [*_without_window(config)]
    for way, places in _places(config).items():
        found = _finding(config, way, today)
        if found is not None:
            lines = problems if found.is_final else warnings
            lines += [f"{place}: {found.message}" for place in places]
    if problems:
        raise ConfigurationError(problems)
    if not warnings:
        return config
    return replace(config, warnings=tuple(dict.fromkeys((*config.warnings, *warnings))))


@dataclass(frozen=True, slots=True)
class _Finding:
    message: str
    is_final: bool = True


def _places(config: Config) -> dict[RouteConfig, tuple[str, ...]]:
    """Return each way that a call may take, with where it is written."""
    found: dict[RouteConfig, tuple[str, ...]] = {}
    for name, model in config.models.items():
        context = model.context.model if model.context is not None else ""
        for way in (*model.all_routes(), *(ways(config, context) if context else ())):
            place = RouteConfig(way.upstream, way.model)
            found.setdefault(place, config.stands.get(str(way), (f"models.{name}",)))
    return found


def _without_window(config: Config) -> Iterator[str]:
    """Yield each model whose `context` cannot know what fits before a provider has refused it."""
    for name, model in config.models.items():
        if model.context is None or model.context.window is not None:
            continue
        way = next(flat(model.routes))
        if said_window(config, way) == Window():
            stands = config.stands.get(str(way), ())
            place = next((one for one in stands if f" models.{name}." in one), f"models.{name}")
            yield f"{place}: its window is not known, so that {_LATE}; set context.window"


def _finding(config: Config, way: RouteConfig, today: date) -> _Finding | None:
    known = load_catalogue().model(way.model)
    is_own = _is_openai(config, way)
    is_vouched = any(
        name in {*config.capabilities, *config.prices} for name in (str(way), *spellings(way.model))
    )
    if known is None or known.shutdown is None:
        is_unknown = known is None and is_own and not is_vouched and not _is_tuned(way.model)
        return _Finding(_unknown(way.model, today)) if is_unknown else None
    ends = date.fromisoformat(known.shutdown)
    if ends <= today:
        if is_vouched and not is_own:
            return None
        hint = "; name another model" if is_own else f"; if this upstream has it still, {_VOUCH}"
        return _Finding(f"{way.model} was shut down on {ends}{hint}")
    if is_own and ends <= today + timedelta(NOTICE_DAYS):
        return _Finding(f"{way.model} will be shut down on {ends}", is_final=False)
    return None


def _is_openai(config: Config, way: RouteConfig) -> bool:
    upstream = config.upstreams.get(way.upstream)
    host = (urlsplit(upstream.base_url).hostname if upstream else None) or ""
    return host == _OPENAI or host.endswith(f".{_OPENAI}")


def _is_tuned(model: str) -> bool:
    """Return whether it is a fine-tuned model of a known base."""
    kind, _, rest = model.partition(":")
    return kind == "ft" and load_catalogue().model(rest.partition(":")[0]) is not None


def _unknown(model: str, today: date) -> str:
    catalogue = load_catalogue()
    ends = {name: known.shutdown for name in catalogue.ids() if (known := catalogue.model(name))}
    living = [name for name, end in ends.items() if end is None or end > today.isoformat()]
    near = get_close_matches(model, living, _NAMED)
    names = f" (like it: {', '.join(near)})" if near else ""
    return f"OpenAI has no model {model!r} that we know of{names}; if it is there, {_VOUCH}"
