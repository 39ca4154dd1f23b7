"""Groups of routes and what models take, as they are written and as they are refused."""

import pytest
import yaml

from headworks.config.loading import read
from headworks.config.settings import GroupConfig, flat
from tests.config.files import BASE, KEY, MINIMAL, loaded, reader, refused


def model(routes: str, more: str = "") -> str:
    return f"{MINIMAL}models: {{a: {{routes: {routes}}}{more}}}"


MISTAKES = [
    (model("[{order: [openai/x], cheapest: [openai/y]}]"), "headworks.yaml:5: models.a.routes[0]: a group has one strategy: order, weighted, least_latency or cheapest"),
    (model("[openai/x, {}]"), "headworks.yaml:5: models.a.routes[1]: a group has one strategy: order, weighted, least_latency or cheapest"),
    (model("[{wieghted: {openai/x: 1}}]"), "headworks.yaml:5: models.a.routes[0].wieghted: unknown key, did you mean 'weighted'?"),
    (model("[{cheapest: []}]"), "headworks.yaml:5: models.a.routes[0].cheapest: the list is empty; name at least one"),
    (model("[{weighted: {}}]"), "headworks.yaml:5: models.a.routes[0].weighted: the mapping is empty; name at least one route"),
    (model("[{weighted: {openai/x: 0}}]"), 'headworks.yaml:5: models.a.routes[0].weighted."openai/x": expected a number > 0.0'),
    (model("[{weighted: {openai/x: much}}]"), 'headworks.yaml:5: models.a.routes[0].weighted."openai/x": expected a number, not text'),
    (model("[{weighted: {openai: 1}}]"), "headworks.yaml:5: models.a.routes[0].weighted.openai: must be a route: upstream/model, such as openai/gpt-6-sol"),
    (model("[{weighted: [openai/x]}]"), "headworks.yaml:5: models.a.routes[0].weighted: expected a mapping, not a list; for example {east/gpt-6-sol: 9, west/gpt-6-sol: 1}"),
    (model("[{cheapest: openai/x}]"), "headworks.yaml:5: models.a.routes[0].cheapest: expected a list, not text; for example [openai/gpt-6-luna, openai/gpt-5.4-mini]"),
    (model("[{cheapest: [opnai/x]}]"), "headworks.yaml:5: models.a.routes[0].cheapest[0]: there is no upstream 'opnai', did you mean 'openai'?"),
    (model("[{weighted: {opnai/x: 1}}]"), "headworks.yaml:5: models.a.routes[0].weighted.\"opnai/x\": there is no upstream 'opnai', did you mean 'openai'?"),
    (model("[{least_latency: [openai/x, openai/x]}]"), "headworks.yaml:5: models.a.routes[0].least_latency[1]: this route stands here twice"),
    (model("[openai/x, {weighted: {openai/x: 1, openai/y: 1}}]"), 'headworks.yaml:5: models.a.routes[1].weighted."openai/x": this route stands here twice'),
    (model("[{order: [openai/x]}, {order: [openai/x]}]"), "headworks.yaml:5: models.a.routes[1].order[0]: this route stands here twice"),
    (model("[7]"), "headworks.yaml:5: models.a.routes[0]: expected text or a mapping, not a whole number; put it in quotes"),
    (model("[openai/x]", "}\ncapabilities: {x: {tool: false}"), "headworks.yaml:6: capabilities.x.tool: unknown key, did you mean 'tools'?"),
    (model("[openai/x]", "}\ncapabilities: {x: {context: 0}"), "headworks.yaml:6: capabilities.x.context: expected a whole number >= 1"),
    (model("[openai/x]", "}\ncapabilities: {x: {tools: no}"), "headworks.yaml:6: capabilities.x.tools: expected true or false, not text"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "problem"), MISTAKES, ids=[problem for _, problem in MISTAKES])
def test_a_mistake_is_told_with_its_place_and_a_way_out(text, problem):
    """Each mistake gives one line: file, line, key, what is wrong."""
    assert problem in refused(text)


def test_the_same_route_may_stand_in_two_models():
    """Only within one model is a route written twice a mistake."""
    assert refused(model("[openai/x]", ", b: {routes: [{order: [openai/x]}]}")) == []


GROUPS = (
    MINIMAL
    + """\
models:
  careful: {routes: [{cheapest: [openai/p, openai/q]}], timeouts: {idle: 7s}}
  a:
    routes:
      - {weighted: {openai/x: 9, openai/y: 0.5}}
      - openai/z
      - {order: [openai/u, openai/v]}
      - {least_latency: [openai/s, openai/t]}
    timeouts: {idle: 20s}
    on: {rate_limit: [careful, openai/w]}
capabilities:
  x: {context: 8192, tools: false}
  openai/y: {vision: true}
  gone: {}
"""
)


def test_groups_are_read():
    """Each group has its strategy, routes and weights, with its model's timeouts."""
    models = loaded(GROUPS).models
    found = [
        (step.strategy, [str(way) for way in step.routes], step.weights)
        if isinstance(step, GroupConfig)
        else str(step)
        for step in models["a"].routes
    ]

    assert found == [
        ("weighted", ["openai/x", "openai/y"], (9.0, 0.5)),
        "openai/z",
        "openai/u",
        "openai/v",
        ("least_latency", ["openai/s", "openai/t"], ()),
    ]
    assert {way.timeouts.idle for way in flat(models["a"].routes)} == {20.0}


def test_a_target_brings_its_groups():
    """A model that is named for one kind of failure chooses there as it does for itself."""
    models = loaded(GROUPS).models

    assert models["a"].on["rate_limit"][0] == models["careful"].routes[0]
    assert [str(way) for way in models["a"].all_routes()][-3:] == [
        "openai/p",
        "openai/q",
        "openai/w",
    ]


def test_what_models_take_is_read():
    """What I say of a model is taken, and nothing else."""
    said = loaded(GROUPS).capabilities

    assert (said["x"].context, said["x"].takes) == (8192, {"tools": False})
    assert (said["openai/y"].context, said["openai/y"].takes) == (None, {"vision": True})
    assert (said["gone"].context, said["gone"].takes) == (None, {})


def test_an_entry_that_nothing_uses_is_told():
    """I misspelt a model: its capabilities would never count."""
    (warning,) = loaded(GROUPS).warnings
    assert warning.endswith("headworks.yaml:18: capabilities.gone: no route leads to this model")
    assert loaded(GROUPS.replace("gone", "openai/w")).warnings == ()


def test_each_route_knows_where_it_is_written():
    """What is found out about a route later is still told with file, line and key."""
    stands = loaded(GROUPS).stands

    assert stands["openai/x"] == (f'{BASE}:9: models.a.routes[0].weighted."openai/x"',)
    assert stands["openai/t"] == (f"{BASE}:12: models.a.routes[3].least_latency[1]",)
    assert stands["openai/w"] == (f"{BASE}:14: models.a.on.rate_limit[1]",)
    assert "careful" not in stands


def test_what_is_shown_is_what_was_written():
    """`headworks config show` prints groups and capabilities so that they can be read again."""
    environ = {"KEY": KEY}
    shown = read(BASE, environ, reader({"headworks.yaml": GROUPS})).as_yaml()
    routes = yaml.safe_load(shown)["models"]["a"]["routes"]

    assert routes[0] == {"weighted": {"openai/x": 9.0, "openai/y": 0.5}}
    assert routes[3] == {"least_latency": ["openai/s", "openai/t"]}
    assert yaml.safe_load(shown)["capabilities"]["x"] == {"context": 8192, "tools": False}
