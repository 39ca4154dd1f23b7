"""What must hold of a ledger, by what callers received and what the provider saw and billed."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from tests.faults.processes import Reply
from tests.faults.witnesses import DONE, Bill


def is_received(reply: Reply) -> bool:
    """Whether its caller has read a reply to its end; the official clients read no further."""
    return reply.has_ended or reply.body.endswith(DONE)


def is_whole(reply: Reply) -> bool:
    """Whether it is the answer, and not an error in its place or at its end."""
    return reply.status == 200 and b'"error":{' not in reply.body[-600:]


def assert_received_is_booked(told: Mapping[str, Reply], booked: list[dict[str, Any]]) -> int:
    """Every reply that was received to its end has one closed row per attempt; count them."""
    by_user: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in booked:
        by_user[row["user"]].append(row)
    received = {tag: reply for tag, reply in told.items() if is_received(reply)}
    for tag, reply in received.items():
        attempts = by_user[tag]
        if "x-headworks-call" not in reply.headers:  # said by a connection whose call was cut off
            assert (reply.status, reply.error["code"]) == (503, "shutting_down")
            assert "completed" not in {row["outcome"] for row in attempts}
            continue
        assert {row["call"] for row in attempts} == {reply.call}, (tag, reply)
        assert len(attempts) == int(reply.headers["x-headworks-attempts"])
        assert [row["attempt"] for row in attempts] == list(range(1, len(attempts) + 1))
        assert {row["state"] for row in attempts} <= {"settled", "released"}
        assert "recovered" not in {row["outcome"] for row in attempts}
        if is_whole(reply):
            _assert_answer_is_booked(reply, attempts)
    return len(received)


def _assert_answer_is_booked(reply: Reply, attempts: list[dict[str, Any]]) -> None:
    last = attempts[-1]
    assert (last["state"], last["outcome"]) == ("settled", "completed")
    assert last["certainty"] == ("exact" if b'"usage":{' in reply.body else last["certainty"])
    assert last["certainty"] in {"exact", "estimated"}
    assert last["cost_nano"] > 0
    if "x-headworks-cost" in reply.headers:
        nano = sum(row["cost_nano"] for row in attempts)
        assert reply.headers["x-headworks-cost"] == f"{nano / 10**9:.9f}"


def assert_closed(booked: list[dict[str, Any]]) -> int:
    """Every row is closed; those that a kill left open stand at their estimate. Count them."""
    recovered = [row for row in booked if row["outcome"] == "recovered"]
    for row in recovered:
        assert (row["state"], row["certainty"]) == ("settled", "unknown")
        assert row["cost_nano"] == row["estimate_nano"] > 0
    assert {row["state"] for row in booked} <= {"settled", "released"}
    names = Counter((row["call"], row["attempt"]) for row in booked)
    assert not names or max(names.values()) == 1
    return len(recovered)


def assert_seen_is_booked(seen: Counter[str], booked: list[dict[str, Any]]) -> int:
    """Every request that the provider saw has one row; more only where nothing was sent.

    That is: a kill or a caller's departure came between the row and the request. Count those rows.
    """
    counted = Counter(row["user"] for row in booked)
    assert [tag for tag, times in seen.items() if counted[tag] < times] == []
    unsent = {tag: counted[tag] - seen[tag] for tag in counted if counted[tag] > seen[tag]}
    excused = {row["user"] for row in booked if row["outcome"] in {"recovered", "abandoned"}}
    assert set(unsent) <= excused
    assert set(unsent.values()) <= {1}
    return len(unsent)


def assert_billed_is_booked(billed: Mapping[str, Bill], booked: list[dict[str, Any]]) -> int:
    """Exact rows are what the provider billed, to the nano-dollar; others hold what could be seen.

    Of a call whose caller hung up, that is what had reached the gateway: the provider may have
    sent a few tokens more. Nothing that was billed is free. Count the calls that are exact.
    """
    cost: dict[str, int] = defaultdict(int)
    tokens: dict[str, int] = defaultdict(int)
    kinds: dict[str, set[str]] = defaultdict(set)
    for row in booked:
        tag = row["user"]
        cost[tag] += row["cost_nano"]
        tokens[tag] += row["input"] + row["output"]
        kinds[tag] |= {row["outcome"], row["certainty"] or "exact"}
    exact = [tag for tag, known in kinds.items() if not known & {"estimated", "unknown"}]
    nothing = Bill()
    assert {tag: cost[tag] for tag in exact} == {
        tag: billed.get(tag, nothing).nano for tag in exact
    }
    stayed = {tag: bill for tag, bill in billed.items() if "abandoned" not in kinds[tag]}
    assert [tag for tag, bill in stayed.items() if tokens[tag] < bill.visible] == []
    assert [tag for tag, bill in billed.items() if bill.nano and not cost[tag]] == []
    return len(exact)
