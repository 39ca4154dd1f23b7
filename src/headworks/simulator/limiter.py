"""The provider's limiter: buckets that refill continuously, and headers that tell their state.

A bucket of capacity `L` refills by `L / P` a second, P being a minute or a day. A request takes
its whole charge at once, or is refused and takes no tokens. After it

    remaining = floor(level)        reset = (L - level) * P / L, the time until the bucket is full

and a refusal says how long to wait: `(Used + Requested - Limit) * P / Limit`. Inferred from 518
recorded answers and exact on all of them; the words are those of the real refusals.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import ceil, floor
from typing import Literal, final

from headworks.ports import Clock
from headworks.simulator.charge import Charge
from headworks.simulator.config import Era, RateLimit
from headworks.simulator.problems import Refusal
from headworks.types import Usage

_MINUTE, _DAY = 60.0, 86_400.0
_PAGE = "Visit https://platform.openai.com/account/rate-limits to learn more."
_GROWTH = 1.5 ** (1 / 15)  # a minute: a half in fifteen
_MEMORY = 15  # minutes


_Kind = Literal["requests", "tokens", "input-images"]


@final
class Bucket:
    """One limit in one dimension."""

    def __init__(self, kind: _Kind, unit: str, limit: int, period: float, now: float) -> None:
        self.kind, self.unit, self.limit, self._period = kind, unit, limit, period
        self._level, self._seen = float(limit), now

    def refill(self, now: float) -> None:
        """Let time pass."""
        self._level = min(
            float(self.limit), self._level + (now - self._seen) * self.limit / self._period
        )
        self._seen = now

    def wait(self, charge: int) -> float:
        """Return the seconds until `charge` fits, 0 when it fits now."""
        return max(0.0, (charge - self._level) * self._period / self.limit)

    def told_wait(self, charge: int) -> float:
        """Return the seconds that a refusal tells: by the whole numbers that it shows."""
        return (self.used + charge - self.limit) * self._period / self.limit

    def take(self, charge: float) -> None:
        """Take what fits; a negative charge gives back."""
        self._level = min(float(self.limit), max(0.0, self._level - charge))

    @property
    def used(self) -> int:
        """What is taken, as a refusal tells it."""
        return self.limit - floor(self._level)

    def headers(self) -> Iterator[tuple[str, str]]:
        """Yield the three headers of this dimension."""
        full = (self.limit - self._level) * self._period / self.limit
        yield f"x-ratelimit-limit-{self.kind}", str(self.limit)
        yield f"x-ratelimit-remaining-{self.kind}", str(floor(self._level))
        yield f"x-ratelimit-reset-{self.kind}", duration(full)


@final
class Ramp:
    """Refuses traffic that grows too fast: 2.74 % a minute above the floor, compounded."""

    def __init__(self, least: int) -> None:
        self._floor = least
        self._minutes: dict[int, int] = {}

    def admits(self, tokens: int, now: float) -> bool:
        """Count the tokens of one request in, or return False."""
        minute = int(now // _MINUTE)
        for old in [seen for seen in self._minutes if seen < minute - _MEMORY]:
            del self._minutes[old]
        before = max((n for seen, n in self._minutes.items() if seen < minute), default=0)
        wanted = self._minutes.get(minute, 0) + tokens
        if wanted > max(self._floor, before * _GROWTH):
            return False
        self._minutes[minute] = wanted
        return True


@final
class Group:
    """The buckets that the models of one limit share in one project."""

    def __init__(self, limit: RateLimit, now: float) -> None:
        self.limit = limit
        self.enqueued = 0
        self._ramp = Ramp(limit.ramp) if limit.ramp else None
        self._buckets = list(_buckets(limit, now))

    def admit(self, charge: Charge, model: str, organization: str, now: float) -> Mapping[str, str]:
        """Take the charge of one request and return the headers, or raise its refusal."""
        asked = {"requests": 1, "tokens": charge.tokens, "input-images": charge.images}
        for bucket in self._buckets:
            bucket.refill(now)
        for bucket in self._buckets:
            wanted = asked[bucket.kind]
            if bucket.wait(wanted) > 0:
                self._count_failure(bucket)
                raise _refusal(bucket, wanted, f"{model} in organization {organization}", self)
        if self._ramp and not self._ramp.admits(charge.tokens, now):
            raise _slow_down()
        for bucket in self._buckets:
            bucket.take(asked[bucket.kind])
        return self.headers(charge.images)

    def headers(self, images: int = 0) -> dict[str, str]:
        """Return the state of all buckets; requests a day hide those a minute."""
        shown = {bucket.kind: bucket for bucket in self._buckets}
        return {
            name: value
            for kind, bucket in shown.items()
            for name, value in bucket.headers()
            if images or kind != "input-images"
        }

    def settle(self, charge: Charge, tokens: int) -> None:
        """Replace the charge of an answer that has ended by the tokens that it really used."""
        for bucket in self._buckets:
            if bucket.kind == "tokens":
                bucket.take(tokens - charge.tokens)

    def _count_failure(self, culprit: Bucket) -> None:
        """Count a refused request among the requests, as the provider does."""
        for bucket in self._buckets:
            if bucket.kind == "requests" and culprit.kind != "requests":
                bucket.take(1)


@dataclass(frozen=True, slots=True)
class Admission:
    """One admitted request: the headers of its answer, and what it was charged."""

    headers: Mapping[str, str]
    _charge: Charge
    _group: Group | None = None

    def settle(self, usage: Usage) -> None:
        """Tell what was used in the end."""
        if self._group is not None and self._group.limit.settles:
            self._group.settle(self._charge, usage.input + usage.output)


UNLIMITED = Admission({}, Charge())


@final
class Limiter:
    """All limits of one provider, by project and group of models."""

    def __init__(self, limits: Sequence[RateLimit], clock: Clock) -> None:
        self._limits, self._clock = limits, clock
        self._groups: dict[tuple[str, str], Group] = {}

    def admit(self, charge: Charge, model: str, organization: str, project: str) -> Admission:
        """Admit one request, or raise the refusal of one over a limit."""
        group = self.group(model, project)
        if group is None:
            return UNLIMITED
        headers = group.admit(charge, model, organization, self._clock.now())
        return Admission(headers, charge, group)

    def era(self, model: str) -> Era:
        """Return how requests for a model are charged."""
        limit = self._limit(model)
        return limit.era if limit else "2025"

    def group(self, model: str, project: str) -> Group | None:
        """Return the buckets of a model in a project, None for an unlimited one."""
        limit = self._limit(model)
        if limit is None:
            return None
        key = (project, limit.models)
        if key not in self._groups:
            self._groups[key] = Group(limit, self._clock.now())
        return self._groups[key]

    def reset(self) -> None:
        """Fill all buckets."""
        self._groups.clear()

    def _limit(self, model: str) -> RateLimit | None:
        return next((limit for limit in self._limits if fnmatchcase(model, limit.models)), None)


def duration(seconds: float) -> str:
    """Return seconds as the provider's headers spell them: whole milliseconds in Go's form."""
    milliseconds = floor(seconds * 1000 + 1e-6)
    if milliseconds < 1:
        return "0s"
    if milliseconds < 1000:  # noqa: PLR2004 - a second
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    said = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{said}"
    return f"{minutes}m{said}" if minutes else said


def _buckets(limit: RateLimit, now: float) -> Iterator[Bucket]:
    if limit.rpm:
        yield Bucket("requests", "requests per min (RPM)", limit.rpm, _MINUTE, now)
    if limit.rpd:
        yield Bucket("requests", "requests per day (RPD)", limit.rpd, _DAY, now)
    if limit.tpm:
        yield Bucket("tokens", "tokens per min (TPM)", limit.tpm, _MINUTE, now)
    if limit.ipm:
        yield Bucket("input-images", "input-images per min (IPM)", limit.ipm, _MINUTE, now)


def _refusal(bucket: Bucket, wanted: int, where: str, group: Group) -> Refusal:
    kind = "requests" if bucket.kind == "requests" else "tokens"
    headers = group.headers(images=1)
    if wanted > bucket.limit:
        text = (
            f"Request too large for {where} on {bucket.unit}: Limit {bucket.limit}, Requested "
            f"{wanted}. The input or output tokens must be reduced in order to run successfully. {_PAGE}"
        )
        return Refusal(429, text, type=kind, code="rate_limit_exceeded", headers=headers)
    wait = bucket.told_wait(wanted)
    text = (
        f"Rate limit reached for {where} on {bucket.unit}: Limit {bucket.limit}, Used {bucket.used}, "
        f"Requested {wanted}. Please try again in {duration(wait)}. {_PAGE}"
    )
    headers["retry-after"] = str(max(1, ceil(wait)))
    return Refusal(429, text, type=kind, code="rate_limit_exceeded", headers=headers)


def _slow_down() -> Refusal:
    text = (
        "Your request rate is increasing too quickly. Please slow down: reduce it to its former "
        "level, keep it there for at least 15 minutes, then raise it gradually."
    )
    return Refusal(
        429, text, type="rate_limit_error", code="slow_down", headers={"retry-after": "60"}
    )
