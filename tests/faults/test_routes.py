"""What each caller may do is what the policy says, for every route that there is."""

import pytest

from headworks.core import endpoints
from headworks.gateway.station import Station
from tests.faults.policy import ADMIN_PLANE, DATA_PLANE
from tests.faults.routematrix import matrix, paths, rules

pytestmark = pytest.mark.anyio


async def test_every_route_for_every_caller(tmp_path, figure):
    """No caller gets more or less than the policy grants, and a refusal never reaches the provider."""
    async with matrix(tmp_path) as asked:
        assert await asked.differences(DATA_PLANE) == []
        assert asked.passed <= asked.granted
        assert len(asked.passed) > 60
        booked = {(row["key_name"], row["project"]) for row in asked.gateway.rows()}
        assert booked >= {("open", "a"), ("elsewhere", "b"), ("fitting", "")}
        narrow = {row["endpoint"] for row in asked.gateway.rows() if row["key_name"] == "narrow"}
        assert narrow <= {"models"}
        assert await asked.admin_differences(ADMIN_PLANE) == []
        figure(f"routes: {asked.asked} requests, {len(asked.passed)} granted")


async def test_every_route_is_listed(tmp_path):
    """A route that nobody has reviewed fails here: add its rows to the policy."""
    listed = paths(DATA_PLANE)
    assert set(endpoints._KNOWN) <= listed
    for prefix in endpoints._ADMIN:
        assert any(path.startswith(f"{prefix}/") for path in listed)
        assert prefix in listed
    async with matrix(tmp_path) as asked:
        station = Station(asked.gateway.assembly, lambda: asked.gateway.assembly.config)
        admin = {getattr(route, "path", repr(route)) for route in station.admin()._app.routes}
    assert admin <= paths(ADMIN_PLANE)
    assert {"/healthz", "/readyz", "/metrics"} <= admin


def test_the_policy_is_whole():
    """Each path has a row for each method, and nothing is granted without a key."""
    for table in (DATA_PLANE, ADMIN_PLANE):
        for path in paths(table):
            known = {rule.method for rule in rules(table) if rule.path == path and rule.model}
            assert "POST" in known
            assert path == "/v1/%63hat/completions" or len(known) == 10, path
    strangers = [rule for rule in rules(DATA_PLANE) if rule.column == "strangers"]
    assert {rule.status for rule in strangers} == {400, 401, 404, 405}
