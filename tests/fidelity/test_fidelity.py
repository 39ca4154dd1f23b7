"""Promises to whoever practises on the simulator: it looks like the real one, exchange by exchange."""

import pytest

from tests.fidelity.allowed import ALLOWED, LEFT_OUT
from tests.fidelity.report import compare

pytestmark = pytest.mark.anyio
_LEAST = {
    "POST /v1/chat/completions": 290,
    "POST /v1/chat/completions stream": 110,
    "POST /v1/responses": 75,
    "POST /v1/responses stream": 50,
    "GET /v1/responses/{id}": 15,
    "POST /v1/embeddings": 60,
    "POST /v1/completions": 45,
    "POST /v1/completions stream": 15,
}
"""Exchanges that the archives hold at least: fewer were not read."""


@pytest.fixture(scope="module")
def anyio_backend():
    """Run the one comparison of this module on asyncio."""
    return "asyncio"


@pytest.fixture(scope="module")
async def comparison():
    """Every recorded exchange, asked again."""
    return await compare()


async def test_every_recorded_exchange_looks_the_same(comparison, capsys):
    """Status, events and their order, keys, kinds of values, headers, errors and prompt tokens."""
    with capsys.disabled():
        print(f"\n{comparison.table()}")  # noqa: T201 - the proof is to be seen

    assert not comparison.left, comparison.deviations()


async def test_all_recordings_were_read(comparison):
    """None of the archives is passed over in silence."""
    for endpoint, least in _LEAST.items():
        assert comparison.compared[endpoint] >= least, endpoint


async def test_no_exception_is_left_over(comparison):
    """What is allowed to differ still differs, or else the table is to be shortened."""
    assert [one for one in ALLOWED if not comparison.meant[one]] == []
    assert {one for _, one in comparison.left_out} == set(LEFT_OUT)
