"""What happens between two steps. Each test says which mechanism it would miss."""

from __future__ import annotations

import pytest

from buffer import Segment, scripts
from buffer.keys import member
from buffer.model import Digest, SegmentKey, Trace
from buffer.scripts import Client
from tests.builders import TRACE_ID, grouped, identities, span, span_id, trace_id
from tests.flow import Flow, dying_after, fields, in_between, keys, leftovers

TRACE = Trace(1, TRACE_ID)


def test_race_window_1_a_span_between_load_and_cleanup_is_not_deleted_unread(store: Client) -> None:
    """The seed's first window. Catches a clean-up that deletes the segment's key instead of the parts of a record."""
    flow = Flow(store)
    flow.append(span("a"))
    flow.wait(10)
    loaded = flow.load()
    late = flow.append(span("b", "a"))
    assert late.spans == 1

    flow.cleanup(flow.publish(loaded))
    flow.drain()

    assert identities(flow.spans) == identities([span("a"), span("b", "a")])
    assert leftovers(store) == []


def test_race_window_2_a_span_between_the_two_clean_up_steps_keeps_its_queue_entry(store: Client) -> None:
    """The seed's second window. Catches a second step that removes the queue entry, here or there, by name alone."""
    flow = Flow(store)
    flow.append(span("a"))
    flow.wait(10)
    receipts = flow.publish(flow.load())

    with in_between(1, lambda: flow.append(span("b", "a"))):
        cleaned = flow.cleanup(receipts)

    assert (cleaned.segments, cleaned.parts) == (1, 1)
    assert flow.buffer.depth(now_ms=flow.now_ms) == 1
    assert grouped(flow.drain()) == {"a": {"b"}}
    assert leftovers(store) == []


def test_a_span_between_the_two_steps_of_a_clean_up_that_is_delivered_again(store: Client) -> None:
    """The first delivery died between its steps. Catches a first step that deletes what the receipt does not name."""
    flow = Flow(store)
    flow.append(span("a"))
    flow.wait(10)
    receipts = flow.publish(flow.load())
    with dying_after(1):
        flow.cleanup(receipts)
    assert keys(store, "s") == []
    flow.append(span("b", "a"))

    flow.cleanup(receipts)

    assert grouped(flow.drain()) == {"a": {"b"}}
    assert leftovers(store) == []


def test_a_merge_between_the_two_clean_up_steps_is_queued_where_it_went(store: Client) -> None:
    """What is left was left in b; in between it moved to a. Catches a left-over that is queued nowhere."""
    flow = Flow(store)
    flow.append(span("c", "b"))
    flow.wait(60)
    receipts = flow.publish(flow.load())
    flow.append(span("d", "b"))

    with in_between(1, lambda: flow.append(span("b", "a"))):
        flow.cleanup(receipts)

    flow.drain()
    assert identities(flow.spans) == identities([span("c", "b"), span("d", "b"), span("b", "a")])
    assert leftovers(store) == []


def test_a_claim_between_a_loads_look_at_its_lease_and_its_read(store: Client) -> None:
    """Another flush takes over in that moment: both publish, under one id. Catches an id of the flush's own."""
    flow = Flow(store)
    flow.append(span("a"))
    flow.wait(10)
    slow = flow.claim()
    owner: list[Segment] = []

    def take_over() -> None:
        flow.append(span("b", "a"))
        flow.wait(181)
        owner.extend(flow.load())

    with in_between(1, take_over):
        loaded = flow.load(slow)

    assert {segment.flush_id for segment in loaded} <= {segment.flush_id for segment in owner}
    flow.cleanup(flow.publish(owner))
    flow.cleanup([segment.receipt for segment in loaded])
    flow.drain()
    assert identities(flow.spans) == identities([span("a"), span("b", "a")])
    assert leftovers(store) == []


def test_count_order_fault_a_span_between_count_and_read_is_not_counted_as_read(store: Client) -> None:
    """A record is written and read in one step: what it names is what was read, and only that goes.

    Catches a clean-up that compares a count: one span comes after the load, another was there before, counts agree.
    """
    flow = Flow(store)
    flow.append(span("a"))
    flow.wait(10)
    [segment] = flow.load()
    flow.append(span("b", "a"))
    flow.wait(181)
    assert {len(each.spans) for each in flow.load()} == {1}

    cleaned = flow.cleanup(flow.publish([segment]))

    assert cleaned.parts == 1
    assert grouped(flow.drain()) == {"a": {"b"}}


def test_a_clean_up_delivered_twice_does_not_delete_a_younger_segment_of_the_same_size(store: Client) -> None:
    """Catches a clean-up by count: the younger segment has as many spans as the one on the receipt."""
    flow = Flow(store)
    flow.append(span("a"))
    flow.wait(10)
    receipts = flow.publish(flow.load())
    flow.cleanup(receipts)
    flow.append(span("b", "a"))

    again = flow.cleanup(receipts)

    assert (again.parts, again.stale) == (0, 1)
    assert grouped(flow.drain()) == {"a": {"b"}}


