"""`headworks usage` and `headworks ledger`: what was spent, and the proof of it."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from headworks.cli.moments import moment
from headworks.cli.places import ConfigOption, StoreOption, configuration
from headworks.errors import ConfigurationError

if TYPE_CHECKING:  # `headworks --help` does not pay for SQLite
    from headworks.stores.usage import Line, Usages
    from headworks.stores.verify import Report

ledger_app = typer.Typer(
    name="ledger",
    help="The ledger: one row for every attempt that may cost money.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_NANO = 10**9
_COLUMNS = ("calls", "attempts", "input", "output", "cached", "reasoning")

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]


def usage_command(  # noqa: PLR0913 - one option each
    *,
    by: Annotated[
        str, typer.Option(help="Group by these, comma-separated: model,key,feature,user,…")
    ] = "model",
    since: Annotated[
        str, typer.Option(help="24h, 7d, 2026-11-01, 2026-11-01T12:00Z, or all.", metavar="WHEN")
    ] = "24h",
    until: Annotated[str | None, typer.Option(help="Likewise. Default: now.")] = None,
    config: ConfigOption = None,
    store: StoreOption = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write CSV for spreadsheets.")] = False,
) -> None:
    """Show what was spent, by model, key, feature, user or whatever else calls are tagged with.

    Groups: model, asked, key, key_id, project, feature, user, session, endpoint, upstream,
    credential, tier, outcome, certainty, hour, day, tag. Times are UTC.

    \b
    headworks usage
    headworks usage --by key,feature --since 7d
    headworks usage --by day,model --since 2026-11-01 --until 2026-12-01 --csv > november.csv
    headworks usage --by user --json | jq '.lines[0]'
    """  # noqa: D301 - \b keeps click from wrapping
    from headworks.stores.usage import usage

    try:
        axes = [name.strip() for name in by.split(",") if name.strip()]
        begin, end = moment("--since", since), moment("--until", until)
        found = usage(_ledger(config, store), begin, end, axes)
    except ConfigurationError as error:
        _refuse(error, 1)
    if as_json:
        typer.echo(json.dumps(_plain_usage(found), indent=2))
    elif as_csv:
        typer.echo(_as_csv(found), nl=False)
    else:
        for text in _as_table(found):
            typer.echo(text)


@ledger_app.command("verify")
def verify_command(
    *,
    config: ConfigOption = None,
    store: StoreOption = None,
    ledger: Annotated[
        Path | None,
        typer.Option(help="The ledger itself, such as a copy of it.", metavar="FILE"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove the ledger: whole, no attempt twice or missing, every cost right.

    Ends with exit code 1 if it is not, 2 if there is none. A running gateway is not disturbed.

    \b
    headworks ledger verify
    headworks ledger verify --ledger headworks.ledger.db --json | jq .findings
    """  # noqa: D301 - \b keeps click from wrapping
    from headworks.stores.verify import verify

    try:
        path = ledger or _ledger(config, store)
        report = verify(path)
    except ConfigurationError as error:
        _refuse(error, 2)
    if as_json:
        typer.echo(json.dumps(_plain_report(path, report), indent=2))
    else:
        for text in _as_text(path, report):
            typer.echo(text)
    if not report.is_sound:
        raise typer.Exit(1)


def _ledger(config: Path | None, store: str | None) -> Path:
    from headworks.stores.ledger_schema import ledger_path

    return ledger_path(configuration(config, store).store)


def _refuse(error: ConfigurationError, code: int) -> NoReturn:
    for problem in error.problems:
        typer.echo(problem, err=True)
    raise typer.Exit(code)


def _usd(nano: int) -> str:
    """Return dollars with six decimals, rounded up: what is shown is never less than what is owed."""
    micro = -(-nano // 1000)
    return f"{micro // 10**6}.{micro % 10**6:06d}"


def _as_table(found: "Usages") -> Iterable[str]:
    heads = [*found.by, *_COLUMNS, "usd", "estimated", "waste"]
    rows = [[*(value or "-" for value in line.group), *_cells(line)] for line in found.lines]
    title = ["total", *[""] * len(found.by)][: len(found.by)]
    yield from _aligned([heads, *rows, [*title, *_cells(found.total)]], len(found.by))
    if found.total.unpriced:
        yield f"unpriced: {found.total.unpriced} (attempts at models without a known price)"
    if found.total.open:
        yield f"open: {found.total.open} (under way, {_usd(found.total.open_nano)} USD at most)"


def _cells(line: "Line") -> list[str]:
    unpriced = f" + {line.unpriced} unpriced" if line.unpriced else ""
    return [
        *(str(getattr(line, name)) for name in _COLUMNS),
        _usd(line.cost_nano) + unpriced,
        _usd(line.estimated_nano),
        _usd(line.waste_nano),
    ]


def _aligned(rows: Sequence[Sequence[str]], left: int) -> Iterable[str]:
    """Return rows as lines: the first `left` columns flush left, numbers flush right."""
    shown = [[_printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = zip(row, widths, strict=True)
        yield "  ".join(
            cell.ljust(width) if n < left else cell.rjust(width)
            for n, (cell, width) in enumerate(cells)
        ).rstrip()


def _printable(text: str) -> str:
    """Return text that cannot steer a terminal: tags come from callers."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _as_csv(found: "Usages") -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    numbers = ["cost_nano", "estimated_nano", "waste_nano", "unpriced", "open", "open_nano"]
    writer.writerow([*found.by, *_COLUMNS, *numbers])
    for line in found.lines if found.by else (found.total,):
        values = [getattr(line, name) for name in (*_COLUMNS, *numbers)]
        writer.writerow([*(_inert(_printable(value)) for value in line.group), *values])
    return out.getvalue()


def _inert(text: str) -> str:
    """Return text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


def _plain_usage(found: "Usages") -> dict[str, Any]:
    return {
        "by": found.by,
        "lines": [
            {"group": dict(zip(found.by, line.group, strict=True)), **_plain_line(line)}
            for line in found.lines
        ],
        "total": _plain_line(found.total),
    }


def _plain_line(line: "Line") -> dict[str, Any]:
    return {
        **{name: getattr(line, name) for name in _COLUMNS},
        "cost_nano": line.cost_nano,
        "cost_usd": _exact_usd(line.cost_nano),
        "estimated_nano": line.estimated_nano,
        "waste_nano": line.waste_nano,
        "unpriced": line.unpriced,
        "open": line.open,
        "open_nano": line.open_nano,
    }


def _exact_usd(nano: int) -> str:
    return f"{nano // _NANO}.{nano % _NANO:09d}"


def _plain_report(path: Path, report: "Report") -> dict[str, Any]:
    return {
        "ledger": str(path),
        "sound": report.is_sound,
        "rows": report.rows,
        "states": [
            {
                "state": state.state,
                "rows": state.rows,
                "cost_nano": state.cost_nano,
                "without_cost": state.without_cost,
            }
            for state in report.states
        ],
        "held": report.held,
        "findings": report.findings,
    }


def _as_text(path: Path, report: "Report") -> Iterable[str]:
    yield f"{path}: {report.rows} attempts"
    for state in report.states:
        unpriced = f", {state.without_cost} unpriced" if state.without_cost else ""
        sums = f", {_usd(state.cost_nano)} USD{unpriced}" if state.state == "settled" else ""
        yield f"  {state.state}: {state.rows}{sums}"
    yield from (f"  open: {held}" for held in report.held)
    yield from (f"WRONG {_printable(finding)}" for finding in report.findings)
    yield "The ledger is sound." if report.is_sound else "The ledger is NOT sound."
