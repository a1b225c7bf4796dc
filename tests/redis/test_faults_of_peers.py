"""U1 to U16: the faults known or found in a buffer of this kind, none of which may be here.

Where a fault belongs to the pipeline or to a later step, the test shows what the library has to build on.
"""

from __future__ import annotations

import pytest
from redis.cluster import RedisCluster

from buffer import FlushReason
from buffer.errors import BufferFull
from buffer.model import Trace
from buffer.scripts import Client
from tests.builders import chain, grouped, identities, name_of, span, trace_id
from tests.flow import Flow, dying_after, fields, keys, leftovers, without_ttl


def test_u1_what_is_counted_is_what_was_read(store: Client) -> None:
    """No count decides anything: a record names the parts that were read, and only those go.

    Catches a load that notes a number (spans so far) beside a content read at another moment.
    """
    flow = Flow(store)
    flow.append(span("a"))
    flow.wait(10)
    loaded = flow.load()
    for n in range(5):
        flow.append(span(f"b{n}", "a"))

    assert flow.cleanup(flow.publish(loaded)).parts == 1
    flow.drain()

    assert identities(flow.spans) == identities([span("a"), *(span(f"b{n}", "a") for n in range(5))])


def test_u2_a_flush_slower_than_its_lease_loses_nothing(store: Client) -> None:
    """Two flushes of one segment overlap: the price is a repeat with the same id, never a span.

    Catches a clean-up that trusts its lease.
    """
    flow = Flow(store, lease=180)
    flow.append(span("a"))
    flow.wait(10)
    slow = flow.load()
    flow.append(span("b", "a"))
    flow.wait(181)
    quick = flow.load()
    flow.cleanup(flow.publish(quick))
    flow.append(span("c", "b"))
    flow.cleanup(flow.publish(slow))
    flow.drain()

    distinct = {segment.flush_id: segment for segment in flow.published}
    assert len(flow.published) == len(distinct) + 1
    once = [each for segment in distinct.values() for each in segment.spans]
    assert identities(once) == identities(chain("a", "b", "c"))
    assert leftovers(store) == []


def test_u3_no_orphans_wherever_the_clean_up_dies(store: Client) -> None:
    """Catches the queue entry going before the data: after each possible death everything is still reachable."""
    flow = Flow(store)
    flow.append(span("a"), span("a", trace=trace_id(1)))
    flow.wait(10)
    loaded = flow.load()
    flow.append(span("b", "a"))
    for pipelines in (0, 1):
        with dying_after(pipelines):
            flow.cleanup(flow.publish(loaded))
        assert flow.buffer.depth(now_ms=flow.now_ms) >= len(keys(store, "s"))
    flow.published.clear()

    flow.drain()

    assert grouped(flow.published) == {"a": {"b"}}
    assert leftovers(store) == []


def test_u4_children_do_not_follow_links_of_a_merge_that_was_not_made(store: Client) -> None:
    """A merge refused for size: what is there stays findable, what comes goes to the root, all under one id.

    Catches links written before the decision where the spans go.
    """
    flow = Flow(store, max_segment_bytes=3000, max_span_bytes=2500)
    sent = [span("c", "b", size=2000), span("a", size=2000), span("b", "a"), span("d", "c"), span("e", "b")]
    for each in sent:
        flow.append(each)
    assert flow.append(sent[0]).outcomes["duplicate.buffered"] == 1
    flow.drain()

    assert identities(flow.spans) == identities(sent)
    assert grouped(flow.published) == {"a": {"a", "b", "c", "d", "e"}}
    assert leftovers(store) == []


def test_u5_the_first_part_lives_as_long_as_the_last(store: Client) -> None:
    """All parts of a segment share one TTL, because they are one key. It begins with the first span, outlasts the
    longest life of a segment (settings that say otherwise are refused), and every try to flush renews it.

    Catches payload keys of their own, and a merge or an arrival that loses the TTL.
    """
    flow = Flow(store)
    flow.append(span("a"))
    flow.append(span("c", "b"))
    flow.append(span("b", "a"))

    [segment] = keys(store, "s")
    longest_ms = flow.buffer.settings.max_segment_age_ms + flow.buffer.settings.lease_ms
    assert longest_ms < store.pttl(segment) <= flow.buffer.settings.segment_ttl_ms
    assert len(fields(store, segment)) == 3

    store.pexpire(segment, 60_000)
    flow.wait(11)
    flow.load()
    assert store.pttl(segment) > 60_000


