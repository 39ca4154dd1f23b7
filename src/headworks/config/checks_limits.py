"""What must fit together under `limits`, wherever it stands."""

from collections.abc import Iterator
from typing import Any, Final

from headworks.config.problems import values_at
from headworks.config.tree import Path, Reading, as_mapping

PLACES: Final[tuple[Path, ...]] = (
    ("limits",),
    ("keys", "*", "limits"),
    ("client_tokens", "limits"),
    ("keys", "*", "client_tokens", "limits"),
    *((name, "*", "limits") for name in ("projects", "users", "tags")),
)
_TOKENS: Final = frozenset({"tpm", "tpd"})


def limit_findings(reading: Reading) -> Iterator[tuple[Path, str]]:
    """Yield settings that would do nothing, and limits that another one makes idle."""
    for path, value in (one for place in PLACES for one in values_at(reading.values, place)):
        given = as_mapping(value) or {}
        models = as_mapping(given.get("models")) or {}
        each = {path: given, **{(*path, "models", name): one for name, one in models.items()}}
        if "reserve" in given and not any(
            _TOKENS & set(as_mapping(one) or ()) for one in each.values()
        ):
            yield (*path, "reserve"), "does nothing without a limit on tokens: tpm or tpd"
        for name, one in models.items():
            if not as_mapping(one):
                yield (
                    (*path, "models", name),
                    "limits nothing; say what: rpm, tpm, rpd, tpd, parallel",
                )
        for place, one in each.items():
            yield from _idle(place, as_mapping(one) or {})


def _idle(path: Path, given: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    for minute, day in (("rpm", "rpd"), ("tpm", "tpd")):
        less, more = given.get(day), given.get(minute)
        if isinstance(less, int) and isinstance(more, int) and less < more:
            yield (*path, minute), f"is never reached, since {day} is less"