def test_a_clean_up_delivered_twice_while_the_younger_segment_is_being_flushed(store: Client) -> None:
    """Catches a second step that ends whatever claim there is."""
    flow = Flow(store)
    flow.append(span("a"))
    flow.wait(10)
    receipts = flow.publish(flow.load())
    flow.cleanup(receipts)
    flow.append(span("b", "a"))
    flow.wait(10)
    young = flow.load()

    flow.cleanup(receipts)

    assert len(keys(store, "c")) == 1
    flow.cleanup(flow.publish(young))
    flow.drain()
    assert identities(flow.spans) == identities([span("a"), span("b", "a")])
    assert leftovers(store) == []


def test_queue_entry_first_a_crash_between_the_clean_up_steps_leaves_nothing_unreachable(store: Client) -> None:
    """Catches 'queue before data': after the first step alone, whatever is left still has its claim."""
    flow = Flow(store)
    flow.append(span("a"))
    flow.wait(10)
    [segment] = flow.load()
    with dying_after(1):
        flow.append(span("b", "a"))  # died before its queue entry, too
    receipt = segment.receipt
    flow.publish([segment])

    with dying_after(1):
        flow.cleanup([receipt])

    assert flow.buffer.depth(now_ms=flow.now_ms) == 1
    assert grouped(flow.drain()) == {"a": {"b"}}
    assert leftovers(store) == []


def test_a_score_is_compared_as_a_number(store: Client) -> None:
    """Catches leases compared as text: a score of 16 digits comes back as a float, and claims then never end."""
    flow = Flow(store)
    flow.append(*(span("a", trace=trace_id(n)) for n in range(200)))
    flow.wait(10)

    loaded = flow.load()
    flow.cleanup(flow.publish(loaded))

    assert (len(loaded), loaded.lost_leases) == (200, 0)
    assert keys(store, "c") == []


@pytest.mark.parametrize("lease_us", [1_800_000_190_000_000, 1_800_000_190_000_001, 1_799_999_999_999_999])
def test_a_lease_that_went_through_a_float_ends(store: Client, lease_us: int) -> None:
    """A client reads scores as floats. Catches leases compared as text, in the script: ...000 and ...000.0 differ."""
    flow = Flow(store, shards=1)
    segment = SegmentKey(bytes.fromhex(span_id("a")))
    store.zadd(flow.buffer.keys.claims(0), {member(TRACE, segment): lease_us})
    read_back = store.zscore(flow.buffer.keys.claims(0), member(TRACE, segment))
    claim = scripts.Ended(TRACE, segment, 0, read_back, None, 0)  # type: ignore[arg-type]

    assert scripts.run(store, scripts.cleanup_queue(flow.buffer.keys, [claim], ttl_ms=60_000)) == [[1, 0]]


def test_a_redelivered_batch_does_not_overwrite_the_link_to_its_data(store: Client) -> None:
    """Catches an append that overwrites links: the old queue entry's segment would no longer lead to its data.

    c waits under b; b arrives and moves it to a, but the process dies before a is queued. The batch of c comes again.
    """
    flow = Flow(store)
    flow.append(span("c", "b"))
    with dying_after(1):
        flow.append(span("b", "a"))

    flow.append(span("c", "b"))
    flow.drain()

    assert identities(flow.spans) == identities([span("c", "b"), span("b", "a")])
    assert leftovers(store) == []


def test_a_span_sent_again_under_another_parent_does_not_overwrite_its_link(store: Client) -> None:
    """Catches the same: c's data went to a, and only b's old queue entry, through b's link, leads there."""
    flow = Flow(store)
    flow.append(span("c", "b"))
    with dying_after(1):
        flow.append(span("b", "a"))
    flow.append(span("b", "x", note="else"))
    flow.drain()

    sent = [span("c", "b"), span("b", "a"), span("b", "x", note="else")]
    assert identities(flow.spans) == identities(sent)
    assert leftovers(store) == []


def test_a_redelivered_batch_of_the_middle_leaves_the_chain_whole(store: Client) -> None:
    """Catches the same, one step up: the batch of b again, after a's own parent came."""
    flow = Flow(store)
    sent = [span("d", "c"), span("c", "b"), span("b", "a"), span("a", "r"), span("r")]
    for each in sent:
        flow.append(each)
    for each in sent:
        flow.append(each)
    flow.append(span("e", "d"))
    flow.drain()

    assert identities(flow.spans) == identities([*sent, span("e", "d")])
    assert grouped(flow.published) == {"r": {"a", "b", "c", "d", "e", "r"}}