def test_u6_an_expired_segment_is_an_outcome_with_its_exact_count(store: Client) -> None:
    """The queue entry and the head outlive the data, so what expired is known.

    Catches a queue whose TTL is that of the data, and a load that takes an empty segment for a flushed one.
    """
    flow = Flow(store)
    flow.append(*chain("a", "b", "c"))
    [segment] = keys(store, "s")
    [queue] = keys(store, "q")
    [index] = keys(store, "l")
    assert store.pttl(segment) < store.pttl(index) < store.pttl(queue)
    store.delete(segment)

    flow.drain()

    assert flow.published == []
    assert flow.outcomes["expired.segment_ttl"] == 3
    assert leftovers(store) == []


def test_u7_a_limit_is_compared_with_its_own_unit(store: Client) -> None:
    """The library's depth counts segments, not spans: back pressure (step 2) has a number of one unit to go by.

    Catches a depth in spans or in parts.
    """
    flow = Flow(store)
    flow.append(*(span(f"s{n}", "a") for n in range(50)), *(span("a", trace=trace_id(n)) for n in range(3)))
    assert flow.buffer.depth(now_ms=flow.now_ms) == 4

    flow.wait(10)
    flow.claim()

    assert flow.buffer.depth(now_ms=flow.now_ms) == 4


def test_u8_one_full_node_refuses_and_the_others_go_on(redis_cluster: RedisCluster) -> None:
    """A node that is full is seen by the append that needs it, and only by that one.

    Catches an error that is swallowed because the cluster as a whole has room. A guard that looks at each node before
    it is full is step 2.
    """
    flow = Flow(redis_cluster, shards=1)
    queue_node = node_of(redis_cluster, flow.buffer.keys.queue(0))
    nodes = {n: node_of(redis_cluster, flow.buffer.keys.index(Trace(1, trace_id(n)))) for n in range(100)}
    stuck, node = next((n, node) for n, node in nodes.items() if node != queue_node)
    elsewhere = next(n for n, other in nodes.items() if other != node)
    flow.append(span("a", trace=trace_id(stuck)))
    redis_cluster.config_set("maxmemory", 1, target_nodes=node)
    try:
        with pytest.raises(BufferFull):
            flow.append(span("b", "a", trace=trace_id(stuck)))
        assert flow.append(span("a", trace=trace_id(elsewhere))).spans == 1
        flow.drain()
        assert {segment.trace_id for segment in flow.published} == {trace_id(stuck), trace_id(elsewhere)}
    finally:
        redis_cluster.config_set("maxmemory", 0, target_nodes=node)
    assert flow.append(span("b", "a", trace=trace_id(stuck))).spans == 1


def node_of(cluster: RedisCluster, key: bytes) -> object:
    return cluster.get_node_from_key(key)  # type: ignore[no-untyped-call]


def test_u9_the_same_batch_flushed_twice_has_one_id(store: Client) -> None:
    """Catches an id that is drawn, or that depends on the flush."""
    flow = Flow(store)
    flow.append(*chain("a", "b"))
    flow.wait(10)
    [first] = flow.load()
    flow.wait(181)
    [second] = flow.load()

    assert first.flush_id == second.flush_id
    assert first.messages() == second.messages()


def test_u9_the_id_depends_on_the_content(store: Client) -> None:
    """Two buffers, the same parts in another order: one id. Other content, another id."""
    ids = []
    for order in ([span("a"), span("b", "a")], [span("b", "a"), span("a")], [span("a"), span("b", "a", note="else")]):
        for key in keys(store):
            store.delete(key)
        flow = Flow(store)
        for each in order:
            flow.append(each)
        [segment] = flow.drain()
        ids.append(segment.flush_id)

    assert ids[0] == ids[1] != ids[2]


def test_u9_the_same_spans_cut_into_other_batches_are_published_once(store: Client) -> None:
    """A client that repeats with other batches: recognised span by span when they meet in one flush."""
    flow = Flow(store)
    spans = chain("a", "b", "c", "d")
    flow.append(*spans[:3])
    flow.append(spans[3])
    flow.append(*spans[:2])
    flow.append(*spans[2:])
    flow.drain()

    assert identities(flow.spans) == identities(spans)
    assert flow.outcomes["duplicate.same_content"] + flow.outcomes["duplicate.buffered"] == 4


def test_u10_a_late_span_comes_out_under_its_segments_id(store: Client) -> None:
    """Catches links that go with the segment."""
    flow = Flow(store)
    flow.append(*chain("a", "b", "c"))
    [first] = flow.drain()
    flow.append(span("d", "c"))

    [late] = flow.drain()

    assert (late.segment_id, late.addendum) == (first.segment_id, True)


