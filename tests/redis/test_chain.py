"""A chain of 10,000 levels, leaf first, one span a batch: the worst order there is."""

from __future__ import annotations

from redis import Redis

from tests.builders import chain, grouped, span
from tests.flow import Flow, keys, leftovers

LEVELS = 10_000


def commands(redis: Redis) -> int:
    """Calls so far, those inside scripts included."""
    return sum(stats["calls"] for stats in redis.info("commandstats").values())


def test_10000_levels_leaf_first_then_a_late_child_of_the_leaf(redis_client: Redis) -> None:
    """Catches a merge that moves what it could rename, paths that are walked again and again, and bounds on hops."""
    flow = Flow(redis_client, timeout=60, max_segment_age=600, flush_limit=2 * LEVELS)
    levels = chain(*(f"n{n}" for n in range(LEVELS)))

    redis_client.config_resetstat()
    for each in reversed(levels):
        flow.append(each)
    assert commands(redis_client) <= 20 * LEVELS
    assert len(keys(redis_client, "s")) == 1

    redis_client.config_resetstat()
    flow.append(span("late", f"n{LEVELS - 1}"))
    assert commands(redis_client) <= 3 * LEVELS, "the path is walked once"
    redis_client.config_resetstat()
    flow.append(span("later", "late"), span("latest", f"n{LEVELS - 1}"))
    assert commands(redis_client) <= 50, "and is short then"

    redis_client.config_resetstat()
    flow.drain()
    assert commands(redis_client) <= 20 * LEVELS + 4 * 2048
    assert grouped(flow.published) == {"n0": {*(f"n{n}" for n in range(LEVELS)), "late", "later", "latest"}}
    assert leftovers(redis_client) == []
