"""What a model does about failures, streams and refusals, as it is written and as it is refused."""

import pytest

from headworks.config.settings import flat
from headworks.types import Hedge
from tests.config.files import MINIMAL, loaded, refused

MISTAKES = [
    (MINIMAL + "models: {a: {routes: [openai/x], stream: {commit: first_tokn}}}", "headworks.yaml:5: models.a.stream.commit: must be one of first_token, complete, did you mean 'first_token'?"),
    (MINIMAL + "models: {a: {routes: [openai/x], stream: {commit: {aftr: 5}}}}", "headworks.yaml:5: models.a.stream.commit.aftr: unknown key, did you mean 'after'?"),
    (MINIMAL + "models: {a: {routes: [openai/x], stream: {commit: {after: 0}}}}", "headworks.yaml:5: models.a.stream.commit.after: expected a whole number >= 1"),
    (MINIMAL + "models: {a: {routes: [openai/x], on: {rate_limt: [openai/y]}}}", "headworks.yaml:5: models.a.on.rate_limt: unknown key, did you mean 'rate_limit'?"),
    (MINIMAL + "models: {a: {routes: [openai/x], on: {quota: [opnai/y]}}}", "headworks.yaml:5: models.a.on.quota[0]: there is no model 'opnai/y', and no upstream of a route like it"),
    (MINIMAL + "models: {ab: {routes: [openai/x], on: {quota: [acd]}}, abcd: {routes: [openai/y]}}", "headworks.yaml:5: models.ab.on.quota[0]: there is no model 'acd', and no upstream of a route like it, did you mean 'abcd'?"),
    (MINIMAL + "models: {a: {routes: [openai/x], on: {quota: [a]}}}", "headworks.yaml:5: models.a.on.quota[0]: leads back to the model itself"),
    (MINIMAL + "models: {a: {routes: [openai/x], on: {quota: [openai/y, openai/y]}}}", "headworks.yaml:5: models.a.on.quota[1]: this one stands here twice"),
    (MINIMAL + "models: {a: {routes: [openai/x], content_filter: refuse}}", "headworks.yaml:5: models.a.content_filter: must be propagate, or a mapping such as {reroute: careful}"),
    (MINIMAL + "models: {a: {routes: [openai/x], content_filter: {}}}", "headworks.yaml:5: models.a.content_filter: give either reroute or answer"),
    (MINIMAL + "models: {a: {routes: [openai/x], content_filter: {answer: No., reroute: openai/y}}}", "headworks.yaml:5: models.a.content_filter: give either reroute or answer"),
    (MINIMAL + "models: {a: {routes: [openai/x], content_filter: {reroute: b}}}", "headworks.yaml:5: models.a.content_filter.reroute: there is no model 'b', and no upstream of a route like it"),
    (MINIMAL + "models: {a: {routes: [openai/x], content_filter: {answer: No.}, on: {content_filter: [openai/y]}}}", "headworks.yaml:5: models.a.content_filter: on.content_filter says already what is tried next; leave one of them out"),
    (MINIMAL + "models: {a: {routes: [openai/x], hedge: {}}}", "headworks.yaml:5: models.a.hedge.after: is missing"),
    (MINIMAL + "models: {a: {routes: [openai/x], hedge: {after: p99}}}", "headworks.yaml:5: models.a.hedge.after: not a duration; write a number and a unit, such as 500ms, 30s or 1m30s; or write p95"),
    (MINIMAL + "models: {a: {routes: [openai/x], hedge: {after: 0s}}}", "headworks.yaml:5: models.a.hedge.after: this duration must be longer than 0s; or write p95"),
    (MINIMAL + "models: {a: {routes: [openai/x], hedge: {after: 2s, share: 1.5}}}", "headworks.yaml:5: models.a.hedge.share: expected a number <= 1.0"),
    (MINIMAL + "models: {a: {routes: [openai/x], hedge: true}}", "headworks.yaml:5: models.a.hedge: expected a mapping, not true or false; for example {after: p95}"),
    (MINIMAL + "models: {a: {routes: [openai/x], hedge: {after: 2s}}}\nretry: {attempts: 1}", "headworks.yaml:5: models.a.hedge: retry.attempts: 1 leaves no attempt for it; allow 2, or leave it out"),
    (MINIMAL + "models: {a: {routes: [openai/x], hedge: p95}}", "headworks.yaml:5: models.a.hedge: expected a mapping, not text; for example {after: p95}"),
    (MINIMAL + "models: {a: {routes: [openai/x], content_filter: {answer: ''}}}", "headworks.yaml:5: models.a.content_filter.answer: is empty"),
    (MINIMAL + "models: {a: {routes: [openai/x], stream: {commit: 200}}}", "headworks.yaml:5: models.a.stream.commit: must be one of first_token, complete, or a mapping such as {after: 200}"),
    (MINIMAL + "retry: {hedge: {after: 2s}}", "headworks.yaml:5: retry.hedge: not available in this version of headworks"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "problem"), MISTAKES, ids=[problem for _, problem in MISTAKES])
def test_a_mistake_is_told_with_its_place_and_a_way_out(text, problem):
    """Each mistake gives one line: file, line, key, what is wrong."""
    assert problem in refused(text)


POLICIES = (
    MINIMAL
    + """\
models:
  careful: {routes: [openai/y, openai/z], timeouts: {idle: 7s}}
  a:
    routes: [openai/x]
    timeouts: {first_byte: 20s}
    stream: {commit: {after: 200}}
    on: {context_length: [openai/y], rate_limit: [careful, openai/y]}
    content_filter: {reroute: careful}
  b: {routes: [openai/x], stream: {commit: complete}, content_filter: {answer: No.}}
"""
)


def test_the_policies_of_a_model_are_read():
    """What a model does about failures, streams and refusals is taken as it is written."""
    models = loaded(POLICIES).models
    ways = {kind: [str(one) for one in found] for kind, found in models["a"].on.items()}

    assert [models[name].commit.after for name in ("careful", "a", "b")] == [0, 200, None]
    assert ways == {
        "context_length": ["openai/y"],
        "rate_limit": ["openai/y", "openai/z", "openai/y"],
        "content_filter": ["openai/y", "openai/z"],
    }
    careful, _, own = flat(models["a"].on["rate_limit"])
    assert (careful.timeouts.idle, own.timeouts.first_byte) == (7.0, 20.0)
    assert (models["a"].fixed_answer, models["b"].fixed_answer) == (None, "No.")
    assert models["b"].on == {}


def test_hedging_is_read_and_off_by_default():
    """A model hedges if it says so: after a wait or by what is learned, one in twenty at most."""
    models = loaded(
        MINIMAL
        + """\
models:
  off: {routes: [openai/x]}
  fixed: {routes: [openai/x], hedge: {after: 1500ms, share: 0.02}}
  learned: {routes: [openai/x], hedge: {after: p95}}
"""
    ).models

    assert models["off"].hedge is None
    assert models["fixed"].hedge == Hedge(1.5, 0.02)
    assert models["learned"].hedge == Hedge(None, 0.05)
