"""cleanup-segment.lua, cleanup-queue.lua and ``cleanup``: what was published goes, by content, and nothing else."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from buffer import Receipt
from buffer.errors import BufferUnavailable
from buffer.model import FlushId, LeaseUs
from buffer.scripts import Client
from tests.builders import chain, grouped, span, trace_id
from tests.flow import Flow, dying_after, keys, leftovers


def test_after_the_last_clean_up_only_the_index_is_left(store: Client) -> None:
    flow = Flow(store)
    flow.append(*chain("a", "b"), span("d", "c"))
    flow.wait(60)

    cleaned = flow.cleanup(flow.publish(flow.load()))

    assert (cleaned.segments, cleaned.parts, cleaned.stale, cleaned.requeued) == (2, 2, 0, 0)
    assert leftovers(store) == []
    assert len(keys(store, "l")) == 1


def test_no_receipts(store: Client) -> None:
    cleaned = Flow(store).cleanup([])

    assert (cleaned.segments, cleaned.parts, cleaned.stale, cleaned.requeued) == (0, 0, 0, 0)


def test_a_receipt_survives_the_wire(store: Client) -> None:
    flow = Flow(store)
    flow.append(span("a"))
    flow.wait(10)
    [segment] = flow.load()

    [receipt] = [Receipt.from_wire(receipt.to_wire()) for receipt in [segment.receipt]]

    assert receipt == segment.receipt
    assert flow.cleanup([receipt]).segments == 1


def test_newcomers_stay_and_are_queued(store: Client) -> None:
    flow = Flow(store)
    flow.append(span("a"))
    flow.wait(10)
    loaded = flow.load()
    flow.append(span("b", "a"))

    cleaned = flow.cleanup(flow.publish(loaded))

    assert (cleaned.segments, cleaned.parts) == (0, 1)
    assert grouped(flow.drain()) == {"a": {"b"}}


def test_newcomers_are_queued_even_if_their_own_append_did_not(store: Client) -> None:
    """A crash between append's data and its queue entry: the clean-up sees what is left and queues it."""
    flow = Flow(store)
    flow.append(span("a"))
    flow.wait(10)
    loaded = flow.load()
    with dying_after(1):
        flow.append(span("b", "a"))

    cleaned = flow.cleanup(flow.publish(loaded))

    assert cleaned.requeued == 1
    assert grouped(flow.drain()) == {"a": {"b"}}


def test_the_receipt_of_a_lost_lease_does_not_end_the_new_owners_claim(store: Client) -> None:
    """Without the lease in the condition the slow flush takes the claim away under the one that runs."""
    flow = Flow(store)
    flow.append(span("a"))
    flow.wait(10)
    slow = flow.load()
    flow.append(span("b", "a"))
    flow.wait(181)
    owner = flow.claim()

    flow.cleanup(flow.publish(slow))

    assert len(keys(store, "c")) == 1
    assert grouped(flow.load(owner)) == {"a": {"b"}}


def test_a_receipt_used_twice_is_stale_and_harmless(store: Client) -> None:
    flow = Flow(store)
    flow.append(span("a"))
    flow.wait(10)
    receipts = flow.publish(flow.load())
    flow.cleanup(receipts)

    again = flow.cleanup(receipts)

    assert (again.parts, again.stale) == (0, 1)
    assert leftovers(store) == []


def test_a_receipt_follows_its_parts_through_merges(store: Client) -> None:
    flow = Flow(store)
    flow.append(span("d", "c"))
    flow.wait(60)
    loaded = flow.load()
    flow.append(span("c", "b"))
    flow.append(span("b", "a"))

    cleaned = flow.cleanup(flow.publish(loaded))

    assert (cleaned.parts, cleaned.stale) == (1, 0)
    assert grouped(flow.drain()) == {"a": {"b", "c"}}
    assert leftovers(store) == []


def test_one_of_two_records_published_leaves_the_other_queued(store: Client) -> None:
    """The broker refused the second message."""
    flow = Flow(store)
    flow.append(span("a"))
    flow.wait(10)
    flow.load()
    flow.append(span("b", "a"))
    flow.wait(181)
    [one, other] = flow.load()

    flow.cleanup(flow.publish([one]))

    assert [segment.flush_id for segment in flow.drain()] == [other.flush_id]
    assert leftovers(store) == []


def test_two_records_of_one_claim_are_cleaned_up_together(store: Client) -> None:
    flow = Flow(store)
    flow.append(span("a"))
    flow.wait(10)
    flow.load()
    flow.append(span("b", "a"))
    flow.wait(181)

    cleaned = flow.cleanup(flow.publish(flow.load()))

    assert (cleaned.segments, cleaned.parts) == (1, 2)
    assert leftovers(store) == []


def test_an_invented_receipt_deletes_nothing(store: Client) -> None:
    flow = Flow(store)
    flow.append(span("a"))
    flow.wait(10)
    [segment] = flow.load()

    flow.cleanup([replace(segment.receipt, flush_id=FlushId(b"0" * 16), lease_us=LeaseUs(1))])

    assert len(keys(store, "s")) == 1
    flow.wait(181)
    assert grouped(flow.flush()) == {"a": {"a"}}


def test_other_segments_of_the_trace_are_left_alone(store: Client) -> None:
    flow = Flow(store)
    flow.append(span("a"), span("z", "y"), span("a", trace=trace_id(1)))
    flow.wait(10)
    loaded = [segment for segment in flow.load() if segment.trace_id != trace_id(1)]

    flow.cleanup(flow.publish(loaded))

    assert len(keys(store, "s")) == 2
    assert grouped(flow.drain()) == {"y": {"z"}, "a": {"a"}}


def test_a_record_of_thousands_of_digests_is_deleted_whole(redis_client: Client) -> None:
    flow = Flow(redis_client)
    for start in range(0, 9000, 1000):
        flow.append(*(span(f"s{n}", "a", project=1) for n in range(start, start + 1000)))
    for n in range(200):
        flow.append(span(f"t{n}", "a"))
    flow.wait(60)

    cleaned = flow.cleanup(flow.publish(flow.load()))

    assert cleaned.segments == 1
    assert leftovers(redis_client) == []


def test_a_key_of_another_type_keeps_no_other_segment_back(store: Client) -> None:
    flow = Flow(store, shards=1)
    flow.append(*(span("a", trace=trace_id(n)) for n in range(3)))
    flow.wait(10)
    loaded = flow.load()
    [foreign] = [key for key in keys(store, "s") if trace_id(1).encode() in key]
    store.set(foreign, b"x", ex=60)

    with pytest.raises(BufferUnavailable):
        flow.cleanup(flow.publish(loaded))

    assert keys(store, "s") == [foreign]
