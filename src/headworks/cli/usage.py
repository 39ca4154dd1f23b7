"""`headworks usage` and `headworks ledger`: what was spent, and the proof of it."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from headworks.cli.moments import now
from headworks.cli.places import ConfigOption, StoreOption, configuration
from headworks.errors import ConfigurationError

if TYPE_CHECKING:  # `headworks --help` does not pay for SQLite
    from headworks.stores.usage_asking import Words
    from headworks.stores.verify import Report

ledger_app = typer.Typer(
    name="ledger",
    help="The ledger: one row for every attempt that may cost money.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_LISTED = 25

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]


def usage_command(  # noqa: PLR0913 - one option each
    *,
    by: Annotated[
        str, typer.Option(help="Group by these, comma-separated: model,key,feature,user,…")
    ] = "model",
    where: Annotated[
        list[str] | None,
        typer.Option(help="Only calls with this value; repeat it for more.", metavar="AXIS=VALUE"),
    ] = None,
    since: Annotated[
        str, typer.Option(help="24h, 7d, 2026-11-01, 2026-11-01T12:00Z, or all.", metavar="WHEN")
    ] = "24h",
    until: Annotated[
        str | None, typer.Option(help="Likewise. Default: now.", metavar="WHEN")
    ] = None,
    tz: Annotated[
        str, typer.Option("--tz", help="Whose hours and days: Europe/Berlin.", metavar="ZONE")
    ] = "UTC",
    top: Annotated[
        int | None,
        typer.Option(help="List so many groups, the rest as others. Default in a table: 25."),
    ] = None,
    per: Annotated[str, typer.Option(help="Show the cost of each: call, user, or both.")] = "",
    compare: Annotated[
        str | None,
        typer.Option(
            help="Say what drives the change of cost: the last 7d against the 7d before, or with "
            "'before' the period of --since and --until against the one before it.",
            metavar="SPAN",
        ),
    ] = None,
    config: ConfigOption = None,
    store: StoreOption = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write CSV for spreadsheets.")] = False,
) -> None:
    """Show what was spent, by model, key, feature, user or whatever else calls are tagged with.

    Groups: model, asked, key, key_id, project, feature, user, session, endpoint, upstream,
    credential, route, tier, outcome, certainty, tag, hour, day.

    \b
    headworks usage
    headworks usage --by key,feature --since 7d --per call
    headworks usage --by user --where project=shop --top 10 --since 30d
    headworks usage --by day,model --since 2026-11-01 --until 2026-12-01 --tz Europe/Berlin --csv
    headworks usage --by user --json | jq '.lines[0]'
    headworks usage --compare 7d
    """  # noqa: D301 - \b keeps click from wrapping
    from headworks.stores.usage_asking import Words

    words = Words(
        by=by, where=tuple(where or ()), since=since, until=until, tz=tz, top=top, per=per
    )
    if as_json and as_csv:
        _refuse(ConfigurationError(["--json, --csv: write one of them"]), 1)
    try:
        path = _ledger(config, store)
        if compare is not None:
            told = _compared(path, words, compare, as_json=as_json, as_csv=as_csv)
        else:
            told = _reported(path, words, as_json=as_json, as_csv=as_csv)
    except ConfigurationError as error:
        _refuse(error, 1)
    typer.echo(told, nl=False)


def _reported(path: Path, words: "Words", *, as_json: bool, as_csv: bool) -> str:
    from headworks.stores.usage import usage
    from headworks.stores.usage_asking import units
    from headworks.stores.usage_forms import as_csv as csv_of
    from headworks.stores.usage_forms import as_object

    query, per = words.query(now()), units(words.per)
    if as_json:
        return json.dumps(as_object(usage(path, query)), indent=2) + "\n"
    if as_csv:
        return csv_of(usage(path, query), per)
    from headworks.cli.usage_tables import usage_table

    if query.top is None and not query.has_times:
        query = replace(query, top=_LISTED)
    return "".join(f"{line}\n" for line in usage_table(usage(path, query), per))


def _compared(path: Path, words: "Words", compare: str, *, as_json: bool, as_csv: bool) -> str:
    from headworks.stores.usage_drivers import compare as compared

    if as_csv:
        raise ConfigurationError(["--csv: a comparison is no table; write --json"])
    query = words.comparison(compare, now())
    found = compared(path, query)
    if as_json:
        from headworks.stores.usage_forms import as_comparison

        return json.dumps(as_comparison(found), indent=2) + "\n"
    from headworks.cli.usage_tables import comparison_table

    return "".join(f"{line}\n" for line in comparison_table(found, query.zone))


@ledger_app.command("verify")
def verify_command(
    *,
    config: ConfigOption = None,
    store: StoreOption = None,
    ledger: Annotated[
        Path | None,
        typer.Option(help="The ledger itself, such as a copy of it.", metavar="FILE"),
    ] = None,
    head: Annotated[
        str,
        typer.Option(help="A head of the chain that was noted earlier: it must still be in it."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Prove the ledger: whole, no attempt twice or missing, nothing changed, every cost right.

    Ends with exit code 1 if it is not, 2 if there is none. A running gateway is not disturbed.

    \b
    headworks ledger verify
    headworks ledger verify --ledger headworks.ledger.db --json | jq .findings
    """  # noqa: D301 - \b keeps click from wrapping
    from headworks.stores.verify import verify

    try:
        path = ledger or _ledger(config, store)
        report = verify(path, head)
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
        "chain": {
            "links": report.links,
            "head": report.head,
            "from_row": report.chained_from,
        },
        "held": report.held,
        "findings": report.findings,
    }


def _as_text(path: Path, report: "Report") -> Iterable[str]:
    from headworks.cli.usage_tables import usd
    from headworks.stores.usage_forms import printable

    yield f"{path}: {report.rows} attempts"
    for state in report.states:
        unpriced = f", {state.without_cost} unpriced" if state.without_cost else ""
        sums = f", {usd(state.cost_nano)} USD{unpriced}" if state.state == "settled" else ""
        yield f"  {state.state}: {state.rows}{sums}"
    if report.links:
        begin = f", from row {report.chained_from} on"
        yield f"  chain: {report.links} rows{begin * (report.chained_from != 1)}"
        yield f"  head: {report.head}"
    yield from (f"  open: {held}" for held in report.held)
    yield from (f"WRONG {printable(finding)}" for finding in report.findings)
    yield "The ledger is sound." if report.is_sound else "The ledger is NOT sound."