def test_u10_a_steady_drip_does_not_postpone_the_flush_for_ever(store: Client) -> None:
    """Catches a deadline that only moves on."""
    flow = Flow(store, root_timeout=10, max_segment_age=100)
    flow.append(span("a"))
    for n in range(25):
        flow.append(span(f"b{n}", "a"))
        flow.wait(4)
    flushed = flow.flush()

    assert [segment.flush_reason for segment in flushed] == [FlushReason.MAX_SEGMENT_AGE]
    assert len(flow.spans) == 26


def test_u11_a_hot_trace_does_not_hold_up_others(store: Client) -> None:
    """One trace is one slot, here too; a call takes at most 1,000 of its spans, and its segments stay bounded.

    Catches a script call without a bound. More slots for one trace are not planned.
    """
    flow = Flow(store, max_segment_bytes=200_000, max_span_bytes=1000)
    hot = [span(f"h{n}", "a", size=600) for n in range(3000)]
    flow.append(*hot, span("x", trace=trace_id(9)))
    flow.wait(10)

    assert {name_of(segment.segment_id) for segment in flow.flush()} == {"a", "x"}
    flow.drain()

    assert max(sum(len(each.payload) for each in segment.spans) for segment in flow.published) <= 300_000
    assert len(flow.spans) == 3001


def test_u12_fewer_shards_strand_nothing(store: Client) -> None:
    """Catches a claim that asks only today's shards. More of it in test_shards.py."""
    old = Flow(store, shards=32)
    old.append(*(span("a", trace=trace_id(n)) for n in range(64)))
    new = Flow(store, shards=2)

    new.drain()

    assert len(new.spans) == 64
    assert leftovers(store) == []


def test_u13_4001_spans_of_one_trace_in_one_batch(store: Client) -> None:
    """Lua unpacks at most about 8,000 values. Catches an unpack without slices, with one part and with one a span."""
    flow = Flow(store)
    siblings = [span(f"s{n}", "a") for n in range(4001)]
    apart = [span(f"o{n}", f"p{n}") for n in range(4001)]

    assert flow.append(*siblings, *apart).spans == 8002
    assert flow.append(span("a"), *(span(f"p{n}", "a") for n in range(4001))).merges == 4001
    flow.drain()

    assert len(flow.spans) == 3 * 4001 + 1
    assert len({each.span_id for each in flow.spans}) == 3 * 4001 + 1
    assert len(grouped(flow.published)) == 1
    assert leftovers(store) == []


def test_u14_150_levels_leaf_first_then_a_child_of_the_leaf(store: Client) -> None:
    """Catches links that are followed for a limited number of hops."""
    flow = Flow(store)
    levels = chain(*(f"n{n}" for n in range(150)))
    for each in reversed(levels):
        flow.append(each)
    flow.append(span("late", "n149"))
    flow.drain()

    assert grouped(flow.published) == {"n0": {*(f"n{n}" for n in range(150)), "late"}}


def test_u15_a_queue_entry_without_anything_behind_it_does_not_stop_a_flush(store: Client) -> None:
    """Data, index or both are gone: the entry goes too, and its neighbours go out.

    Catches a load that raises for what it does not find.
    """
    flow = Flow(store, shards=1)
    flow.append(*(span("a", trace=trace_id(n)) for n in range(4)))
    segments, indexes = keys(store, "s"), keys(store, "l")
    store.delete(segments[0])
    store.delete(indexes[1])
    store.delete(segments[2])
    store.delete(indexes[2])

    flow.drain()

    assert {segment.trace_id for segment in flow.published} == {trace_id(1), trace_id(3)}
    assert leftovers(store) == []
    assert without_ttl(store) == []


def test_u16_a_subtree_whose_parent_arrives_while_it_is_flushed_is_published_once(store: Client) -> None:
    """Catches a merge that makes the parts of a flush under way part of the next one."""
    flow = Flow(store)
    flow.append(span("c", "b"), span("d", "c"))
    flow.wait(60)
    loaded = flow.load()
    receipts = flow.publish(loaded)
    flow.append(span("b", "a"), span("a"))
    flow.wait(10)
    while_published = flow.load()
    flow.cleanup(receipts)
    flow.cleanup(flow.publish(while_published))
    flow.drain()

    distinct = {segment.flush_id: segment for segment in flow.published}
    assert len(distinct) == len(flow.published), "a repeat without a crash"
    assert identities(flow.spans) == identities([span("c", "b"), span("d", "c"), span("b", "a"), span("a")])
