"""Compares a ledger with a provider's invoice, line by line."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from typing_extensions import override

Attempt = Mapping[str, Any]
"""A row is an attempt as the ledger has it, a line one as the provider has it."""

FLAGGED = ("estimated", "unknown")
_COUNTS = ("input", "output", "cached", "reasoning", "tier")
_NEVER_CAME: Attempt = {"cost": 0, "outcome": "never came", "fault": "", "usage": {}}


@dataclass
class Verdict:
    """What a comparison came to.

    Attributes:
        findings: What is wrong, a sentence each.
        rows: Rows by certainty, and those that were released.
        booked: Nano-dollars by certainty; `billed` are those of their lines.
    """

    findings: list[str] = field(default_factory=list[str])
    lines: int = 0
    rows: Counter[str] = field(default_factory=Counter[str])
    booked: Counter[str] = field(default_factory=Counter[str])
    billed: Counter[str] = field(default_factory=Counter[str])

    def above(self, *kinds: str) -> float:
        """Return by how many per cent the rows of some kinds are above their lines, in sum."""
        billed = sum(self.billed[kind] for kind in kinds)
        return 100 * (sum(self.booked[kind] for kind in kinds) / billed - 1) if billed else 0.0

    @override
    def __str__(self) -> str:
        rows = ", ".join(f"{count} {kind}" for kind, count in sorted(self.rows.items()))
        return (
            f"{self.lines} lines; rows: {rows}; above the invoice: exact {self.above('exact'):.2f} %, "
            f"estimated {self.above('estimated'):.2f} %, both {self.above('exact', 'estimated'):.2f} %, "
            f"with unknown {self.above('exact', *FLAGGED):.2f} %"
        )


def judge(rows: Iterable[Attempt], lines: Iterable[Attempt]) -> Verdict:
    """Match every line of the invoice with one row of the ledger, and compare what they say."""
    verdict = Verdict()
    ledger = _by_call(rows, "user", "model_sent")
    invoice = _by_call(lines, "client_request_id", "model")
    for call in {**ledger, **invoice}:
        _judge_call(verdict, call, ledger.get(call, []), invoice.get(call, []))
    return verdict


def _by_call(
    attempts: Iterable[Attempt], tag: str, model: str
) -> dict[tuple[str, str], list[Attempt]]:
    """Return attempts by the name of their call and their model, in their order."""
    calls: dict[tuple[str, str], list[Attempt]] = defaultdict(list)
    for one in attempts:
        calls[one[tag], one[model]].append(one)
    return calls


def _judge_call(
    verdict: Verdict, call: tuple[str, str], rows: Sequence[Attempt], lines: Sequence[Attempt]
) -> None:
    verdict.lines += len(lines)
    sent = [row for row in rows if row["state"] != "released"]
    verdict.rows["released"] += len(rows) - len(sent)
    verdict.findings += [
        f"{call}: it was never sent, and costs {row['cost_nano']}"
        for row in rows
        if row["state"] == "released" and row["cost_nano"]
    ]
    if len(sent) < len(lines):
        verdict.findings.append(f"{call}: {len(lines)} lines, {len(sent)} rows")
        return
    matched = _best_match(sent, lines)
    for row, line in matched:
        certainty = row["certainty"] or row["state"]
        verdict.rows[certainty] += 1
        verdict.booked[certainty] += row["cost_nano"] or 0
        verdict.billed[certainty] += line["cost"] or 0
    verdict.findings += [f"{call}: {found}" for found in _findings(matched)]


def _best_match(
    rows: Sequence[Attempt], lines: Sequence[Attempt]
) -> Sequence[tuple[Attempt, Attempt]]:
    """Return each row with its line: in order; of more rows than lines those that fit best."""
    best: list[tuple[Attempt, Attempt]] = []
    for chosen in combinations(range(len(rows)), len(lines)):
        of_row = dict(zip(chosen, lines, strict=True))
        pairs = [(row, of_row.get(number, _NEVER_CAME)) for number, row in enumerate(rows)]
        if not best or len(list(_findings(pairs))) < len(list(_findings(best))):
            best = pairs
    return best


def _findings(pairs: Iterable[tuple[Attempt, Attempt]]) -> Iterator[str]:
    """Yield what is wrong with rows and their lines."""
    for row, line in pairs:
        certainty, cost, due, used = row["certainty"], row["cost_nano"], line["cost"], line["usage"]
        counted = {name: row[name] for name in _COUNTS if name in used}
        about = (
            f"{cost} ({row['outcome']}, {certainty}, {counted}), and the provider says {due} "
            f"({line['outcome']}, {line['fault'] or 'no fault'}, {used})"
        )
        if certainty not in {"exact", *FLAGGED}:
            yield f"it is {row['state']} as {certainty}"
        elif cost is None or due is None:
            yield f"it has no price: {about}"
        elif certainty == "exact" and (cost != due or counted != {n: used[n] for n in counted}):
            yield f"it costs exactly {about}"
        elif cost < due:
            yield f"it costs {about}"
