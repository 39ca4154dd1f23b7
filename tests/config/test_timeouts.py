"""The four waits, for an upstream, a model and a type of requests: what lies over what."""

from dataclasses import dataclass

import pytest

from headworks.config import Config
from headworks.config.loading import read
from headworks.types import Timeouts
from tests.config.files import BASE, KEY, MINIMAL, loaded, reader, refused

PLAIN = Timeouts()


def text(upstream: str = "{}", model: str = "{}") -> str:
    """Return a configuration with these timeouts, in YAML."""
    more = f"    timeouts: {upstream}\nmodels: {{a: {{routes: [openai/x], timeouts: {model}}}}}\n"
    return MINIMAL + more


def waits(config: Config, kind: str) -> Timeouts:
    """Return what holds for requests of a type to the model."""
    (route,) = config.models["a"].all_routes()
    return route.timeouts.of(kind)


@dataclass(frozen=True)
class Case:
    """What stands where, and what then holds for requests to the Responses API."""

    name: str
    expected: float
    upstream: str = "{}"
    model: str = "{}"


RESPONSES = "{by_type: {responses: {total: %s}}}"
CASES = (
    Case("nothing is said", 600.0),
    Case("the upstream", 300.0, "{total: 5m}"),
    Case("the upstream's type", 1800.0, "{total: 5m, by_type: {responses: {total: 30m}}}"),
    Case("the model beats the upstream", 20.0, "{total: 5m}", "{total: 20s}"),
    Case("the model beats the upstream's type", 20.0, RESPONSES % "30m", "{total: 20s}"),
    Case("the model's type beats the model", 7.0, "{}", "{total: 20s, by_type: {responses: {total: 7s}}}"),
    Case("the model's type beats the upstream's", 7.0, RESPONSES % "30m", RESPONSES % "7s"),
    Case("another wait of the model's type", 1800.0, RESPONSES % "30m", "{by_type: {responses: {idle: 7s}}}"),
    Case("another wait of the model", 1800.0, RESPONSES % "30m", "{idle: 7s}"),
    Case("another type of the model", 20.0, "{}", "{total: 20s, by_type: {images: {total: 7s}}}"),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_nearer_to_the_call_counts_more(case: Case):
    """Each wait by itself: upstream, then its type, then the model, then the model's type."""
    assert waits(loaded(text(case.upstream, case.model)), "responses").total == case.expected


def test_any_of_the_four_can_be_said_of_a_type():
    """What a type does not name is as it is for all others; other types are not touched."""
    given = "{idle: 10s, by_type: {responses: {connect: 1s, first_byte: 5m, idle: 2m, total: 30m}, images: {total: 5m}}}"
    config = loaded(text(given))
    assert waits(config, "responses") == Timeouts(1.0, 300.0, 120.0, 1800.0)
    assert waits(config, "images") == Timeouts(idle=10.0, total=300.0)
    assert waits(config, "chat.completions").total == waits(config, "threads").total == 600.0
    upstream = config.upstreams["openai"].timeouts
    assert upstream.of("images") == Timeouts(idle=10.0, total=300.0)


def test_without_types_there_is_nothing_to_look_up():
    """Who says nothing about types has the waits of always."""
    config = loaded(text())
    assert waits(config, "responses") == PLAIN
    assert waits(config, "responses").by_type == ()


MISTAKES = [
    (text("{by_type: {respnses: {total: 5m}}}"), "headworks.yaml:5: upstreams.openai.timeouts.by_type.respnses: must be one of chat.completions", "did you mean 'responses'?"),
    (text("{by_type: {images: {totl: 5m}}}"), "headworks.yaml:5: upstreams.openai.timeouts.by_type.images.totl: unknown key, did you mean 'total'?", ""),
    (text("{by_type: {images: {total: 0s}}}"), "headworks.yaml:5: upstreams.openai.timeouts.by_type.images.total: this duration must be longer than 0s", ""),
    (text("{by_type: {images: 5m}}"), "headworks.yaml:5: upstreams.openai.timeouts.by_type.images: expected a mapping, not text", ""),
    (text("{by_type: {images: {by_type: {}}}}"), "headworks.yaml:5: upstreams.openai.timeouts.by_type.images.by_type: unknown key", ""),
    (text("{}", "{by_type: {embedings: {total: 5m}}}"), "headworks.yaml:6: models.a.timeouts.by_type.embedings: must be one of", "did you mean 'embeddings'?"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "begins", "ends"), MISTAKES, ids=[one for _, one, _ in MISTAKES])
def test_a_mistake_is_told_with_its_place_and_a_way_out(given, begins, ends):
    """A type that does not exist is refused with the nearest one that does."""
    [problem] = refused(given)
    assert problem.startswith(begins)
    assert problem.endswith(ends)


WARNINGS = [
    (text("{by_type: {embeddings: {first_byte: 5s}}}"), "upstreams.openai.timeouts.by_type.embeddings.first_byte: bounds streams only, and embeddings are none; use first_byte_whole"),
    (text("{total: 5s, first_byte: 5s}"), "upstreams.openai.timeouts.first_byte: is not shorter than total, which ends the call first"),
    (text("{}", "{by_type: {responses: {total: 5s, idle: 6s}}}"), "models.a.timeouts.by_type.responses.idle: is not shorter than total, which ends the call first"),
    (text("{total: 5s}", "{idle: 1s}, hedge: {after: 5s}"), "models.a.hedge.after: is not shorter than timeouts.total: no second attempt is ever sent"),
    (text("{}", "{by_type: {files: {total: 5s}}}"), "models.a.timeouts.by_type.files: requests for files name no model; say it under upstreams"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), WARNINGS, ids=[one for _, one in WARNINGS])
def test_a_wait_that_can_never_end_is_warned_of(given, expected):
    """What does nothing is not accepted in silence."""
    found = read(BASE, {"KEY": KEY}, reader({"headworks.yaml": given}))
    assert [str(one) for one in found.config.warnings if expected in str(one)]
    calm = read(
        BASE, {"KEY": KEY}, reader({"headworks.yaml": text("{by_type: {files: {total: 5s}}}")})
    )
    assert not list(calm.config.warnings)


def test_whole_answers_may_take_long_unless_i_say_otherwise():
    """Their beginning is bounded where that is said: at the upstream, the model or the type."""
    said = text("{first_byte_whole: 1m, by_type: {images: {first_byte_whole: 2m}}}")

    assert waits(loaded(text()), "responses").first_byte_whole is None
    assert waits(loaded(said), "responses").first_byte_whole == 60.0
    assert waits(loaded(said), "images").first_byte_whole == 120.0
    nearer = text("{first_byte_whole: 1m}", "{first_byte_whole: 5s}")
    assert waits(loaded(nearer), "images").first_byte_whole == 5.0
