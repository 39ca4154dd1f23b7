"""`headworks simulate`: the practice OpenAI, for staging, CI and trying things out."""

from pathlib import Path
from typing import Annotated

import typer


def simulate(
    *,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Models, pace, faults and prices.", metavar="FILE"),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen at.")] = 4010,
    speed: Annotated[
        float | None, typer.Option(min=0.001, help="Times faster than a real provider.")
    ] = None,
) -> None:
    """Run a practice OpenAI: true token counts, made-up answers, faults on demand.

    \b
    headworks simulate
    headworks simulate --speed 20 --config faults.yaml
    OPENAI_BASE_URL=http://127.0.0.1:4010/v1 OPENAI_API_KEY=sk-simulator python app.py
    """  # noqa: D301 - \b is typer's mark for lines that stay as they are
    from headworks.gateway.listener import bind, url_of
    from headworks.simulator import serve_forever
    from headworks.simulator.config import load

    settings = load(config, speed=speed)
    with bind("--port", f"{host}:{port}") as listener:
        typer.echo(f"The practice OpenAI listens at {url_of(listener)}/v1")
        typer.echo(f"Keys: {', '.join(settings.credentials.values())}")
        typer.echo(
            "What it would bill: /_simulator/invoice; what it was asked: /_simulator/attempts"
        )
        serve_forever(settings, listener)
