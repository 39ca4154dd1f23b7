"""`headworks config`: check, show and describe the configuration; `headworks init`: begin one."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headworks.errors import ConfigurationError

if TYPE_CHECKING:  # commands pay for the loader when they run, `headworks --help` does not
    from headworks.config.loading import Loaded

app = typer.Typer(
    name="config",
    help="The configuration: check it, show it as it takes effect, print its schema.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

File = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="The file. Default: $HEADWORKS_CONFIG, else ./headworks.yaml, else none: then "
        "OPENAI_API_KEY alone makes a configuration.",
        metavar="FILE",
    ),
]


@app.command(
    epilog="""\b
    headworks config validate
    HEADWORKS_ENV=production headworks config validate --config deploy/headworks.yaml
    headworks config validate --json | jq -r '.problems[]'
    """
)
def validate(
    *,
    config: File = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON for programs.")] = False,
) -> None:
    """Tell everything that is wrong with the configuration; exit code 1 if anything is."""
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    try:
        warnings = _read(config).config.warnings
    except ConfigurationError as error:
        problems = error.problems
    if as_json:
        found = {"ok": not problems, "problems": problems, "warnings": warnings}
        typer.echo(json.dumps(found, indent=2))
    else:
        for line in (*problems, *(f"warning: {warning}" for warning in warnings)):
            typer.echo(line, err=True)
        if not problems:
            typer.echo("ok")
    raise typer.Exit(1 if problems else 0)


@app.command(
    epilog="""\b
    headworks config schema > headworks.schema.json
    """
)
def schema() -> None:
    """Print the JSON Schema of headworks.yaml, for editors."""
    from headworks.config.json_schema import json_schema_text

    typer.echo(json_schema_text(), nl=False)


@app.command(
    epilog="""\b
    headworks config show
    HEADWORKS__LOG__LEVEL=debug headworks config show --config deploy/headworks.yaml
    """
)
def show(*, config: File = None) -> None:
    """Print the configuration as it takes effect: all layers and defaults, secrets masked."""
    try:
        typer.echo(_read(config).as_yaml(), nl=False)
    except ConfigurationError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def init_command(
    *,
    path: Annotated[
        Path, typer.Option(help="Where to write the configuration.", metavar="FILE")
    ] = Path("headworks.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Write a commented headworks.yaml, and its JSON Schema for editors beside it.

    \b
    headworks init
    headworks init --path deploy/headworks.yaml --force
    """  # noqa: D301 - \b is typer's mark for lines that stay as they are
    from headworks.config import template

    try:
        written = template.write(path, force=force)
    except FileExistsError:
        typer.echo(f"{path} exists; overwrite it with --force", err=True)
        raise typer.Exit(1) from None
    except OSError as error:
        typer.echo(f"cannot write {path}: {error.strerror}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"wrote {written[0]} and {written[1]}")
    typer.echo("next: set OPENAI_API_KEY, then `headworks config validate` and `headworks serve`")


def _read(config: Path | None) -> "Loaded":
    from headworks.config.loading import find, read
    from headworks.system import SystemClock
    from headworks.wiring.standing import with_standing

    loaded = read(config or find(os.environ), os.environ)
    return replace(loaded, config=with_standing(loaded.config, SystemClock().time()))
