"""Now, and moments as people write them in options."""

from datetime import UTC, datetime

from headworks.core import moments


def moment(option: str, text: str | None) -> float | None:
    """Return seconds since 1970, None for no bound.

    Raises:
        ConfigurationError: The text is no time.
    """
    return moments.moment(option, text, now())


def now() -> float:
    """Return seconds since 1970."""
    return datetime.now(UTC).timestamp()  # noqa: TID251 - a command is where time comes in
