"""The `headworks` command. Each command imports what it needs when it runs."""

import sys
from typing import Annotated

import typer

from headworks._version import __version__
from headworks.cli import config, keys, models, tokens, usage
from headworks.cli.demo import demo
from headworks.cli.logs import logs_command
from headworks.cli.serve import serve
from headworks.cli.simulate import simulate
from headworks.errors import ConfigurationError

app = typer.Typer(
    name="headworks",
    help="Production-grade OpenAI API calls: a gateway for teams, or in process.",
    epilog="""\b
    headworks demo                     see the whole thing work, without an API key
    headworks init && headworks serve  run the gateway with a configuration of your own
    """,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:  # noqa: FBT001 - typer's signature
    if asked:
        typer.echo(f"headworks {__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Hold the options of the whole command."""


app.command("init")(config.init_command)
app.command()(serve)
app.command()(demo)
app.command()(simulate)
app.command("usage")(usage.usage_command)
app.command("logs")(logs_command)
app.add_typer(keys.app)
app.add_typer(tokens.app)
app.add_typer(usage.ledger_app, name="ledger")
app.add_typer(models.app, name="models")
app.add_typer(config.app, name="config")


def main() -> None:
    """Run the command; what the operator must change is one line a problem, and exit code 1."""
    try:
        app()
    except ConfigurationError as error:
        sys.stderr.write("".join(f"headworks: {problem}\n" for problem in error.problems))
        sys.exit(1)
