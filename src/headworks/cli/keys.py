"""`headworks keys`: make, list, change, rotate and revoke the keys that apps send."""

import json
import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from headworks.cli.key_options import Settings, said, with_settings
from headworks.cli.places import ConfigOption, StoreOption, configuration
from headworks.errors import ConfigurationError

if TYPE_CHECKING:  # commands pay for the store when they run, `headworks --help` does not
    from headworks.config.grants import Said
    from headworks.core.grants import Grant
    from headworks.stores.keystore import KeyRecord, KeyStore
    from headworks.stores.pepper import Pepper
    from headworks.types import Secret

app = typer.Typer(
    name="keys",
    help="Virtual keys: what apps send instead of a provider's key.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_HEAD = ("ID", "NAME", "PROJECT", "MODELS", "LIMITS", "BUDGET", "MORE", "EXPIRES", "STATE")
_USUAL = {
    "priority": "interactive",
    "on_disconnect": "cancel",
    "on_ledger_failure": "refuse",
    "unpriced": "flag",
}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_SPAN = re.compile(r"(\d{1,5})([smhdw])", re.ASCII)

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]
Which = Annotated[str, typer.Argument(help="Name or id of the key.", metavar="KEY")]


@app.command(
    epilog="""\b
    headworks keys create --name web --project shop --model assistant --rpm 60 --parallel 8
    headworks keys create --name web --budget 10.00 --budget-per day --budget-reserve strict
    headworks keys create --name ci --expires 90d --json | jq -r .secret
    """
)
@with_settings
def create(
    *,
    name: Annotated[str, typer.Option(help="What reports call it, unique.", metavar="NAME")],
    settings: Settings,
    config: ConfigOption = None,
    store: StoreOption = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and show its secret, once."""
    with _refusals():
        place = _place(config, store)
        record, secret = place.create(_said(name, settings))
    _show_secret(record, secret, f"Key '{name}' was made (id {record.id}).", as_json=as_json)


@app.command(
    epilog="""\b
    headworks keys change web --rpm 120 --budget 50
    headworks keys change web --unset budget --unset model
    """
)
@with_settings
def change(
    key: Which,
    *,
    settings: Settings,
    unset: Annotated[
        list[str] | None,
        typer.Option(help="A setting to take away, by its option; repeatable.", metavar="OPTION"),
    ] = None,
    config: ConfigOption = None,
    store: StoreOption = None,
    as_json: AsJson = False,
) -> None:
    """Change what a key may do, effective within a second; its secret stays.

    What is not named stays as it is.
    """
    with _refusals():
        record = _place(config, store).change(key, _said(None, settings, unset or ()))
    now = _now()
    if as_json:
        typer.echo(json.dumps(_plain(record, now), indent=2))
        return
    for line in _table([_row(record, now)]):
        typer.echo(line)


@app.command(
    "list",
    epilog="""\b
    headworks keys list
    headworks keys list --json | jq '.[] | select(.status == "active").name'
    """,
)
def list_(
    *, config: ConfigOption = None, store: StoreOption = None, as_json: AsJson = False
) -> None:
    """List all keys; secrets are not kept, so none are shown."""
    with _refusals():
        records = _place(config, store).keys.list()
    now = _now()
    if as_json:
        typer.echo(json.dumps([_plain(record, now) for record in records], indent=2))
    elif not records:
        typer.echo("No keys yet: headworks keys create --name web")
    else:
        for line in _table([_row(record, now) for record in records]):
            typer.echo(line)


@app.command(
    epilog="""\b
    headworks keys rotate web
    headworks keys rotate web --overlap 0s     (the old one leaked)
    """
)
def rotate(
    key: Which,
    *,
    overlap: Annotated[
        str, typer.Option(help="How long older secrets still work: 24h, 30m, 0s.", metavar="SPAN")
    ] = "24h",
    config: ConfigOption = None,
    store: StoreOption = None,
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret, shown once.

    The old one works until the overlap is over, or until the key itself expires.
    """
    with _refusals():
        span = _span(overlap)
        if span is None:
            _refuse(f"'{overlap}' is not a span of time; write it as 24h, 30m or 0s")
        record, secret = _place(config, store).rotate(key, span)
    end = f"until {_spell(_now() + span)} at most" if span else "no longer"
    text = f"Key '{record.grant.name}' has a new secret (id {record.id}). Older ones work {end}."
    _show_secret(record, secret, text, as_json=as_json)


@app.command(
    epilog="""\b
    headworks keys revoke web
    headworks keys revoke 4fTq0ZsW1b
    """
)
def revoke(
    key: Which, *, config: ConfigOption = None, store: StoreOption = None, as_json: AsJson = False
) -> None:
    """End a key, effective within a second.

    A name ends all secrets of that name, an id only that one.
    """
    with _refusals():
        records = _place(config, store).revoke(key)
    now = _now()
    if as_json:
        typer.echo(json.dumps([_plain(record, now) for record in records], indent=2))
        return
    for record in records:
        typer.echo(f"Key '{record.grant.name}' (id {record.id}) is revoked.")
    typer.echo(
        "Running gateways refuse it within a second." if records else "It was revoked before."
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """The store that a command works on, and what its configuration says of keys."""

    path: Path
    keys: "KeyStore"
    configured_pepper: "Secret | None" = None
    configured_names: frozenset[str] = frozenset()

    def create(self, said: "Iterable[Said]") -> "tuple[KeyRecord, Secret]":
        """Make a key whose name the configuration does not have."""
        from headworks.config.grants import grant_of

        grant = grant_of(said)
        if grant.name in self.configured_names:
            _refuse(f"the configuration has a key named '{grant.name}': choose another name")
        return self.keys.create(grant, self._pepper())

    def change(self, which: str, said: "Iterable[Said]") -> "KeyRecord":
        """Let a key do what is said of it."""
        from headworks.config.grants import grant_of

        self._check_stored(which)
        return self.keys.change(which, lambda grant: grant_of(said, grant))

    def rotate(self, which: str, overlap: float) -> "tuple[KeyRecord, Secret]":
        """Replace a key."""
        self._check_stored(which)
        return self.keys.rotate(which, overlap, self._pepper())

    def revoke(self, which: str) -> "tuple[KeyRecord, ...]":
        """End a key."""
        self._check_stored(which)
        return self.keys.revoke(which)

    def _check_stored(self, which: str) -> None:
        """Refuse a key that the configuration alone has."""
        if which in self.configured_names and all(
            which not in {one.id, one.grant.name} for one in self.keys.list()
        ):
            _refuse(f"key '{which}' stands in the configuration: change it there")

    def _pepper(self) -> "Pepper":
        from headworks.stores.pepper import load_pepper

        return load_pepper(self.path, self.configured_pepper)


def _place(config: Path | None, store: str | None) -> _Place:
    from headworks.stores.keystore import KeyStore

    found = configuration(config, store)
    names = frozenset(key.grant.name for key in found.keys)
    return _Place(found.store, KeyStore(found.store, _now), found.key_pepper, names)


@contextmanager
def _refusals() -> Generator[None]:
    """Turn what the operator must change into lines on stderr and exit code 1."""
    from headworks.stores.keystore import KeyRefused

    try:
        yield
    except (KeyRefused, ConfigurationError) as error:
        _refuse(str(error))


def _refuse(message: str) -> NoReturn:
    typer.echo(f"headworks keys: {message}", err=True)
    raise typer.Exit(1)


def _show_secret(record: "KeyRecord", secret: "Secret", text: str, *, as_json: bool) -> None:
    if as_json:
        shown = _plain(record, _now()) | {"secret": secret.reveal()}
        typer.echo(json.dumps(shown, indent=2))
        return
    typer.echo(f"{text}\n\n    {secret.reveal()}\n")
    typer.echo("This secret is shown only now: it is not stored. Apps send it as their API key.")


def _plain(record: "KeyRecord", now: float) -> dict[str, Any]:
    """Return a record for programs: what it may do as a file says it, times in ISO 8601."""
    from headworks.config.grants import written

    return {
        "id": record.id,
        **written(record.grant),
        "status": record.status(now),
        "created": _iso(record.created),
        "revoked": _iso(record.revoked_at),
        "replaced_by": record.replaced_by,
        "origin": record.origin,
    }


def _row(record: "KeyRecord", now: float) -> tuple[str, ...]:
    from headworks.config.grants import written

    grant, text = record.grant, written(record.grant)
    limits = {**text["limits"], "reserve": None, "models": None}
    return (
        record.id,
        grant.name,
        grant.project or "-",
        "all" if grant.models is None else ",".join(sorted(grant.models)) or "none",
        _pairs(limits, **{name: "…" for name, _ in grant.limits.models}),
        _spell_budget(grant),
        _pairs(
            {name: text[name] for name, usual in _USUAL.items() if text[name] != usual},
            **_minting(grant),
            **_pieces(grant),
            **({"scopes": ",".join(text["scopes"])} if grant.scopes else {}),
        ),
        "never" if grant.expires is None else _spell(grant.expires),
        record.status(now),
    )


def _pairs(values: dict[str, Any], **more: str) -> str:
    shown = {name: value for name, value in values.items() if value is not None} | more
    return " ".join(f"{name}={value}" for name, value in shown.items()) or "-"


def _minting(grant: "Grant") -> dict[str, str]:
    from headworks.core.durations import spell

    rules = grant.client_tokens
    return {} if rules is None else {"client_tokens": spell(rules.longest)}


def _pieces(grant: "Grant") -> dict[str, str]:
    from headworks.core.durations import spell

    mode, delay = grant.buffering.mode, grant.buffering.max_delay
    told = {"buffer": mode, "max_delay": None if delay is None else spell(delay)}
    return {name: value for name, value in told.items() if value is not None}


def _spell_budget(grant: "Grant") -> str:
    from headworks.core.budget import dollars

    budget = grant.budget
    if budget is None:
        return "-"
    per = "in all" if budget.per == "total" else f"a {budget.per}"
    return f"{dollars(budget.limit)} {per}{'' if budget.is_hard else ', soft'}"


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    rows = [_HEAD, *rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _said(name: str | None, settings: Settings, unset: Iterable[str] = ()) -> "list[Said]":
    """Return what was said of a key; its end may be a span from now on."""
    from headworks.config.grants import Said

    span = _span(settings["expires"] or "")
    if span is not None:
        settings["expires"] = _iso(_now() + span)
    named = [] if name is None else [Said("--name", ("name",), name)]
    return [*named, *said(settings, unset)]


def _span(text: str) -> float | None:
    """Read "24h" as seconds, None for what is no span of time."""
    found = _SPAN.fullmatch(text)
    return float(found[1]) * _UNITS[found[2]] if found else None


def _now() -> float:
    from headworks.system import SystemClock

    return SystemClock().time()


def _spell(when: float) -> str:
    from headworks.stores.keystore import spell_day

    return spell_day(when)


def _iso(when: float | None) -> str | None:
    return None if when is None else datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds")
