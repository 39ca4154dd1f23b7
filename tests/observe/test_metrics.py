"""Operators read true numbers, and no caller can make them grow without bound."""

import re
import sys
import tracemalloc
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from headworks.observe.exposition import Exposition
from headworks.observe.metrics import FAMILIES, SERIES, Family, Metrics
from headworks.types import Caller, Route, Tried
from tests.observe.conftest import finished

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


def samples(metrics: Metrics) -> dict[tuple[str, str], float]:
    """Read the exposition as Prometheus does: name and labels to number."""
    text = Exposition(metrics).render().decode()
    return {
        (sample.name, ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def counting() -> Metrics:
    return Metrics(models=["assistant", "gpt-5"], keys=["web"])


def test_a_call_is_counted_once_in_every_metric():
    """Two calls show as two calls, with the sums of their tokens, money and time."""
    metrics = counting()
    metrics.record(finished())
    metrics.record(finished())
    seen = samples(metrics)
    names = "key=web,model=assistant"
    assert seen["headworks_calls_total", f"{names},outcome=completed"] == 2
    assert seen["headworks_cost_usd_total", names] == 0.003
    assert seen["headworks_responses_total", "status=2xx"] == 2
    assert seen["headworks_attempts_total", "outcome=completed,route=openai/gpt-5"] == 2
    tokens = {"input": 20, "output": 40, "cached": 10, "reasoning": 14}
    for kind, count in tokens.items():
        assert seen["headworks_tokens_total", f"kind={kind},model=assistant"] == count


def test_seconds_fall_into_their_buckets():
    """A histogram is cumulative, and its sum and count are those of the calls."""
    metrics = counting()
    metrics.record(finished())
    seen = samples(metrics)
    bucket = "headworks_call_seconds_bucket"
    assert seen[bucket, "le=1.0,model=assistant"] == 0
    assert seen[bucket, "le=2.5,model=assistant"] == 1
    assert seen[bucket, "le=+Inf,model=assistant"] == 1
    assert seen["headworks_call_seconds_sum", "model=assistant"] == 2.0
    assert seen["headworks_call_seconds_count", "model=assistant"] == 1
    assert seen["headworks_first_byte_seconds_bucket", "le=0.5,model=assistant"] == 1


def tried(model: str, code: str) -> Tried:
    return Tried(
        Route("openai", model, "main"), "timeout", code, "other route", "this route cannot"
    )


def test_what_a_content_filter_stopped_is_counted():
    """How often providers refuse is seen by model, and whether it was the prompt or the answer."""
    metrics = counting()
    for side in ("prompt", "answer", "answer", ""):
        metrics.record(finished(filtered=side))
    seen = samples(metrics)
    assert seen["headworks_filtered_total", "model=assistant,side=prompt"] == 1
    assert seen["headworks_filtered_total", "model=assistant,side=answer"] == 2


def test_second_attempts_are_counted_by_who_won():
    """Whether hedging pays is seen by model: how often the second attempt answered first."""
    metrics = counting()
    for hedge in ("won", "lost", "lost", ""):
        metrics.record(finished(hedge=hedge))
    seen = samples(metrics)
    assert seen["headworks_hedges_total", "model=assistant,outcome=won"] == 1
    assert seen["headworks_hedges_total", "model=assistant,outcome=lost"] == 2


def test_failed_attempts_are_counted_by_route_and_reason():
    """A call that failed over shows what each route answered."""
    metrics = counting()
    metrics.record(finished(attempts=2, trail=[tried("assistant", "upstream_idle_timeout")]))
    seen = samples(metrics)
    failed = "outcome=upstream_idle_timeout,route=openai/assistant"
    assert seen["headworks_attempts_total", failed] == 1
    assert seen["headworks_attempts_total", "outcome=completed,route=openai/gpt-5"] == 1


TIMEOUTS = {
    "upstream_connect_timeout": "connect",
    "upstream_first_byte_timeout": "first_byte",
    "upstream_idle_timeout": "idle",
    "deadline_exceeded": "total",
}


def timeouts(metrics: Metrics) -> dict[str, float]:
    """Return what is counted as a timeout, by its labels."""
    return {
        labels: count
        for (name, labels), count in samples(metrics).items()
        if name == "headworks_timeouts_total"
    }


def test_each_wait_that_was_over_is_counted_by_its_kind():
    """Where another attempt made it good, where it ended the call, and in the middle of a stream."""
    for code, kind in TIMEOUTS.items():
        metrics = counting()
        metrics.record(finished(attempts=2, trail=[tried("assistant", code)]))
        assert timeouts(metrics) == {f"kind={kind},model=assistant,upstream=openai": 1}
        metrics.record(finished(outcome=code))
        expected = {
            f"kind={kind},model={model},upstream=openai": 1 for model in ("assistant", "gpt-5")
        }
        assert timeouts(metrics) == expected


def test_what_is_no_wait_of_ours_is_no_timeout():
    """A 504 of the provider, a call that never began and a good one are none of the four."""
    metrics = counting()
    metrics.record(finished())
    metrics.record(finished(outcome="504"))
    metrics.record(finished(attempts=0, route=None, outcome="deadline_exceeded"))
    assert timeouts(metrics) == {}


def test_timeouts_are_told_apart_however_many_outcomes_there_were():
    """Providers that invent codes do not make us blind for timeouts."""
    metrics = counting()
    for number in range(1000):
        metrics.record(finished(outcome=f"code-{number}"))
    metrics.record(finished(outcome="upstream_idle_timeout"))
    assert timeouts(metrics) == {"kind=idle,model=gpt-5,upstream=openai": 1}


def test_routes_that_were_passed_over_are_no_attempts():
    """What was never sent is not counted as sent; what was, is."""
    metrics = counting()
    passed = Tried(Route("openai", "assistant", "main"), "open", "", "other route", "passed over")
    metrics.record(finished(attempts=1, trail=[passed]))
    seen = samples(metrics)
    attempts = {name: n for name, n in seen.items() if name[0] == "headworks_attempts_total"}
    expected = ("headworks_attempts_total", "outcome=completed,route=openai/gpt-5")
    assert attempts == {expected: 1}


def test_our_limits_are_not_mixed_up_with_the_providers():
    """A refusal by our own limit counts as limited; the provider's 429 of the same name does not."""
    metrics = counting()
    metrics.record(finished(attempts=0, route=None, outcome="rate_limit_exceeded", status=429))
    metrics.record(finished(attempts=0, route=None, outcome="parallel_limit_exceeded", status=429))
    metrics.record(finished(attempts=1, route=None, outcome="rate_limit_exceeded", status=429))
    seen = samples(metrics)
    assert seen["headworks_limited_total", "key=web,limit=rpm"] == 1
    assert seen["headworks_limited_total", "key=web,limit=parallel"] == 1


def test_an_unknown_price_is_never_nothing():
    """A call without a known price is counted as such, and adds no zero to the cost."""
    metrics = counting()
    metrics.record(finished(cost=None))
    assert samples(metrics)["headworks_unpriced_calls_total", "key=web,model=assistant"] == 1


def test_a_call_that_never_got_far_is_counted_too():
    """A request without key, model or answer has empty names, not invented ones."""
    metrics = counting()
    nothing = finished(model="", caller=None, route=None, attempts=0, outcome="invalid_api_key")
    nothing.ended = nothing.answered = None
    nothing.status = 0
    metrics.record(nothing)
    seen = samples(metrics)
    assert seen["headworks_calls_total", "key=,model=,outcome=invalid_api_key"] == 1
    assert seen["headworks_responses_total", "status=0xx"] == 1


def test_invented_names_do_not_become_series():
    """Models that nobody configured, and outcomes beyond counting, are `other`."""
    metrics = counting()
    for number in range(3 * SERIES):
        metrics.record(
            finished(
                model=f"invented-{number}",
                caller=Caller(f"key-{number}", "id"),
                outcome=f"code-{number}",
                trail=[tried(f"invented-{number}", f"code-{number}")],
                attempts=2,
            )
        )
    families = list(metrics.samples())
    assert sum(len(found) for _, found in families) < 4 * SERIES
    calls = next(found for family, found in families if family.name == "headworks_calls_total")
    assert len(calls) <= SERIES + 1
    assert sum(value for _, _, value in calls) == 3 * SERIES


def test_names_announced_later_are_told_apart():
    """A model that a reload brings has its own series from then on."""
    metrics = counting()
    metrics.announce(models=["new"], keys=["phone"])
    metrics.record(finished(model="new", caller=Caller("phone", "id")))
    assert samples(metrics)["headworks_calls_total", "key=phone,model=new,outcome=completed"] == 1


def test_gauges_are_read_at_each_scrape():
    """A gauge shows the value of now, plain or by a label; one that fails hides no other."""
    metrics = counting()
    level = [1.0]

    def fails() -> float:
        raise OSError("gone")

    metrics.gauge("headworks_broken", "Fails.", fails)
    metrics.gauge("headworks_in_flight", "Now.", lambda: level[0])
    metrics.gauge("headworks_pool", "Open.", lambda: {"openai": 3.0}, label="upstream")
    assert samples(metrics)["headworks_in_flight", ""] == 1.0
    level[0] = 5.0
    seen = samples(metrics)
    assert seen["headworks_in_flight", ""] == 5.0
    assert seen["headworks_pool", "upstream=openai"] == 3.0
    assert Family("headworks_pool", "gauge", ("upstream",), "Open.") in metrics.families()


def test_counts_that_others_keep_are_counters():
    """What only grows is shown as a counter, so that Prometheus may take its rate."""
    metrics = counting()
    metrics.counter("headworks_refused_total", "Refused.", lambda: 3)
    assert samples(metrics)["headworks_refused_total", ""] == 3
    assert b"# TYPE headworks_refused_total counter" in Exposition(metrics).render()


def test_the_process_shows_its_own_memory():
    """Memory and CPU of the process come with our metrics."""
    assert samples(counting())["process_resident_memory_bytes", ""] > 0


def test_odd_names_cannot_break_the_format():
    """Quotes, line ends and backslashes in a name are escaped for Prometheus."""
    odd = 'a"b\\c\nd'
    metrics = Metrics(models=[odd])
    metrics.record(finished(model=odd))
    assert samples(metrics)["headworks_calls_total", f"key=web,model={odd},outcome=completed"] == 1


def test_recording_allocates_nothing_that_stays():
    """The ten-thousandth call of a kind takes no more memory than the second."""
    metrics, call = counting(), finished()
    metrics.record(call)
    tracemalloc.start()
    for _ in range(10_000):
        metrics.record(call)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 10_000 or sys.gettrace() is not None


def test_the_documentation_lists_every_metric():
    """docs/metrics.md has one row for each metric of calls, with its type, labels and meaning."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*) \|$", DOCS.read_text(), re.MULTILINE)
    documented = [
        Family(name, kind, tuple(re.findall(r"`(\w+)`", labels)), help_)
        for name, kind, labels, help_ in rows
    ]
    assert documented[: len(FAMILIES)] == list(FAMILIES)
