"""What is asked of a ledger's sums, and which rollup knows it."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import tzinfo

from headworks.core.periods import LABELS, Blocks, Period, Span, periods
from headworks.stores.rollup_schema import PROJECTIONS, Projection

Group = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be read: groups by axes, of rows with given values, in a span of time."""

    by: Group
    where: Mapping[str, Collection[str]]
    span: Span
    zone: tzinfo

    @property
    def times(self) -> Group:
        """The axes of time."""
        return tuple(axis for axis in self.by if axis in LABELS)

    @property
    def axes(self) -> Group:
        """The others, with those that only narrow the rows."""
        return tuple(dict.fromkeys(a for a in (*self.by, *self.where) if a not in LABELS))

    def labels(self, seconds: int) -> Group:
        """Return what the axes of time call a moment."""
        return tuple(LABELS[axis](seconds, self.zone) for axis in self.times)

    def periods(self, span: Span) -> Iterator[Period]:
        """Yield the hours or days that a span is told apart by, at least one."""
        if not self.times:
            return iter([Period("", span)])
        return periods("hour" if "hour" in self.times else "day", span, self.zone)

    def projection(self) -> Projection | None:
        """Return the smallest rollup that knows all axes."""
        axes = set(self.axes)
        return next((it for it in PROJECTIONS if axes <= set(it.axes)), None)

    def order(self, axes: Group) -> list[int]:
        """Return where the values of a group stand that come as labels of time and these axes."""
        pool = (*self.times, *axes)
        return [pool.index(axis) for axis in self.by]


def pieces(blocks: Blocks, projection: Projection) -> Iterator[tuple[int, int, int, int]]:
    """Yield what lies together in the file: level, block, from, to before."""
    level, begin, end = blocks
    if not projection.is_clustered:
        yield level, begin, begin, end
        return
    size = projection.block(level)
    for block in range(begin // size * size, end, size):
        yield level, block, max(block, begin), min(block + size, end)


def condition(where: Collection[str], expressions: Mapping[str, str]) -> str:
    """Return SQL that says that values are in `temp.chosen`, where these axes have any say."""
    chosen = (
        f"{expressions[axis]} IN (SELECT value FROM temp.chosen WHERE axis = '{axis}')"  # noqa: S608 - an axis
        for axis in expressions
        if axis in where
    )
    return " AND ".join(["true", *chosen])
