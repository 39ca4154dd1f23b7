"""`headworks tokens`: end the client tokens of users and keys, and mint one to try things out."""

import json
from collections.abc import Generator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from headworks.cli.moments import now
from headworks.cli.places import ConfigOption, StoreOption, configuration
from headworks.errors import CallError, ConfigurationError

if TYPE_CHECKING:  # commands pay for the store when they run, `headworks --help` does not
    from headworks.config.settings import Config
    from headworks.stores.client_tokens import Minted
    from headworks.stores.keystore import KeyStore, Revocation

app = typer.Typer(
    name="tokens",
    help="Client tokens: what browsers and phones send instead of a key.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]


@app.command(
    epilog="""\b
    headworks tokens revoke --user u42
    headworks tokens revoke --key web
    headworks tokens revoke --user u42 --key web
    """
)
def revoke(
    *,
    user: Annotated[
        str | None, typer.Option(help="Whose tokens: as the app names the user.", metavar="USER")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Tokens of which key: its name or id.", metavar="KEY")
    ] = None,
    config: ConfigOption = None,
    store: StoreOption = None,
    as_json: AsJson = False,
) -> None:
    """End the tokens that a user has, or that a key has minted, effective within a second.

    Tokens that are minted later work: let the app's backend mint none for this user, or end the
    key itself.
    """
    if not user and not key:
        _refuse("say whose tokens end: --user USER, --key KEY, or both")
    with _refusals():
        found = configuration(config, store)
        keys = _store(found)
        made = keys.revoke_tokens(user or "", _named(found, keys, key) if key else "")
    if as_json:
        typer.echo(json.dumps(_plain(made), indent=2))
        return
    typer.echo(f"Client tokens {_whose(made)} minted until {_spell(made.at)} are revoked.")
    typer.echo("Running gateways refuse them within a second.")


@app.command(
    epilog="""\b
    headworks tokens revocations
    headworks tokens revocations --json | jq -r '.[].user'
    """
)
def revocations(
    *, config: ConfigOption = None, store: StoreOption = None, as_json: AsJson = False
) -> None:
    """List what was revoked in the last day; tokens live an hour at most."""
    with _refusals():
        found = _store(configuration(config, store)).revocations()
    if as_json:
        typer.echo(json.dumps([_plain(one) for one in found], indent=2))
    elif not found:
        typer.echo("Nothing is revoked.")
    else:
        for one in found:
            typer.echo(f"{_spell(one.at)}  client tokens {_whose(one)}")


@app.command(
    epilog="""\b
    headworks tokens mint --key web --user u42
    headworks tokens mint --key web --user u42 --model assistant --rpm 10 --expires-in 5m
    export OPENAI_API_KEY=$(headworks tokens mint --key web --user u42 --json | jq -r .token)
    """
)
def mint(  # noqa: PLR0913 - an option each
    *,
    key: Annotated[str, typer.Option(help="Name of the key that mints it.", metavar="NAME")],
    user: Annotated[str, typer.Option(help="For whom it is.", metavar="USER")],
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A model that it is for; repeatable. Default: the key's.", metavar="NAME"
        ),
    ] = None,
    rpm: Annotated[int | None, typer.Option(help="Requests a minute.", metavar="N")] = None,
    tpm: Annotated[int | None, typer.Option(help="Tokens a minute.", metavar="N")] = None,
    parallel: Annotated[int | None, typer.Option(help="Requests at once.", metavar="N")] = None,
    expires_in: Annotated[
        str | None, typer.Option(help="How long it lives. Default: 10m.", metavar="SPAN")
    ] = None,
    config: ConfigOption = None,
    store: StoreOption = None,
    as_json: AsJson = False,
) -> None:
    """Mint a token, to try things out; an app's backend asks POST /api/client-tokens instead."""
    limits = {"rpm": rpm, "tpm": tpm, "parallel": parallel}
    asked = {"user": user, "models": model or None, "limits": limits, "expires_in": expires_in}
    with _refusals():
        made = _minted(configuration(config, store), key, asked)
    if as_json:
        typer.echo(json.dumps(made.shown(), indent=2))
        return
    claims = made.claims
    typer.echo(f"Token {claims.jti} of key '{key}' for user '{user}', until {_spell(claims.exp)}:")
    typer.echo(f"\n    {made.text.reveal()}\n")
    typer.echo("It is shown only now. Browsers and phones send it as their API key.")


def _minted(found: "Config", name: str, asked: dict[str, Any]) -> "Minted":
    """Return a token of the key of that name, stored or configured."""
    from headworks.core.client_tokens import read_asked
    from headworks.stores.keys import ConfiguredKey, SqliteKeys
    from headworks.stores.pepper import load_pepper
    from headworks.system import SystemClock

    configured = [ConfiguredKey(one.grant, one.secret) for one in found.keys]
    pepper = load_pepper(found.store, found.key_pepper)
    with closing(SqliteKeys(found.store, pepper, SystemClock(), configured)) as keys:
        made = keys.mint_for(name, read_asked(asked))
    if made is None:
        _refuse(f"no key that is in force has the name '{name}'")
    return made


def _store(found: "Config") -> "KeyStore":
    from headworks.stores.keystore import KeyStore

    return KeyStore(found.store, now)


def _named(found: "Config", keys: "KeyStore", which: str) -> str:
    """Return the name of a key that there is or was, given by name or id."""
    stored = {one.id: one.grant.name for one in keys.list()}
    names = {*stored.values(), *(one.grant.name for one in found.keys)}
    name = which if which in names else stored.get(which)
    if name is None:
        _refuse(f"no key has the name or id '{which}'")
    return name


@contextmanager
def _refusals() -> Generator[None]:
    """Turn what the operator must change into lines on stderr and exit code 1."""
    from headworks.stores.keystore import KeyRefused

    try:
        yield
    except (KeyRefused, ConfigurationError, CallError) as error:
        _refuse(str(error))


def _refuse(message: str) -> NoReturn:
    typer.echo(f"headworks tokens: {message}", err=True)
    raise typer.Exit(1)


def _whose(one: "Revocation") -> str:
    of_user = f"of user '{one.user}'" if one.user else ""
    of_key = f"of key '{one.key}'" if one.key else ""
    return " ".join(part for part in (of_user, of_key) if part)


def _plain(one: "Revocation") -> dict[str, object]:
    """Return a revocation for programs: what is not named is any."""
    at = datetime.fromtimestamp(one.at, UTC).isoformat(timespec="milliseconds")
    return {"user": one.user or None, "key": one.key or None, "at": at}


def _spell(when: float) -> str:
    from headworks.stores.keystore import spell_day

    return spell_day(when)
