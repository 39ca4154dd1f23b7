"""What the configuration says of waiting is what happens."""

from pathlib import Path

import msgspec

from headworks.config import schema
from headworks.config.settling import settled
from headworks.core.queue_rules import QueueRules
from headworks.types import RateLimits


def test_the_queue_is_as_written():
    """Waits, calls and bytes are read; what is not written is the default; false is no queue."""
    for given, rules in (
        ({}, QueueRules()),
        ({"queue": True}, QueueRules()),
        ({"queue": False}, QueueRules(calls=0)),
        (
            {
                "queue": {"max_wait": "5s", "calls": 7, "bytes": "1KB"},
                "server": {"max_parallel": 9},
            },
            QueueRules(5.0, 7, 1_000, 9),
        ),
    ):
        document = msgspec.convert(given, schema.Document)
        assert settled(document, Path()).queue == rules


def test_a_key_has_a_priority_and_a_share():
    """A key says how many of its calls may wait, and how urgent they are at most."""
    limits = {"queue": 0, "rpm": 5}
    key = {"name": "k", "secret": "s" * 20, "priority": "batch", "limits": limits}
    document = msgspec.convert(
        {"keys": [key]}, schema.Document, dec_hook=lambda kind, text: kind(text)
    )
    (found,) = settled(document, Path()).keys
    assert found.grant.priority == "batch"
    assert found.grant.limits == RateLimits(rpm=5, queue=0)
