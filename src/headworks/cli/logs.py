"""`headworks logs`: the calls that the gateway has written down, those that matter now."""

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from headworks.cli.moments import moment
from headworks.cli.places import ConfigOption, configuration
from headworks.errors import ConfigurationError

_SHOWN = ("call", "key", "model", "route", "status", "outcome", "filtered")


@dataclass(frozen=True, slots=True)
class Sieve:
    """Which calls are wanted; `since` is in seconds since 1970."""

    filtered: bool = False
    model: str | None = None
    key: str | None = None
    outcome: str | None = None
    since: float | None = None

    def passes(self, line: dict[str, Any]) -> bool:
        """Return whether a call is wanted."""
        named = (("model", self.model), ("key", self.key), ("outcome", self.outcome))
        if any(wanted is not None and line.get(name) != wanted for name, wanted in named):
            return False
        if self.filtered and not line.get("filtered"):
            return False
        return self.since is None or _begun(line) >= self.since


def logs_command(  # noqa: PLR0913 - one option each
    *,
    filtered: Annotated[
        bool, typer.Option("--filtered", help="Only what a provider's content filter stopped.")
    ] = False,
    model: Annotated[str | None, typer.Option(help="Only calls that asked for this model.")] = None,
    key: Annotated[str | None, typer.Option(help="Only calls by the key of this name.")] = None,
    outcome: Annotated[
        str | None, typer.Option(help="Only calls that ended so: completed, or an error's code.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="24h, 7d, 2026-11-01, 2026-11-01T12:00Z, or all.", metavar="WHEN"),
    ] = None,
    last: Annotated[int, typer.Option(help="So many of them, the latest; 0 for all.", min=0)] = 50,
    file: Annotated[
        Path | None,
        typer.Option(help="The file of calls; - for standard input.", metavar="FILE"),
    ] = None,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write the lines as they are.")] = False,
) -> None:
    """Show the calls that the gateway has written down, the latest last.

    They stand in the file that `log.file` names. Without one they went to standard error, whose
    record can be given instead.

    \b
    headworks logs --filtered --since 7d
    headworks logs --key web --outcome all_routes_failed --last 0
    headworks logs --model assistant --json | jq .trail
    journalctl -u headworks -o cat | headworks logs --file - --filtered
    """  # noqa: D301 - \b keeps click from wrapping
    sieve = Sieve(filtered, model, key, outcome, moment("--since", since))
    with ExitStack() as closing:
        found = deque(_wanted(_lines(file, config, closing), sieve), maxlen=last or None)
    for text in _told(found, as_json=as_json):
        typer.echo(text)


def _lines(file: Path | None, config: Path | None, closing: ExitStack) -> Iterable[bytes]:
    """Return the raw lines of the file of calls."""
    if file == Path("-"):
        return sys.stdin.buffer
    path = file or configuration(config, None).log.file
    if path is None:
        raise ConfigurationError(
            ["log.file: is not set, so that no file holds the calls; name one with --file"]
        )
    try:
        return closing.enter_context(path.open("rb"))
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be read: {error.strerror}"]) from None


def _wanted(lines: Iterable[bytes], sieve: Sieve) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yield the calls that pass; a log has other lines too, and its last one may be half."""
    import msgspec

    decode = msgspec.json.Decoder(dict[str, Any]).decode
    for raw in lines:
        if b'"call":"' not in raw or (sieve.filtered and b'"filtered":null' in raw):
            continue
        try:
            line = decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if "outcome" in line and sieve.passes(line):
            yield raw, line


def _begun(line: dict[str, Any]) -> float:
    from datetime import datetime

    try:
        return datetime.fromisoformat(str(line.get("time"))).timestamp()
    except ValueError:
        return 0.0


def _told(found: Iterable[tuple[bytes, dict[str, Any]]], *, as_json: bool) -> Iterator[str]:
    if as_json:
        yield from (raw.decode("utf-8", "replace").rstrip("\n") for raw, _ in found)
        return
    rows = [["time", *_SHOWN, "ms", "usd"], *(_row(line) for _, line in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _row(line: dict[str, Any]) -> list[str]:
    cost: Any = line.get("cost_usd")
    return [
        _cell(str(line.get("time"))[:19]),
        *(_cell(line.get(name)) for name in _SHOWN),
        _cell(line.get("duration_ms")),
        "-" if not isinstance(cost, int | float) else f"{cost:.6f}",
    ]


def _cell(value: object) -> str:
    """Return text that cannot steer a terminal: names come from callers."""
    text = "-" if value in {None, ""} else str(value)[:60]
    return "".join(char if char.isprintable() else "?" for char in text)
