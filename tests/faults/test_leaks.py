"""Nobody ever gets, or leaves behind under his name, a word of somebody else's call."""

import asyncio

import pytest

from tests.faults.leakhunter import SEED, Findings, hunt

pytestmark = pytest.mark.anyio

CALLS = 4_000


async def test_four_thousand_calls(tmp_path, figure):
    """Fifty tenants, a lying provider, callers who leave: no foreign word anywhere."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    found = await hunt(tmp_path, CALLS)

    assert found.findings.leaks == []
    assert len(found.calls) >= CALLS
    assert found.cancelled > CALLS / 20
    assert found.statuses[200] > CALLS / 2
    read = found.findings.read
    assert read["answer"] > CALLS * 0.8
    assert read["ledger"] > CALLS * 0.8
    assert read["journal"] > CALLS * 0.8
    figure(
        f"leaks: seed {SEED}, {len(found.calls)} calls in {loop.time() - begun:.1f} s, "
        f"{found.cancelled} cancelled, {dict(found.statuses)}, read {dict(read)}"
    )


async def test_finds_answers_that_are_mixed_up(tmp_path):
    """The hunt is no formality: answers that go to the wrong tenant are found."""
    found = await hunt(tmp_path, 600, confuses=True)

    assert {leak.where for leak in found.findings.leaks} >= {"answer", "answer says its tag"}


def test_finds_words_in_every_sink():
    """A line with two tenants' tags, or one where none may be, is a leak."""
    findings = Findings()
    findings.look_for_one("log", b"t01-000001 and t01-000001 again")
    findings.look("answer", b"to t01-000001", [b"t01-000001"])
    assert findings.leaks == []

    findings.look_for_one("log", b"t01-000001 beside t02-000002")
    findings.look("metrics", b"t03-000003", ())
    findings.demand("ledger", "t04-000004", holds=False)
    assert [(leak.where, leak.found[:10]) for leak in findings.leaks] == [
        ("log", "t02-000002"),
        ("metrics", "t03-000003"),
        ("ledger", "something "),
    ]
