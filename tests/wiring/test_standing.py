"""Models that were shut down or never were are refused; those that end soon are warned of."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from headworks.config import Config, ModelConfig, RouteConfig
from headworks.errors import ConfigurationError
from headworks.wiring.standing import with_standing
from tests.config.files import MINIMAL, loaded

TODAY = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
OTHER = '  local: {base_url: "https://llm.example/v1", credentials: [{name: main, api_key: "${env:KEY}"}]}\n'
EUROPE = '  eu: {base_url: "https://eu.api.openai.com/v1", credentials: [{name: main, api_key: "${env:KEY}"}]}\n'
OPENAI = MINIMAL.replace("    credentials: [", "    credentials: [") + OTHER + EUROPE


@dataclass(frozen=True)
class Case:
    id: str
    models: str
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    more: str = ""


HINT = "name it in capabilities, even as {}, to use it"
CASES = [
    Case("all there", "{a: {routes: [openai/gpt-6-sol, openai/gpt-5.4-mini]}}"),
    Case("a snapshot and a fine-tuned model", "{a: {routes: [openai/gpt-5.4-2026-03-05, 'openai/ft:gpt-5.4-mini:org::id', 'openai/ft:gpt-6-luna:org::id']}}"),
    Case("retired", "{a: {routes: [openai/gpt-6-sol, openai/gpt-4]}}", ("models.a.routes[1]: gpt-4 was shut down on 2026-10-23",)),
    Case("retired in a group", "{a: {routes: [{weighted: {openai/gpt-6-sol: 1, openai/gpt-4: 1}}]}}", ('models.a.routes[0].weighted."openai/gpt-4": gpt-4 was shut down on 2026-10-23',)),
    Case("retired behind a failure", "{a: {routes: [openai/gpt-6-sol], on: {quota: [openai/o1]}}}", ("models.a.on.quota[0]: o1 was shut down on 2026-10-23",)),
    Case("retired and rerouted to", "{a: {routes: [openai/gpt-6-sol], content_filter: {reroute: openai/o1}}}", ("models.a.content_filter.reroute: o1 was shut down on 2026-10-23",)),
    Case("retired and to sum up", "{a: {routes: [openai/gpt-6-sol], context: {strategy: summarize, model: openai/o1}}}", ("models.a.context.model: o1 was shut down on 2026-10-23",)),
    Case("everywhere at once", "{a: {routes: [openai/o1]}, b: {routes: [openai/o1], on: {quota: [openai/gpt-4]}}}", ("models.a.routes[0]: o1", "models.b.routes[0]: o1", "models.b.on.quota[0]: gpt-4")),
    Case("retired at OpenAI, elsewhere", "{a: {routes: [local/gpt-4]}}", (f"gpt-4 was shut down on 2026-10-23; if this upstream has it still, {HINT}",)),
    Case("kept elsewhere", "{a: {routes: [local/gpt-4]}}", more="capabilities: {local/gpt-4: {}}"),
    Case("nobody keeps what OpenAI shut down", "{a: {routes: [openai/gpt-4]}}", ("models.a.routes[0]: gpt-4 was shut down",), more="prices: {gpt-4: {input: 1, output: 1}}"),
    Case("unknown", "{a: {routes: [openai/gpt-6-soll]}}", ("models.a.routes[0]: OpenAI has no model 'gpt-6-soll' that we know of (like it: gpt-6-sol, ", )),
    Case("unknown at a regional address", "{a: {routes: [eu/zzz]}}", (f"models.a.routes[0]: OpenAI has no model 'zzz' that we know of; if it is there, {HINT}",)),
    Case("unknown elsewhere", "{a: {routes: [local/llama-3]}}"),
    Case("the operator knows it", "{a: {routes: [openai/gpt-7, openai/gpt-8, openai/gpt-9]}}", more="capabilities: {gpt-7: {}, openai/gpt-8: {}}\nprices: {gpt-9: {input: 1, output: 1}}"),
    Case("a fine-tuned model of nothing", "{a: {routes: ['openai/ft:nothing:org::id']}}", ("OpenAI has no model 'ft:nothing:org::id'",)),
    Case("ends soon", "{a: {routes: [openai/gpt-4o, openai/gpt-5]}}", warnings=("models.a.routes[0]: gpt-4o will be shut down on 2027-01-14", "models.a.routes[1]: gpt-5 will be shut down on 2026-12-11")),
    Case("of unknown length", "{a: {routes: [local/llama-3, openai/gpt-6-sol], context: drop_oldest}}", warnings=("models.a.routes[0]: its window is not known, so that requests are too long only once the provider has refused one; set context.window",)),
    Case("of unknown length, but said", "{a: {routes: [local/llama-3], context: {window: 8000}}, b: {routes: [local/llama-4], context: drop_oldest}}", more="capabilities: {llama-4: {context: 8000}}"),
    Case("of unknown length, and no matter", "{a: {routes: [openai/gpt-6-sol, local/llama-3], context: drop_oldest}, b: {routes: [local/llama-3]}}"),
    Case("ends later", "{a: {routes: [openai/gpt-4o-mini-transcribe]}}"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_standing(case):
    """Each route is looked up; what is wrong is told with file, line, key and date."""
    config = loaded(f"{OPENAI}models: {case.models}\n{case.more}\n")
    problems, warnings = told(config)

    assert len(problems) == len(case.problems), problems
    assert len(warnings) == len(case.warnings), warnings
    for line, expected in zip(
        (*problems, *warnings), (*case.problems, *case.warnings), strict=True
    ):
        assert line.startswith("/etc/headworks/headworks.yaml:7: models.")
        assert expected in line


def told(config: Config, now: float = TODAY) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the problems and the warnings."""
    try:
        return (), with_standing(config, now).warnings
    except ConfigurationError as error:
        return error.problems, ()


@pytest.mark.parametrize(
    ("day", "problems", "warnings"),
    [
        ("2026-09-11", 0, 0),
        ("2026-09-12", 0, 1),
        ("2026-12-10", 0, 1),
        ("2026-12-11", 1, 0),
    ],
)
def test_the_warning_begins_ninety_days_before_the_end(day, problems, warnings):
    """I have three months to move; on the announced day the model is gone."""
    config = loaded(f"{OPENAI}models: {{a: {{routes: [openai/gpt-5]}}}}\n")
    found = told(config, datetime.fromisoformat(f"{day}T23:59:59+00:00").timestamp())

    assert [len(one) for one in found] == [problems, warnings]


def test_a_configuration_from_code_is_judged_too():
    """Without a file the model's name tells where to look; nothing is told twice."""
    config = Config(models={"a": ModelConfig((RouteConfig("up", "gpt-4"),))})
    (problem,), _ = told(config)
    assert problem.startswith("models.a: gpt-4 was shut down on 2026-10-23")

    soon = loaded(f"{OPENAI}models: {{a: {{routes: [openai/gpt-5]}}}}\n")
    once = with_standing(replace(soon, stands={}), TODAY)
    assert once.warnings == ("models.a: gpt-5 will be shut down on 2026-12-11",)
    assert with_standing(once, TODAY) == once
