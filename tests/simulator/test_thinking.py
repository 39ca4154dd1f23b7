"""Which models think, and how long."""

import pytest

from headworks.simulator.thinking import effort_of, efforts, usual_effort


@pytest.mark.parametrize(
    ("model", "known", "usual"),
    [
        ("gpt-4o", "", ""),
        ("house-model", "", ""),
        ("gpt-5-chat-latest", "", ""),
        ("o3-mini", "low medium high", "medium"),
        ("gpt-5", "minimal low medium high", "medium"),
        ("gpt-5-nano-2025-08-07", "minimal low medium high", "medium"),
        ("gpt-5.1", "none low medium high", "none"),
        ("gpt-5.4-mini", "none low medium high xhigh", "none"),
        ("gpt-5.6-terra", "none low medium high xhigh", "medium"),
        ("openai/gpt-6-sol", "none low medium high xhigh max", "medium"),
        ("gpt-12.3", "none low medium high xhigh max", "medium"),
    ],
)
def test_each_generation_knows_its_efforts(model, known, usual):
    """What may be asked of a model, and what it does unasked, depends on its generation."""
    assert list(efforts(model)) == known.split()
    assert usual_effort(model) == usual
    assert effort_of({"model": model}) == ("" if usual == "none" else usual)
    assert effort_of({"model": model, "reasoning_effort": "low"}) == "low"
    assert effort_of({"model": model, "reasoning_effort": "none"}) == ""
