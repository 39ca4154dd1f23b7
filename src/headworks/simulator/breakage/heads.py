"""Heads that are wrong: lengths, types and encodings that do not fit the body."""

from headworks.simulator.breakage.strike import Strike

Fields = list[tuple[str, str]]
_UNKNOWN_LENGTH = 1_000_000


def same(fields: Fields, _strike: Strike) -> Fields:
    """Return the head."""
    return fields


def with_type(fields: Fields, strike: Strike) -> Fields:
    """Return the head with another content type."""
    return [*_without(fields, "content-type"), ("content-type", strike.rule.value)]


def without_type(fields: Fields, _strike: Strike) -> Fields:
    """Return the head without a content type."""
    return _without(fields, "content-type")


def longer(fields: Fields, strike: Strike) -> Fields:
    """Return the head with a length that the body does not reach."""
    return _with_length(fields, _length(fields) + strike.rule.count)


def shorter(fields: Fields, strike: Strike) -> Fields:
    """Return the head with a length that the body exceeds; a stream's first bytes alone fit it."""
    known = _length(fields) if _has_length(fields) else strike.rule.count + 100
    return _with_length(fields, max(0, known - strike.rule.count))


def doubled(fields: Fields, strike: Strike) -> Fields:
    """Return the head with two lengths that differ by the count, 0 for two equal ones."""
    length = _length(fields)
    return [*_with_length(fields, length), ("content-length", str(length + strike.rule.count))]


def twice_framed(fields: Fields, _strike: Strike) -> Fields:
    """Return the head with a length and with chunks."""
    return [*_with_length(fields, _length(fields)), ("transfer-encoding", "chunked")]


def gzipped(fields: Fields, _strike: Strike) -> Fields:
    """Return the head of a compressed body, whose length is not told."""
    return [*_without(fields, "content-length"), ("content-encoding", "gzip")]


def as_gzip(fields: Fields, _strike: Strike) -> Fields:
    """Return the head of a compressed body, with the length that the plain one has."""
    return [*fields, ("content-encoding", "gzip")]


def _with_length(fields: Fields, length: int) -> Fields:
    return [*_without(fields, "content-length"), ("content-length", str(length))]


def _has_length(fields: Fields) -> bool:
    return any(name == "content-length" for name, _ in fields)


def _length(fields: Fields) -> int:
    lengths = [int(value) for name, value in fields if name == "content-length"]
    return lengths[0] if lengths else _UNKNOWN_LENGTH


def _without(fields: Fields, name: str) -> Fields:
    return [field for field in fields if field[0] != name]
