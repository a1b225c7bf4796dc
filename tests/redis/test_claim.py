"""claim.lua and ``claim``: due segments leave the queue for the claims, for one lease."""

from __future__ import annotations

import pytest

from buffer import Claim
from buffer.model import Trace
from buffer.scripts import Client
from tests.builders import grouped, span, span_id, trace_id
from tests.flow import START_MS, Flow, keys


def test_a_claim_names_segment_lease_and_deadline(store: Client) -> None:
    flow = Flow(store, root_timeout=10, lease=180)
    flow.append(span("a"))
    flow.wait(11)

    [claim] = flow.claim()

    assert claim.trace.project_id == 1
    assert claim.key.hex() == span_id("a")
    assert claim.deadline_ms == START_MS + 10_000
    assert claim.lease_us // 1000 == flow.now_ms + 180_000
    assert Claim.from_wire(claim.to_wire()) == claim


def test_what_is_claimed_is_not_claimed_again_before_its_lease_ends(store: Client) -> None:
    """Without the move to the claims a second flush_due (two beats) publishes everything twice."""
    flow = Flow(store, lease=180)
    flow.append(span("a"))
    flow.wait(10)
    flow.claim()

    assert flow.claim() == []
    flow.wait(179.999)
    assert flow.claim() == []


def test_a_claim_whose_flush_died_is_due_again_when_its_lease_ends(store: Client) -> None:
    flow = Flow(store, lease=180)
    flow.append(span("a"))
    flow.wait(10)
    [dead] = flow.claim()

    flow.wait(180.001)
    [again] = flow.claim()

    assert again.key == dead.key
    assert again.lease_us > dead.lease_us
    assert grouped(flow.load([again])) == {"a": {"a"}}


def test_a_segment_queued_again_while_claimed_waits_for_that_lease(store: Client) -> None:
    """An arrival during a flush queues the segment again; two flushes of it at once would publish it twice."""
    flow = Flow(store, root_timeout=10, lease=180)
    flow.append(span("a"))
    flow.wait(10)
    flow.claim()
    flow.append(span("b", "a"))

    flow.wait(10)
    assert flow.claim() == []
    flow.wait(170.001)
    assert len(flow.claim()) == 1
    assert flow.claim() == []


def test_a_flush_in_time_lets_the_newcomers_go_at_their_own_deadline(store: Client) -> None:
    flow = Flow(store, root_timeout=10, lease=180)
    flow.append(span("a"))
    flow.wait(10)
    loaded = flow.load()
    flow.append(span("b", "a"))
    flow.cleanup(flow.publish(loaded))

    flow.wait(10)

    assert grouped(flow.flush()) == {"a": {"b"}}


@pytest.mark.parametrize("limit", [1, 5, 16, 100])
def test_a_limit_is_kept_and_the_rest_stays_due(store: Client, limit: int) -> None:
    flow = Flow(store, shards=16)
    flow.append(*(span("a", trace=trace_id(n)) for n in range(40)))
    flow.wait(10)

    taken = [flow.buffer.claim(now_ms=flow.now_ms, limit=limit) for _ in range(-(-40 // limit))]

    assert [len(claims) for claims in taken[:-1]] == [limit] * (len(taken) - 1)
    assert len({claim.trace for claims in taken for claim in claims}) == 40


def test_one_shards_backlog_does_not_starve_the_others(store: Client) -> None:
    flow = Flow(store, shards=4)
    traces = [trace_id(n) for n in range(400)]
    by_shard: dict[int, list[str]] = {}
    for trace in traces:
        by_shard.setdefault(flow.buffer.keys.shard(Trace(1, trace)), []).append(trace)
    crowded = by_shard.pop(0)
    lonely = [members[0] for members in by_shard.values()]
    flow.append(*(span("a", trace=trace) for trace in [*crowded, *lonely]))
    flow.wait(10)

    claims = flow.buffer.claim(now_ms=flow.now_ms, limit=20)

    assert len(claims) == 20
    assert {claim.trace.trace_id for claim in claims} >= set(lonely)


def test_more_entries_than_a_script_may_unpack_are_claimed_at_once(redis_client: Client) -> None:
    flow = Flow(redis_client, shards=1, lease=180)
    flow.append(*(span(f"s{n}", f"p{n}") for n in range(9000)))
    flow.wait(60)
    assert len(flow.claim()) == 9000

    flow.append(*(span(f"t{n}", f"p{n}") for n in range(9000)))
    flow.wait(60)
    assert flow.claim() == []
    flow.wait(121)
    assert len(flow.buffer.claim(now_ms=flow.now_ms, limit=20_000)) == 9000
    assert keys(redis_client, "q") == []


def test_two_claims_of_one_moment_never_share_a_segment(store: Client) -> None:
    """Two beats, or two workers, at once."""
    flow, other = Flow(store), Flow(store)
    flow.append(*(span("a", trace=trace_id(n)) for n in range(50)))
    flow.wait(10)
    other.wait(10)

    first = flow.buffer.claim(now_ms=flow.now_ms, limit=30)
    second = other.claim()

    assert len(first) + len(second) == 50
    assert not {claim.trace for claim in first} & {claim.trace for claim in second}
