"""The shard count may change at any time, with spans in every step of their way."""

from __future__ import annotations

import pytest

from buffer.scripts import Client
from buffer.settings import MAX_SHARDS
from tests.builders import identities, span, trace_id
from tests.flow import Flow, leftovers

TRACES = [trace_id(n) for n in range(40)]
CHANGES = [(16, 4), (4, 16), (1, MAX_SHARDS), (MAX_SHARDS, 1), (7, 5)]


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_what_is_queued_goes_out(store: Client, before: int, after: int) -> None:
    """Catches a claim that asks only today's shards."""
    old = Flow(store, shards=before)
    sent = [span("a", trace=trace) for trace in TRACES]
    old.append(*sent)
    new = Flow(store, shards=after)

    new.drain()

    assert identities(new.spans) == identities(sent)
    assert leftovers(store) == []


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_what_is_claimed_by_a_dead_flush_goes_out(store: Client, before: int, after: int) -> None:
    old = Flow(store, shards=before)
    sent = [span("a", trace=trace) for trace in TRACES]
    old.append(*sent)
    old.wait(10)
    assert len(old.claim()) == len(TRACES)
    new = Flow(store, shards=after)
    new.wait(10)

    new.drain()

    assert identities(new.spans) == identities(sent)
    assert leftovers(store) == []


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_a_flush_under_way_ends_its_claim_in_the_shard_it_came_from(store: Client, before: int, after: int) -> None:
    """Catches a clean-up that computes the shard instead of taking it from the receipt."""
    old = Flow(store, shards=before)
    old.append(*(span("a", trace=trace) for trace in TRACES))
    old.wait(10)
    loaded = old.load()
    new = Flow(store, shards=after)
    new.wait(10)
    new.append(*(span("b", "a", trace=trace) for trace in TRACES))

    new.cleanup(old.publish(loaded))
    new.drain()

    assert len(old.spans) == len(TRACES)
    distinct = {segment.flush_id + segment.trace_id: segment for segment in new.published}
    once = [each for segment in distinct.values() for each in segment.spans]
    assert identities(once) == identities([span("b", "a", trace=trace) for trace in TRACES])
    assert leftovers(store) == []


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_a_segment_that_grows_over_the_change_loses_nothing(store: Client, before: int, after: int) -> None:
    """It may be queued under both counts. A flush of either finds it, the other finds it gone."""
    old = Flow(store, shards=before)
    sent = [span("c", "b", trace=trace) for trace in TRACES]
    old.append(*sent)
    new = Flow(store, shards=after)
    more = [span("b", "a", trace=trace) for trace in TRACES]
    new.append(*more)

    new.drain()

    distinct = {segment.flush_id + segment.trace_id: segment for segment in new.published}
    assert identities(each for segment in distinct.values() for each in segment.spans) == identities([*sent, *more])
    assert leftovers(store) == []


def test_a_process_that_still_runs_with_the_old_count_is_noticed(store: Client) -> None:
    """A rolling deployment: the former shards are looked for again, not once at start."""
    new = Flow(store, shards=2)
    assert new.claim() == []
    old = Flow(store, shards=64)
    old.append(*(span("a", trace=trace) for trace in TRACES))

    new.drain()
    new.wait(60)
    new.drain()

    assert len(new.spans) == len(TRACES)
    assert leftovers(store) == []


def test_a_segment_queued_under_two_counts_is_published_once(store: Client) -> None:
    """No crash and no expired lease: so once. Catches two claims of one segment that both publish its record."""
    old = Flow(store, shards=1)
    sent = [span("a", trace=trace) for trace in TRACES]
    old.append(*sent)
    new = Flow(store, shards=16)
    more = [span("b", "a", trace=trace) for trace in TRACES]
    new.append(*more)

    new.drain()

    assert identities(new.spans) == identities([*sent, *more])
    assert leftovers(store) == []
