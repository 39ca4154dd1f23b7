"""`headworks keys`: make, list, rotate and revoke the keys that apps send."""

import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from headworks.errors import ConfigurationError

if TYPE_CHECKING:  # commands pay for the store when they run, `headworks --help` does not
    from headworks.stores.keystore import Grant, KeyRecord, KeyStore
    from headworks.stores.pepper import Pepper
    from headworks.types import Secret

app = typer.Typer(
    name="keys",
    help="Virtual keys: what apps send instead of a provider's key.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_SPAN = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration that names the store.", metavar="FILE"),
]
Store = Annotated[
    str | None,
    typer.Option(help="The store itself; no configuration is read then.", metavar="FILE"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]
Which = Annotated[str, typer.Argument(help="Name or id of the key.", metavar="KEY")]


@app.command()
def create(  # noqa: PLR0913 - one option each
    name: Annotated[str, typer.Option(help="What reports call it, unique.")],
    project: Annotated[str, typer.Option(help="What its costs are booked on.")] = "",
    model: Annotated[
        list[str] | None, typer.Option(help="A model it may use; repeatable. Default: all.")
    ] = None,
    rpm: Annotated[int | None, typer.Option(min=1, help="Requests a minute.")] = None,
    parallel: Annotated[int | None, typer.Option(min=1, help="Requests at once.")] = None,
    expires: Annotated[
        str | None, typer.Option(help="Its end: 2027-01-01, or after 90d.", metavar="WHEN")
    ] = None,
    config: Config = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and show its secret, once.

    \b
    headworks keys create --name web --project shop --model assistant --rpm 60 --parallel 8
    headworks keys create --name ci --expires 90d --json | jq -r .secret
    """
    from headworks.stores.keystore import Grant
    from headworks.types import RateLimits

    with _refusals():
        place = _place(config, store)
        models = frozenset(model) if model else None
        grant = Grant(name, project, models, RateLimits(rpm, parallel), _moment(expires))
        record, secret = place.create(grant)
    _show_secret(record, secret, f"Key '{name}' was made (id {record.id}).", as_json=as_json)


@app.command("list")
def list_(config: Config = None, store: Store = None, as_json: AsJson = False) -> None:
    """List all keys in the store; secrets are not kept, so none are shown.

    \b
    headworks keys list
    headworks keys list --json | jq '.[] | select(.status == "active").name'
    """
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


@app.command()
def rotate(
    key: Which,
    overlap: Annotated[
        str, typer.Option(help="How long older secrets still work: 24h, 30m, 0s.", metavar="SPAN")
    ] = "24h",
    config: Config = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret, shown once; the old one works until the overlap is over.

    \b
    headworks keys rotate web
    headworks keys rotate web --overlap 0s      # the old one leaked
    """
    with _refusals():
        span = _span(overlap)
        if span is None:
            _refuse(f"'{overlap}' is not a span of time; write it as 24h, 30m or 0s")
        record, secret = _place(config, store).rotate(key, span)
    end = f"until {_spell(_now() + span)} at most" if span else "no longer, within a second"
    text = f"Key '{record.grant.name}' has a new secret (id {record.id}). Older ones work {end}."
    _show_secret(record, secret, text, as_json=as_json)


@app.command()
def revoke(
    key: Which, config: Config = None, store: Store = None, as_json: AsJson = False
) -> None:
    """End a key, effective within a second. A name ends all its secrets, an id only that one.

    \b
    headworks keys revoke web
    headworks keys revoke 4fTq0ZsW1b
    """
    with _refusals():
        records = _place(config, store).keys.revoke(key)
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

    def create(self, grant: "Grant") -> "tuple[KeyRecord, Secret]":
        """Make a key whose name the configuration does not have."""
        if grant.name in self.configured_names:
            _refuse(f"the configuration has a key named '{grant.name}': choose another name")
        return self.keys.create(grant, self._pepper())

    def rotate(self, which: str, overlap: float) -> "tuple[KeyRecord, Secret]":
        """Replace a key."""
        return self.keys.rotate(which, overlap, self._pepper())

    def _pepper(self) -> "Pepper":
        from headworks.stores.pepper import load_pepper

        return load_pepper(self.path, self.configured_pepper)
