"""The table of what was compared: `python -m tests.fidelity.report` prints it with every difference."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.fidelity.allowed import ALLOWED, LEFT_OUT, Allowed, LeftOut
from tests.fidelity.differences import Difference, differences, endpoint_of, is_counted
from tests.fidelity.recordings import Exchange, exchanges
from tests.fidelity.replay import Replay

SERVED = (
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/images",
    "/v1/moderations",
)


@dataclass
class Comparison:
    """What came of all exchanges.

    Attributes:
        counted: Exchanges whose prompt tokens were compared.
        meant: How many differences each entry of the table covers.
        left: What no entry covers, with the exchanges that differ so.
    """

    left_out: Counter[tuple[str, LeftOut]] = field(default_factory=Counter)
    compared: Counter[str] = field(default_factory=Counter)
    equal: Counter[str] = field(default_factory=Counter)
    allowed: Counter[str] = field(default_factory=Counter)
    counted: Counter[str] = field(default_factory=Counter)
    meant: Counter[Allowed] = field(default_factory=Counter)
    left: dict[Difference, list[Exchange]] = field(default_factory=lambda: defaultdict(list))

    def add(self, recorded: Exchange, found: Iterable[Difference]) -> None:
        """Take in the differences of one exchange."""
        endpoint, is_equal, is_meant = endpoint_of(recorded), True, True
        for one in found:
            is_equal = False
            entry = next((entry for entry in ALLOWED if entry.covers(recorded, one)), None)
            if entry is None:
                self.left[one].append(recorded)
                is_meant = False
            else:
                self.meant[entry] += 1
        self.compared[endpoint] += 1
        self.counted[endpoint] += is_counted(recorded)
        self.equal[endpoint] += is_equal
        self.allowed[endpoint] += is_meant and not is_equal

    def table(self) -> str:
        """Return the numbers by endpoint, then by reason."""
        out = Counter[str]()
        for (endpoint, _), count in self.left_out.items():
            out[endpoint] += count
        form = "{:40} {:>9} {:>8} {:>5} {:>7} {:>9} {:>15}"
        lines = [
            form.format(
                "", "exchanges", "compared", "equal", "allowed", "deviating", "tokens counted"
            )
        ]
        for name in sorted({*self.compared, *out}):
            compared, equal, meant = self.compared[name], self.equal[name], self.allowed[name]
            deviating, counted = compared - equal - meant, self.counted[name]
            numbers = (compared + out[name], compared, equal, meant, deviating, counted)
            lines.append(form.format(name, *numbers))
        lines += [
            f"left out {count:4} {name}: {one.reason}"
            for (name, one), count in sorted(
                self.left_out.items(), key=lambda pair: (pair[0][0], pair[0][1].reason)
            )
        ]
        lines += [
            f"allowed {count:5} {one.where}: {one.reason}" for one, count in self.meant.items()
        ]
        return "\n".join(lines)

    def deviations(self) -> str:
        """Return what is not meant to be, the most frequent first, each with an example."""
        listed = sorted(self.left.items(), key=lambda pair: (pair[0].endpoint, -len(pair[1])))
        return "\n".join(
            f"{one.endpoint}: {len(where)} x {one.where}\n    real: {one.real[:300]}\n"
            f"    ours: {one.ours[:300]}\n    as in {where[0].name} of {where[0].day}"
            for one, where in listed
        )


async def compare() -> Comparison:
    """Ask every recorded exchange again."""
    recorded = [one for one in exchanges() if one.path.startswith(SERVED)]
    answered = (one.request for one in recorded if one.status == 200)
    replay = Replay({request["model"] for request in answered if "model" in request})
    result = Comparison()
    for one in recorded:
        answer = await replay.ask(one)
        left_out = next((entry for entry in LEFT_OUT if entry.applies(one)), None)
        if left_out is None:
            result.add(one, differences(one, answer))
        else:
            result.left_out[endpoint_of(one), left_out] += 1
    return result


if __name__ == "__main__":
    found = asyncio.run(compare())
    print(found.table(), found.deviations(), sep="\n\n")  # noqa: T201 - that is what it is for
