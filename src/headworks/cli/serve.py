"""`headworks serve`: the gateway."""

import contextlib
import os
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # `headworks --help` does not pay for the server
    from headworks.build import Assembly
    from headworks.config.settings import Config
    from headworks.observe.log import Redaction
    from headworks.ports import Journal
    from headworks.types import Secret

    Load = Callable[[], Config]


def serve(
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="The configuration. Default: $HEADWORKS_CONFIG, else ./headworks.yaml, else none: "
            "then OPENAI_API_KEY alone makes a configuration.",
            metavar="FILE",
        ),
    ] = None,
    simulate: Annotated[
        bool,
        typer.Option("--simulate", help="Put the practice OpenAI in place of every upstream."),
    ] = False,
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C; SIGHUP or a change of the file reloads it.

    \b
    OPENAI_API_KEY=sk-... headworks serve       one upstream, a key made for you
    headworks serve --simulate                  no API key needed: answers are made up
    headworks serve --config deploy/headworks.yaml
    """  # noqa: D301 - \b is typer's mark for lines that stay as they are
    from headworks.gateway.server import run

    with ExitStack() as until_stopped:
        load = _with_simulator(config, until_stopped) if simulate else _loader(config)
        code = run(_serve(load))
    raise typer.Exit(code)


def _loader(config: Path | None) -> "Load":
    """Return a function that reads the configuration as it is now."""

    def load() -> "Config":
        from headworks.config.loading import find, load

        return load(config or find(os.environ), os.environ)

    return load


def _with_simulator(config: Path | None, stack: ExitStack) -> "Load":
    """Return a function that reads the configuration with the practice OpenAI as every upstream."""
    from headworks.config.loading import find, load
    from headworks.config.settings import CredentialConfig
    from headworks.simulator import REALISTIC, SimulatorConfig, running
    from headworks.types import Secret

    secret = "sk-simulator"  # noqa: S105 - the practice OpenAI's own, known to all
    path = config or find(os.environ)
    environ = {**os.environ, "OPENAI_API_KEY": os.environ.get("OPENAI_API_KEY") or secret}
    ways = [way for model in load(path, environ).models.values() for way in model.all_routes()]
    models = dict.fromkeys(way.model for way in ways)
    simulator = stack.enter_context(running(SimulatorConfig(models=models, latency=REALISTIC)))
    credentials = (CredentialConfig("simulator", Secret(secret)),)

    def simulated() -> "Config":
        read = load(path, environ)
        upstreams = {
            name: replace(
                upstream,
                base_url=simulator.base_url,
                credentials=credentials,
                admin=None,
                proxy=None,
                ca_file=None,
            )
            for name, upstream in read.upstreams.items()
        }
        return replace(read, upstreams=upstreams)

    return simulated


async def _serve(load: "Load") -> None:
    from headworks.build import Assembly
    from headworks.config.settings import known_secrets
    from headworks.observe.log import Redaction, configure_logging

    config = load()
    redaction = Redaction(known_secrets(config))
    configure_logging(
        redaction,
        style="json" if config.log.format == "json" else "text",
        level=config.log.level.upper(),
    )
    with _calls_of(config, redaction) as calls:
        await _run(Assembly(config, journals=calls), load, redaction)


@contextmanager
def _calls_of(config: "Config", redaction: "Redaction") -> Generator["tuple[Journal, ...]"]:
    """Hold the log of calls open, if there is to be one."""
    from headworks.observe.call_file import CallFile
    from headworks.observe.journal import CallLog

    if not config.log.calls:
        yield ()
        return
    with ExitStack() as closing:
        path = config.log.file
        file = closing.enter_context(contextlib.closing(CallFile(path))) if path else None
        calls = CallLog(file or sys.stderr.buffer, redaction)
        closing.callback(calls.flush)
        yield (calls,)


async def _run(assembly: "Assembly", load: "Load", redaction: "Redaction") -> None:
    from headworks.config.settings import known_secrets
    from headworks.gateway.station import Station

    config = assembly.config
    made: Secret | None = None

    def reread() -> "Config":
        read = load() if made is None else _with_key(load(), made)
        redaction.learn(known_secrets(read))
        return read

    try:
        if not config.keys and not assembly.keys.statistics().stored:
            made = _make_key()
            await assembly.reload(reread())
        server = Station(assembly, reread).server(announce=_announce)
        _tell(config, made)
        with server.signals():
            await server.run()
    finally:
        await assembly.aclose()


def _make_key() -> "Secret":
    import secrets

    from headworks.core.keys import RANDOM_BYTES, mint

    return mint(secrets.token_bytes(RANDOM_BYTES)).secret


def _with_key(config: "Config", secret: "Secret") -> "Config":
    """Return the configuration with a key of this process beside its own."""
    from headworks.config.settings import KeyConfig
    from headworks.core.grants import Grant

    return replace(config, keys=(*config.keys, KeyConfig(Grant("generated"), secret)))


def _tell(config: "Config", made: "Secret | None") -> None:
    """Tell the operator what is odd, and the key if one was made."""
    for warning in config.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if made is not None:
        _announce("There is no key yet. Until this process ends, this one may use every model:")
        _announce(f"  export OPENAI_API_KEY={made.reveal()}")
        _announce("Make lasting ones with `headworks keys create`, or name them in headworks.yaml.")


def _announce(line: str) -> None:
    """Write a line to stdout, even if nobody reads it any more."""
    try:
        typer.echo(line)
    except OSError:  # what is still buffered must not fail again at the very end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
