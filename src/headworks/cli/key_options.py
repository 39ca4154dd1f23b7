"""What can be said of a key on the command line: an option for each setting that a file has."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # the rules are loaded when a command runs
    from headworks.config.grants import Said

Settings = dict[str, Any]
"""What was given, by the names of the command's parameters; None is not given."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of a key: its option, where a file has it, and how the option is spelled."""

    flag: str
    path: str
    help: str
    metavar: str | None = None
    kind: Any = str

    @property
    def name(self) -> str:
        """Return what the command calls it."""
        return self.flag[2:].replace("-", "_")

    @property
    def parameter(self) -> inspect.Parameter:
        """Return it as a parameter of a command."""
        flags = f"{self.flag}/--no-{self.flag[2:]}" if self.kind is bool else self.flag
        return inspect.Parameter(
            self.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                self.kind | None, typer.Option(flags, help=self.help, metavar=self.metavar)
            ],
        )


OPTIONS = (
    Setting("--project", "project", "What its costs are booked on.", "NAME"),
    Setting(
        "--model", "models", "A model it may use; repeatable. Default: all.", "NAME", list[str]
    ),
    Setting(
        "--scope",
        "scopes",
        "What else it may do; repeatable. Default: nothing.",
        "admin",
        list[str],
    ),
    Setting("--rpm", "limits.rpm", "Requests a minute.", "N"),
    Setting("--tpm", "limits.tpm", "Tokens a minute.", "N"),
    Setting("--rpd", "limits.rpd", "Requests in 24 hours.", "N"),
    Setting("--tpd", "limits.tpd", "Tokens in 24 hours.", "N"),
    Setting("--parallel", "limits.parallel", "Requests at once.", "N"),
    Setting(
        "--reserve",
        "limits.reserve",
        "Tokens set aside for an answer: as many as usual, or as may come. Default: expected.",
        "expected|strict",
    ),
    Setting("--queue", "limits.queue", "Its calls that may wait for these limits.", "N"),
    Setting(
        "--model-limits",
        "limits.models",
        "What holds besides for one model; repeatable.",
        "MODEL:rpm=N,…",
        list[str],
    ),
    Setting(
        "--priority",
        "priority",
        "The highest of its calls. Default: interactive.",
        "interactive|background|batch",
    ),
    Setting("--budget", "budget.usd", "US dollars that it may spend in a period.", "USD"),
    Setting(
        "--budget-per",
        "budget.per",
        "When the budget begins anew. Default: month.",
        "day|week|month|total",
    ),
    Setting("--budget-time-zone", "budget.time_zone", "By whose calendar. Default: UTC.", "NAME"),
    Setting(
        "--budget-soft",
        "budget.soft",
        "A percentage of it at which an alert is raised; repeatable. Default: 50, 80 and 100.",
        "PERCENT",
        list[str],
    ),
    Setting(
        "--budget-hard",
        "budget.hard",
        "Whether calls that it has no room for are refused. Default: they are.",
        kind=bool,
    ),
    Setting(
        "--budget-unpriced",
        "budget.unpriced",
        "What a hard one does with models without a known price. Default: refuse.",
        "refuse|flag",
    ),
    Setting(
        "--budget-reserve",
        "budget.reserve",
        "What it holds for a call under way: the likely cost, or the most. Default: expected.",
        "expected|strict",
    ),
    Setting(
        "--client-tokens",
        "client_tokens.max_expiry",
        "It may mint client tokens that live so long at most: 15m, 1h.",
        "SPAN",
    ),
    *(
        Setting(f"--client-tokens-{name}", f"client_tokens.limits.{name}", f"{what} of each.", "N")
        for name, what in (
            ("rpm", "Requests a minute"),
            ("tpm", "Tokens a minute"),
            ("rpd", "Requests in 24 hours"),
            ("tpd", "Tokens in 24 hours"),
            ("parallel", "Requests at once"),
        )
    ),
    Setting(
        "--buffer",
        "stream.buffer",
        "Where the text of its streams is cut. Default: as its model or `stream` says.",
        "off|words|sentences|interval",
    ),
    Setting("--max-delay", "stream.max_delay", "How long text waits to be cut there.", "SPAN"),
    Setting("--expires", "expires", "Its end: 2027-01-01, or after 90d.", "WHEN"),
    Setting(
        "--on-disconnect",
        "on_disconnect",
        "What becomes of a call whose app hangs up. Default: cancel.",
        "cancel|drain",
    ),
    Setting(
        "--on-ledger-failure",
        "on_ledger_failure",
        "What becomes of its calls while the ledger cannot be written. Default: refuse.",
        "refuse|continue",
    ),
    Setting(
        "--unpriced",
        "unpriced",
        "What becomes of its calls to models without a known price. Default: flag.",
        "refuse|flag",
    ),
)
_BY_NAME = {option.name: option for option in OPTIONS}
_WHOLE = {"budget.usd": "budget", "client_tokens.max_expiry": "client_tokens"}
"""What goes with an option that is taken away, by its path."""


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each setting; what was given comes as its `settings`."""

    def run(**given: Any) -> None:
        settings = {name: given.pop(name) for name in _BY_NAME}
        command(settings=settings, **given)

    own = [one for one in inspect.signature(command).parameters.values() if one.name != "settings"]
    needed = [one for one in own if one.default is inspect.Parameter.empty]
    made = [option.parameter for option in OPTIONS]
    signature = inspect.Signature([*needed, *made, *(one for one in own if one not in needed)])
    run.__signature__ = signature  # type: ignore[attr-defined]  # what typer reads
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run


def said(settings: Settings, unset: Iterable[str] = ()) -> "Iterator[Said]":
    """Yield what was given, after what is taken away: options by their names without "--".

    Raises:
        ConfigurationError: A text is not of the form of its option.
    """
    from headworks.config.grants import Said

    for name in unset:
        option = _named(name)
        whole = _WHOLE.get(option.path, option.path)
        yield Said(f"--unset {name}", tuple(whole.split(".")), None)
    for name, value in settings.items():
        option = _BY_NAME[name]
        if value is None or value == []:
            continue
        if option.path == "limits.models":
            yield from (_model_limits(option.flag, one) for one in value)
        else:
            yield Said(option.flag, tuple(option.path.split(".")), value)


def _named(name: str) -> Setting:
    from headworks.config.problems import did_you_mean
    from headworks.errors import ConfigurationError

    names = {option.flag[2:]: option for option in OPTIONS}
    if name not in names:
        near = did_you_mean(name, names) or f"; known are {', '.join(names)}"
        raise ConfigurationError([f"--unset: {name!r} is no setting of a key{near}"])
    return names[name]


def _model_limits(flag: str, text: str) -> "Said":
    """Read "gpt-6-sol:tpm=50000,rpd=1000"; a name may hold colons."""
    from headworks.config.grants import Said
    from headworks.errors import ConfigurationError

    model, colon, rest = text.rpartition(":")
    pairs = [one.partition("=") for one in rest.split(",")]
    limits = {name.strip(): amount.strip() for name, _, amount in pairs}
    if not colon or not all(limits.values()) or len(limits) < len(pairs):
        problem = f"{flag}: write it as gpt-6-sol:tpm=50000,rpd=1000, each limit once"
        raise ConfigurationError([problem])
    return Said(flag, ("limits", "models", model), limits)
