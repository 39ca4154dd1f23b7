"""What may be written about requests that are too long, and what it means."""

from dataclasses import dataclass

import pytest

from headworks.core.context import Policy
from headworks.core.context_units import Keep
from tests.config.files import MINIMAL, loaded, refused


def written(context: str, more: str = "") -> str:
    """Return a configuration in which the model `m` has such a `context`."""
    return f"{MINIMAL}models:\n  m: {{routes: [openai/x], context: {context}}}\n  small: {{routes: [openai/y]}}\n{more}"  # fmt: skip


GOOD = [
    ("error", Policy()),
    ("drop_oldest", Policy("drop_oldest")),
    ("drop_middle", Policy("drop_middle")),
    ("{reserve_output: 500}", Policy(reserve=500)),
    ("{strategy: keep, system: true, first: 1, last: 6}", Policy("keep", keep=Keep(first=1, last=6))),
    ("{strategy: drop_middle, system: false}", Policy("drop_middle", keep=Keep(system=False))),
    ("{strategy: summarize, model: small, last: 2}", Policy("summarize", "small", keep=Keep(last=2))),
    ("{strategy: larger_model, model: openai/z}", Policy("larger_model", "openai/z")),
    ("{strategy: drop_oldest, window: 32000, reserve_output: 1000}", Policy("drop_oldest", "", 32_000, 1_000)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), GOOD, ids=[text for text, _ in GOOD])
def test_every_form_is_understood(text, expected):
    """A word or a mapping, with the defaults that the reference names."""
    assert loaded(written(text)).models["m"].context == expected


def test_without_it_nothing_is_done():
    """A model that does not mention it has no policy."""
    assert loaded(written("error")).models["small"].context is None


@dataclass(frozen=True)
class Case:
    id: str
    text: str
    told: str
    more: str = ""


BAD = [
    Case("no such strategy", "drop_odlest", "models.m.context: must be one of error, drop_oldest, drop_middle, did you mean 'drop_oldest'?"),
    Case("no such strategy in a mapping", "{strategy: sumarize}", "models.m.context.strategy: must be one of error, drop_oldest, drop_middle, keep, summarize, larger_model, did you mean 'summarize'?"),
    Case("no such key", "{strategy: keep, lats: 6}", "models.m.context.lats: unknown key, did you mean 'last'?"),
    Case("summarize alone", "{strategy: summarize}", "models.m.context: summarize needs a model: {strategy: summarize, model: NAME}"),
    Case("larger_model alone", "{strategy: larger_model}", "models.m.context: larger_model needs a model: {strategy: larger_model, model: NAME}"),
    Case("a model for nothing", "{strategy: keep, model: small}", "models.m.context.model: is for the strategies summarize and larger_model"),
    Case("turns for nothing", "{strategy: error, last: 3}", "models.m.context.last: is for the strategies that drop messages"),
    Case("no such model", "{strategy: summarize, model: smal}", "models.m.context.model: there is no model 'smal', and no upstream of a route like it, did you mean 'small'?"),
    Case("no such upstream", "{strategy: summarize, model: azure/x}", "models.m.context.model: there is no model 'azure/x', and no upstream of a route like it"),
    Case("itself", "{strategy: larger_model, model: m}", "models.m.context.model: leads back to the model itself"),
    Case("a circle", "{strategy: larger_model, model: n}", "models.m.context.model: these larger models lead back to each other",
         "  n: {routes: [openai/y], context: {strategy: larger_model, model: m}}\n"),
    Case("keep what", "{strategy: keep}", "models.m.context: keep needs first or last, the turns to keep; without them it is drop_oldest"),
    Case("keep what, in a word", "keep", "models.m.context: must be one of error, drop_oldest, drop_middle, or a mapping such as {strategy: summarize, model: small, last: 6}"),
    Case("a list", "[drop_oldest]", "models.m.context: must be one of error, drop_oldest, drop_middle, or a mapping such as {strategy: summarize, model: small, last: 6}"),
    Case("a list of strategies", "{strategy: [drop_oldest]}", "models.m.context.strategy: must be one of error, drop_oldest, drop_middle, keep, summarize, larger_model"),
    Case("no room for a request", "{window: 500, reserve_output: 500}", "models.m.context.reserve_output: leaves no room for a request; make it less than window"),
    Case("no tokens", "{window: 0}", "models.m.context.window: expected a whole number >= 1"),
    Case("a negative number of turns", "{strategy: keep, first: -1}", "models.m.context.first: expected a whole number >= 0"),
]  # fmt: skip


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.id)
def test_every_mistake_is_told_where_it_stands(case):
    """A strategy that could not work is refused at the start, in words."""
    problems = refused(written(case.text, case.more))
    assert any(problem.endswith(f": {case.told}") for problem in problems), problems


def test_a_chain_of_larger_models_is_fine():
    """A larger model may have a larger one in turn."""
    more = "  n: {routes: [openai/y], context: {strategy: larger_model, model: small}}\n"
    assert refused(written("{strategy: larger_model, model: n}", more)) == []