def test_a_redelivered_batch_after_an_overflow_is_not_a_second_copy(store: Client) -> None:
    """Catches an append without the register: the segment is full, so the copy would go to the overflow segment."""
    flow = Flow(store, max_segment_bytes=3000, max_span_bytes=2000)
    batch = [span("a", size=1000), span("b", "a", size=1000)]
    flow.append(*batch)
    assert flow.append(span("c", "a", size=1500)).overflows == 1

    again = flow.append(*batch)

    assert (again.spans, again.outcomes["duplicate.buffered"]) == (0, 2)
    flow.drain()
    assert identities(flow.spans) == identities([*batch, span("c", "a", size=1500)])


def test_a_redelivered_batch_after_its_flush_is_not_a_second_copy(store: Client) -> None:
    """Catches a register that forgets what was flushed."""
    flow = Flow(store)
    batch = [span("a"), span("b", "a")]
    flow.append(*batch)
    flow.wait(10)
    loaded = flow.load()
    during = flow.append(*batch)
    flow.cleanup(flow.publish(loaded))
    after = flow.append(*batch)
    flow.drain()

    assert (during.outcomes["duplicate.buffered"], after.outcomes["duplicate.flushed"]) == (2, 2)
    assert identities(flow.spans) == identities(batch)


def test_a_merge_during_a_flush_does_not_publish_twice(store: Client) -> None:
    """Catches a merge that leaves the flush record behind, and a receipt that does not follow the links."""
    flow = Flow(store)
    flow.append(span("c", "b"))
    flow.wait(60)
    loaded = flow.load()
    flow.append(span("b", "a"), span("a"))

    cleaned = flow.cleanup(flow.publish(loaded))
    flow.drain()

    assert cleaned.stale == 0
    assert identities(flow.spans) == identities([span("c", "b"), span("b", "a"), span("a")])
    assert leftovers(store) == []


def test_a_merge_during_a_flush_both_sides_of_which_are_claimed(store: Client) -> None:
    """Catches a merge that mixes the records of two flushes."""
    flow = Flow(store)
    flow.append(span("c", "b"), span("a"))
    flow.wait(60)
    loaded = flow.load()
    flow.append(span("b", "a"))
    flow.cleanup(flow.publish(loaded))
    flow.drain()

    assert identities(flow.spans) == identities([span("c", "b"), span("a"), span("b", "a")])
    assert leftovers(store) == []


def test_an_append_that_died_before_its_queue_entry_is_whole_after_its_redelivery(store: Client) -> None:
    """Invariant (a). Catches an append that skips the queue for parts it knows."""
    flow = Flow(store)
    batch = [span("a"), span("c", "b"), span("z", trace=trace_id(3))]
    with dying_after(1):
        flow.append(*batch)
    assert keys(store, "s")
    assert keys(store, "q") == []

    flow.append(*batch)
    flow.drain()

    assert identities(flow.spans) == identities(batch)
    assert leftovers(store) == []


def test_an_overflow_that_died_before_its_queue_entry_is_queued_by_its_redelivery(store: Client) -> None:
    """Catches an append that queues the segment of the root for parts it knows, and not the one that holds them."""
    flow = Flow(store, max_segment_bytes=3000, max_span_bytes=2000)
    flow.append(span("a", size=1900))
    with dying_after(1):
        flow.append(span("b", "a", size=1900))

    flow.append(span("b", "a", size=1900))
    flow.drain()

    assert identities(flow.spans) == identities([span("a", size=1900), span("b", "a", size=1900)])
    assert leftovers(store) == []


def test_a_merge_that_died_before_its_queue_entry_is_reached_through_the_old_one(store: Client) -> None:
    """Invariant (d). The acknowledged span is c; b's ingest died and, here, is never delivered again.

    Catches a load that drops an entry whose segment is gone without following the links.
    """
    flow = Flow(store)
    flow.append(span("c", "b"))
    with dying_after(1):
        flow.append(span("b", "a"))

    flow.drain()

    assert grouped(flow.published) == {"a": {"b", "c"}}
    assert leftovers(store) == []


def test_the_stored_part_is_what_the_digest_says_after_a_merge(redis_client: Client) -> None:
    """Catches a merge that pairs digests and blobs wrongly."""
    flow = Flow(redis_client)
    for n in range(20):
        flow.append(span(f"w{n}", "x", note=str(n)))
    flow.append(*(span(f"t{n}", "r") for n in range(3)), span("x", "r"))
    [segment] = keys(redis_client, "s")

    unpack = flow.buffer.codec.unpack
    stored = {digest: unpack(TRACE, Digest(digest), blob) for digest, blob in fields(redis_client, segment).items()}

    assert sorted(len(spans) for spans in stored.values()) == [1] * 20 + [4]
