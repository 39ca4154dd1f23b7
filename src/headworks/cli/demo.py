"""`headworks demo`: the main job on real traffic, and a report of what came of it."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # `headworks --help` does not pay for the demonstration
    from headworks.demo.run import Report


def demo(
    *,
    calls: Annotated[
        int, typer.Option(min=8, max=100_000, help="About how many calls to make.")
    ] = 300,
    seed: Annotated[int, typer.Option(help="Chooses answers and faults.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON for programs.")] = False,
) -> None:
    """Carry calls of all kinds past injected faults, and check the books. Needs no API key.

    A practice OpenAI is the upstream, a gateway stands before it, and the official client calls.
    Exit code 0 means: no call lost, and the ledger equals the provider's invoice.

    \b
    headworks demo
    headworks demo --calls 2000 --seed 1
    """  # noqa: D301 - \b is typer's mark for lines that stay as they are
    try:
        from headworks.demo.run import DemoFailed, demonstrate
    except ImportError as error:
        typer.echo(
            f"The demo calls by the official client: pip install 'headworks[client]' ({error})",
            err=True,
        )
        raise typer.Exit(1) from None
    if not as_json:
        typer.echo(
            "A practice OpenAI with faults, a gateway before it, the official client calling …"
        )
    try:
        report = demonstrate(calls, seed)
    except DemoFailed as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(_json(report) if as_json else _text(report))
    raise typer.Exit(0 if report.is_well else 1)


def _text(report: "Report") -> str:
    outcome, total = report.outcome, report.usage.total
    lines = [
        "",
        _line("calls", outcome.calls, _counts(outcome.kinds)),
        _line("faults", report.faults.total(), _counts(report.faults)),
        _line("attempts", total.attempts, "sent upstream; each has its row in the ledger"),
        _line("lost", len(outcome.lost), "calls that the app saw fail"),
        *(f"    {lost}" for lost in outcome.lost[:5]),
        _line("cached", outcome.cached_tokens, "prompt tokens read from the provider's cache"),
        "",
        f"  cost      {_usd(report.ledger)} by headworks' ledger",
        f"            {_usd(report.invoice)} by the practice OpenAI's invoice: "
        + ("equal" if report.ledger == report.invoice else "NOT EQUAL"),
        *(
            f"            {_usd(line.cost_nano)} for {line.group[0] or 'other'} "
            f"({line.calls} calls, {line.input + line.output:,} tokens)"
            for line in report.usage.lines
        ),
        "",
        _latency(report),
        "",
        "All is well." if report.is_well else "Something is wrong: see above.",
        "",
        "Next: headworks serve --simulate     a gateway to try your own app against",
        "      headworks init                 a configuration of your own",
        "      README.md                      a tour of five minutes",
    ]
    return "\n".join(lines)


def _latency(report: "Report") -> str:
    p50, p99 = (_quantile(report.outcome.overheads, share) for share in (0.5, 0.99))
    pace = report.outcome.calls / report.seconds
    return (
        f"  latency   {p50:.2f} ms p50, {p99:.2f} ms p99 added by headworks "
        f"({pace:.0f} calls/s, all on this machine)"
    )


def _json(report: "Report") -> str:
    import json

    outcome = report.outcome
    return json.dumps(
        {
            "ok": report.is_well,
            "calls": outcome.calls,
            "kinds": dict(outcome.kinds),
            "faults": dict(report.faults),
            "attempts": report.usage.total.attempts,
            "lost": outcome.lost,
            "cached_tokens": outcome.cached_tokens,
            "ledger_nano_usd": report.ledger,
            "invoice_nano_usd": report.invoice,
            "overhead_ms": {
                "p50": _quantile(outcome.overheads, 0.5),
                "p99": _quantile(outcome.overheads, 0.99),
            },
            "seconds": report.seconds,
        },
        indent=2,
    )


def _line(name: str, count: int, more: str) -> str:
    return f"  {name:<9} {count:>6,}   {more}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _usd(nano: int) -> str:
    from headworks.core.wire import usd

    return f"${usd(nano)}"


def _quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
