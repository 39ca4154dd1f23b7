"""What the configuration and the catalogue say of models becomes what routing goes by."""

import json
from dataclasses import replace
from typing import Any

import pytest

from headworks.config.settings import GroupConfig, RouteConfig
from headworks.context.windows import Windows
from headworks.core.context_window import Window
from headworks.core.groups import Conditions
from headworks.types import NO_USAGE, Plan, Request, Usage
from headworks.wiring.routes import lacks, listed_window, router, said_window, said_windows
from tests.config.files import MINIMAL, loaded
from tests.ground import ground

SAID = """\
capabilities:
  gpt-6-sol: {context: 8192, vision: false, audio: true}
  openai/gpt-6-sol: {vision: true, prefill: false}
  llama: {tools: false}
models: {a: {routes: [openai/gpt-6-sol, openai/llama]}}
"""


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("openai/gpt-6-luna", {"audio"}),
        ("openai/gpt-3.5-turbo", {"vision", "audio", "files", "json_schema"}),
        ("openai/gpt-audio", {"vision", "files", "json_schema"}),
        ("openai/ft:gpt-4o-2024-11-20:org::id", {"audio"}),
        ("openai/gpt-5.5-cyber", set()),
        ("openai/gpt-6.2-sol", set()),
        ("openai/text-embedding-3-small", set()),
        ("openai/nobody-knows", set()),
        ("openai/llama", {"tools"}),
        ("other/gpt-6-sol", {"vision"}),
        ("openai/gpt-6-sol", {"prefill"}),
    ],
)
def test_what_a_model_cannot(place, expected):
    """The catalogue's word, the operator's over it, the one about an upstream over that of all.

    What no list tells is not denied; a fine-tuned model can what its base can.
    """
    assert lacks(loaded(MINIMAL + SAID), RouteConfig(*place.split("/"))) == expected


def test_the_operators_window_is_used_everywhere():
    """A window that I say holds for routing and for shortening alike, and learns from refusals."""
    config = loaded(MINIMAL + SAID)
    windows = Windows(listed_window)
    windows.adopt(said_windows(config))
    said = Window(8192, 8192)

    assert said_window(config, RouteConfig("openai", "gpt-6-sol")) == said
    assert windows.window("openai/gpt-6-sol") == said
    assert said_window(config, RouteConfig("openai", "gpt-6-luna")) == windows.window(
        "openai/gpt-6-luna"
    )
    windows.adopt({})
    assert windows.window("openai/gpt-6-sol") == listed_window("gpt-6-sol")


CONDITIONS = Conditions(lambda: 0.0, lambda _: 0.0, lambda _: None)


def plans(models: str, more: str = "", *, of: dict[str, Any] | None = None) -> list[Plan]:
    """Return the plans of two calls to the model `a`."""
    config = loaded(f"{MINIMAL}models: {models}\n{more}\n")
    found = router(config, CONDITIONS, Windows(listed_window).window)
    request = Request("POST", "/v1/chat/completions", fields={"model": "a", **(of or {})})
    return [found.plan(request, NO_USAGE), found.plan(request, Usage(1, 1))]


@pytest.mark.parametrize(
    "models",
    [
        "{a: {routes: [openai/gpt-6-sol]}}",
        "{a: {routes: [openai/gpt-6-sol, openai/gpt-6-luna]}}",
        "{a: {routes: [{order: [openai/gpt-6-sol]}, {cheapest: [openai/gpt-6-luna]}]}}",
        "{a: {routes: [openai/nobody, openai/knows]}}",
    ],
)
def test_a_chain_that_never_changes_costs_nothing(models):
    """Models that can the same and groups without a choice are planned once, at the start."""
    first, second = plans(models)
    assert first is second


def test_a_fallback_that_cannot_is_left_out():
    """The catalogue knows that this model reads no pictures; without one it stays the first."""
    picture = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}
    chain = "{a: {routes: [openai/gpt-audio, openai/gpt-6-sol]}}"

    assert [str(one) for one in plans(chain, of=picture)[0].routes] == ["openai/gpt-6-sol"]
    assert len(plans(chain)[0].routes) == 2


@pytest.mark.anyio
@pytest.mark.parametrize("strategy", ["weighted", "least_latency", "cheapest"])
async def test_a_group_works_from_end_to_end(tmp_path, strategy):
    """Configuration in, answers out, by whichever strategy; the cheaper model is the cheaper one."""
    async with ground(tmp_path) as it:
        ways = (RouteConfig("up", "gpt-6-sol"), RouteConfig("spare", "gpt-6-luna"))
        chain = (GroupConfig(strategy, ways, (1.0, 1.0)),)
        before = it.assembly.config
        models = {"assistant": replace(before.models["assistant"], routes=chain)}
        await it.assembly.reload(replace(before, models=models))
        for _ in range(30):
            assert json.loads(await it.ask())["object"] == "chat.completion"
        asked = {one.name for one in it.assembly.health.statistics() if one.requests}

    assert asked == ({"spare"} if strategy == "cheapest" else {"up", "spare"})
