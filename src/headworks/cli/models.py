"""`headworks models`: what the built-in catalogue knows."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # `headworks --help` does not pay for the catalogue
    from headworks.catalog import Catalogue
    from headworks.core.pricing import Rates

app = typer.Typer(
    name="models",
    help="The built-in catalogue: prices, limits and shutdown dates.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_FORM = "{:<36} {:>29} {:>9} {:>8}  {}"
_RATES = "{:>9} {:>9} {:>9}"


@app.callback()
def _models() -> None:
    """Name the group even while it has a single command."""


@app.command("list")
def list_(
    like: Annotated[str, typer.Argument(help="Only names with this in them.")] = "",
    *,
    retired: Annotated[bool, typer.Option("--all", help="Retired models as well.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON for programs.")] = False,
) -> None:
    """List models with today's standard prices in USD per million tokens, or seconds, or characters.

    \b
    headworks models list
    headworks models list gpt-5 --all
    headworks models list --json | jq '.models[] | select(.shutdown != null)'
    """  # noqa: D301 - \b keeps click from wrapping
    from headworks.catalog import load

    today = datetime.now(UTC).date()  # noqa: TID251 - a command is where time comes in
    catalogue = load()
    rows = [_row(catalogue, name, today) for name in catalogue.ids() if like in name]
    rows = [row for row in rows if retired or not row["retired"]]
    if as_json:
        typer.echo(json.dumps({"source": catalogue.source.prices, "models": rows}, indent=2))
        return
    columns = _RATES.format("input", "output", "cached")
    typer.echo(_FORM.format("model", columns, "context", "answer", "ends"))
    for row in rows:
        limits = [row["input_tokens"] or "-", row["output_tokens"] or "-"]
        typer.echo(_FORM.format(row["id"], _rates(row), *limits, row["shutdown"] or "").rstrip())
    typer.echo(
        f"{len(rows)} models; {catalogue.source.prices}; {catalogue.source.generated}; "
        '"?" is unknown, which is never counted as free'
    )


def _row(catalogue: "Catalogue", name: str, today: date) -> dict[str, Any]:
    from headworks.core.measures import MEASURES, USUAL

    model = catalogue.model(name)
    price = catalogue.price(name, today)
    tiers: Mapping[str, Rates] = price.tiers if price else {}
    rates = tiers["default"] if price and USUAL in price.measures else None
    shutdown = model.shutdown if model else None
    return {
        "id": name,
        "mode": model.mode if model else None,
        "input": _usd(rates.input) if rates else None,
        "output": _usd(rates.output) if rates else None,
        "cached": _usd(rates.cached) if rates else None,
        "tiers": sorted(tiers.keys() - MEASURES),
        "per_million": {name: _usd(tiers[name].input) for name in MEASURES & tiers.keys()},
        "input_tokens": model.input if model else None,
        "output_tokens": model.output if model else None,
        "shutdown": shutdown,
        "retired": shutdown is not None and shutdown <= today.isoformat(),
    }


def _rates(row: Mapping[str, Any]) -> str:
    """Return what tokens cost, or what the model is billed by in their place."""
    if row["input"] is None and row["per_million"]:
        return ", ".join(f"{usd} / 1M {name}s" for name, usd in row["per_million"].items())
    return _RATES.format(*(_shown(row[key]) for key in ("input", "output", "cached")))


def _usd(nano: int) -> str:
    """Return exact dollars, without trailing zeros past the cents."""
    dollars, rest = divmod(nano, 10**9)
    cents = f"{rest:09d}".rstrip("0")
    return f"{dollars}.{cents:0<2}"


def _shown(usd: str | None) -> str:
    return "?" if usd is None else usd
