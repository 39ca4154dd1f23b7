"""Makes up texts in the formats that JSON schemas name."""

from collections.abc import Callable, Mapping

from headworks.simulator.chance import Chance
from headworks.simulator.words import NOUNS


def formatted(name: str, chance: Chance) -> str:
    """Return a text in the format, "" if it has no such rules."""
    make = _FORMATS.get(name)
    return make(chance) if make else ""


def _date(chance: Chance) -> str:
    return f"2026-{1 + chance.below(12):02}-{1 + chance.below(28):02}"


def _time(chance: Chance) -> str:
    return f"{chance.below(24):02}:{chance.below(60):02}:{chance.below(60):02}Z"


def _uuid(chance: Chance) -> str:
    digits = chance.hex(32)
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"


def _host(chance: Chance) -> str:
    return f"{chance.pick(NOUNS)}.example.com"


_FORMATS: Mapping[str, Callable[[Chance], str]] = {
    "date": _date,
    "date-time": lambda chance: f"{_date(chance)}T{_time(chance)}",
    "time": _time,
    "duration": lambda chance: f"PT{1 + chance.below(59)}M",
    "email": lambda chance: f"{chance.pick(NOUNS)}@example.com",
    "idn-email": lambda chance: f"{chance.pick(NOUNS)}@example.com",
    "hostname": _host,
    "idn-hostname": _host,
    "ipv4": lambda chance: f"192.0.2.{1 + chance.below(254)}",
    "ipv6": lambda chance: f"2001:db8::{1 + chance.below(9999):x}",
    "uri": lambda chance: f"https://{_host(chance)}/{chance.pick(NOUNS)}",
    "iri": lambda chance: f"https://{_host(chance)}/{chance.pick(NOUNS)}",
    "uri-reference": lambda chance: f"/{chance.pick(NOUNS)}",
    "iri-reference": lambda chance: f"/{chance.pick(NOUNS)}",
    "uri-template": lambda chance: f"/{chance.pick(NOUNS)}/{{{chance.pick(NOUNS)}}}",
    "json-pointer": lambda chance: f"/{chance.pick(NOUNS)}",
    "relative-json-pointer": lambda chance: f"{chance.below(3)}/{chance.pick(NOUNS)}",
    "uuid": _uuid,
    "regex": lambda chance: f"^{chance.pick(NOUNS)}$",
}
