"""Production-grade OpenAI API calls.

    hw = headworks.open("headworks.yaml")
    client = hw.openai()                    # an official openai.OpenAI

Everything is imported when it is first used, so that `import headworks` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from headworks._version import __version__

if TYPE_CHECKING:
    from headworks.errors import CallError, ConfigurationError
    from headworks.inprocess.aggregating import Aggregator, aggregate
    from headworks.inprocess.face import Headworks, open  # noqa: A004 - read as `headworks.open`

__all__ = [
    "Aggregator",
    "CallError",
    "ConfigurationError",
    "Headworks",
    "__version__",
    "aggregate",
    "open",
]

_HOMES = {
    "Aggregator": "headworks.inprocess.aggregating",
    "CallError": "headworks.errors",
    "ConfigurationError": "headworks.errors",
    "Headworks": "headworks.inprocess.face",
    "aggregate": "headworks.inprocess.aggregating",
    "open": "headworks.inprocess.face",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
