"""`headworks simulate`: the practice OpenAI, for staging, CI and trying things out."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from headworks.simulator.config import SimulatorConfig
    from headworks.simulator.exchange import Application


def simulate(  # noqa: PLR0913 - one parameter an option
    *,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Models, pace, faults and prices.", metavar="FILE"),
    ] = None,
    scenario: Annotated[
        Path | None,
        typer.Option("--scenario", "-s", help="Phases with faults and a pace.", metavar="FILE"),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen at.")] = 4010,
    speed: Annotated[
        float | None, typer.Option(min=0.001, help="Times faster than a real provider.")
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(help="Pass all on to --upstream, and write it down here.", metavar="FILE"),
    ] = None,
    upstream: Annotated[
        str, typer.Option(help="The base URL of the provider to record.")
    ] = "https://api.openai.com/v1",
    replay: Annotated[
        Path | None, typer.Option(help="Answer as recorded in this file.", metavar="FILE")
    ] = None,
    missing: Annotated[
        Literal["refuse", "simulate"],
        typer.Option(help="What becomes of requests that were not recorded."),
    ] = "refuse",
    faults: Annotated[bool, typer.Option("--faults", help="List all faults, and leave.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON for programs.")] = False,
) -> None:
    """Run a practice OpenAI: true token counts, made-up answers, faults on demand.

    \b
    headworks simulate
    headworks simulate --speed 20 --config faults.yaml --scenario bad-monday.yaml
    headworks simulate --port 0 --json | head -1 | jq -r .base_url
    headworks simulate --faults
    headworks simulate --record cassette.jsonl --upstream https://api.openai.com/v1
    headworks simulate --replay cassette.jsonl --missing simulate
    OPENAI_BASE_URL=http://127.0.0.1:4010/v1 OPENAI_API_KEY=sk-simulator python app.py
    """  # noqa: D301 - \b is typer's mark for lines that stay as they are
    from headworks.gateway.listener import bind, url_of
    from headworks.simulator import serve_forever

    if faults:
        _list_faults(as_json=as_json)
        return
    if record and (replay or config or scenario or speed is not None):
        raise typer.BadParameter(
            "goes with --upstream, --host and --port alone", param_hint="--record"
        )
    if record:
        application, lines = _recorder(record, upstream)
    elif replay:
        application, lines = _player(replay, config, scenario, speed, missing)
    else:
        application, lines = _simulator(config, scenario, speed)
    with bind("--port", f"{host}:{port}") as listener:
        url = f"{url_of(listener)}/v1"
        lines = [f"The practice OpenAI listens at {url}", *lines]
        typer.echo(json.dumps({"base_url": url, "about": lines}) if as_json else "\n".join(lines))
        serve_forever(application, listener)


def _simulator(
    config: Path | None, scenario: Path | None, speed: float | None
) -> "tuple[Application, list[str]]":
    from headworks.simulator.config import load
    from headworks.simulator.server import simulator

    settings = load(config, speed=speed, scenario=scenario)
    application = simulator(settings)
    return application, [
        f"Keys: {', '.join(application.provider.accounts.secrets())}",
        "What it would bill: /_simulator/invoice; what it was asked: /_simulator/attempts",
        *_on(settings),
    ]


def _on(settings: "SimulatorConfig") -> list[str]:
    """Return what is switched on, a line each."""
    lines: list[str] = []
    if settings.faults:
        rules = (f"{rule.fault} {rule.probability:.0%}" for rule in settings.faults)
        lines.append(f"Faults by rule: {', '.join(rules)}; seed {settings.seed}")
    if settings.scenario:
        phases = settings.scenario.phases
        names = (phase.name or f"phase {at}" for at, phase in enumerate(phases, 1))
        again = ", again and again" if settings.scenario.loop else ""
        lines.append(f"Scenario: {', '.join(names)}{again}")
    if settings.limits:
        lines.append(f"Limits: {', '.join(limit.models for limit in settings.limits)}")
    return lines


def _list_faults(*, as_json: bool) -> None:
    from headworks.simulator.breakage.kinds import KINDS

    if as_json:
        listed = [
            {"fault": name, "says": kind.says, "fields": kind.fields}
            for name, kind in KINDS.items()
        ]
        typer.echo(json.dumps(listed))
        return
    for name, kind in KINDS.items():
        typer.echo(f"{name:24}{kind.says}")
        if kind.fields:
            typer.echo(f"{'':24}  {', '.join(kind.fields)}")


def _recorder(record: Path, upstream: str) -> "tuple[Application, list[str]]":
    from headworks.simulator.recorder import Recorder
    from headworks.simulator.server import WallClock

    try:
        application = Recorder(upstream, record, WallClock())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--upstream") from error
    return application, [
        f"All goes on to {upstream} with the client's own key, and into {record} without it."
    ]


def _player(
    replay: Path, config: Path | None, scenario: Path | None, speed: float | None, missing: str
) -> "tuple[Application, list[str]]":
    from headworks.simulator.cassettes import load
    from headworks.simulator.player import Player
    from headworks.simulator.server import WallClock

    recordings = load(replay)
    otherwise, lines = _simulator(config, scenario, speed) if missing == "simulate" else (None, [])
    player = Player(recordings, WallClock(), speed=speed or 1.0, otherwise=otherwise)
    count = sum(map(len, recordings.values()))
    rest = "is simulated" if otherwise else "is refused"
    return player, [f"It replays {count} exchanges of {replay}; what is not there {rest}.", *lines]
