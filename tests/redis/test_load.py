"""load.lua and ``load``: what one flush publishes is fixed before it is read."""

from __future__ import annotations

import pytest

from buffer import FlushReason
from buffer.scripts import Client
from tests.builders import chain, grouped, identities, span, span_id
from tests.flow import Flow, dying_after, keys


def test_a_segment_comes_with_all_that_a_message_needs(store: Client) -> None:
    flow = Flow(store)
    flow.append(*chain("a", "b"))
    flow.wait(10)

    [segment] = flow.load()

    assert (segment.project_id, segment.segment_id) == (1, span_id("a"))
    assert len(segment.flush_id) == 32
    assert segment.flush_reason is FlushReason.ROOT_TIMEOUT
    assert not segment.addendum
    assert identities(segment.spans) == identities(chain("a", "b"))


def test_loading_again_gives_the_same_content_under_the_same_id(store: Client) -> None:
    """A worker died between publishing and cleaning up."""
    flow = Flow(store)
    flow.append(*chain("a", "b"), span("d", "c"))
    flow.wait(60)
    first = flow.load()
    flow.wait(181)

    again = flow.load()

    assert [(s.flush_id, s.messages()) for s in again] == [(s.flush_id, s.messages()) for s in first]


def test_what_arrives_between_two_loads_gets_a_record_of_its_own(store: Client) -> None:
    """Without the flush record the repeat has other content, and no consumer can tell it from new spans."""
    flow = Flow(store)
    flow.append(span("a"))
    flow.wait(10)
    [first] = flow.load()
    flow.append(span("b", "a"))
    flow.wait(181)

    both = {segment.flush_id: segment for segment in flow.load()}

    assert both.pop(first.flush_id).messages() == first.messages()
    [newcomer] = both.values()
    assert grouped([newcomer]) == {"a": {"b"}}


def test_a_claim_that_lost_its_lease_is_dropped(store: Client) -> None:
    flow = Flow(store)
    flow.append(span("a"))
    flow.wait(10)
    slow = flow.claim()
    flow.wait(181)
    owner = flow.claim()

    loaded = flow.load(slow)

    assert (list(loaded), loaded.lost_leases) == ([], 1)
    assert len(flow.load(owner)) == 1


def test_a_claim_of_what_was_flushed_before_is_given_back(store: Client) -> None:
    """A crash between the two steps of the clean-up leaves a claim without data."""
    flow = Flow(store)
    flow.append(span("a"))
    flow.wait(10)
    receipts = flow.publish(flow.load())
    with dying_after(1):
        flow.cleanup(receipts)
    flow.wait(181)

    loaded = flow.load()

    assert (list(loaded), loaded.gone) == ([], 1)
    assert flow.buffer.depth(now_ms=flow.now_ms) == 0


def test_a_claim_of_what_was_merged_passes_its_duty_on(store: Client) -> None:
    """Invariant (d). The append that merges dies before its own queue entry."""
    flow = Flow(store)
    flow.append(span("c", "b"))
    flow.wait(60)
    claims = flow.claim()
    with dying_after(1):
        flow.append(span("b", "a"))

    loaded = flow.load(claims)

    assert (list(loaded), loaded.moved) == ([], 1)
    assert grouped(flow.drain()) == {"a": {"b", "c"}}


def test_a_record_made_before_a_merge_keeps_its_id_and_segment(store: Client) -> None:
    """The record moves with its parts; what it was published under stays."""
    flow = Flow(store)
    flow.append(span("c", "b"))
    flow.wait(60)
    [before] = flow.load()
    flow.append(span("b", "a"), span("a"))
    flow.wait(181)

    after = {segment.flush_id: segment for segment in flow.load()}

    assert after.pop(before.flush_id).messages() == before.messages()
    assert grouped(list(after.values())) == {"a": {"a", "b"}}


def test_repeats_over_several_batches_are_dropped_and_counted(store: Client) -> None:
    flow = Flow(store)
    flow.append(span("a"), span("b", "a"))
    flow.append(span("b", "a"), span("c", "a"))
    flow.drain()

    assert identities(flow.spans) == identities([span("a"), span("b", "a"), span("c", "a")])
    assert flow.outcomes["duplicate.same_content"] == 1


@pytest.mark.parametrize(
    ("given", "seconds", "reason"),
    [
        (("a", None), 10, FlushReason.ROOT_TIMEOUT),
        (("b", "a"), 60, FlushReason.TIMEOUT),
        (("a", None), 700, FlushReason.MAX_SEGMENT_AGE),
    ],
)
def test_the_reason_of_a_flush(
    redis_client: Client, given: tuple[str, str | None], seconds: float, reason: FlushReason
) -> None:
    flow = Flow(redis_client)
    flow.append(span(*given))
    flow.wait(seconds)

    assert [segment.flush_reason for segment in flow.load()] == [reason]


def test_what_comes_after_a_flush_is_an_addendum_under_the_same_segment(store: Client) -> None:
    flow = Flow(store)
    flow.append(*chain("a", "b"))
    flow.wait(10)
    [first] = flow.flush()
    flow.append(span("c", "b"))
    flow.wait(10)

    [late] = flow.flush()

    assert (first.addendum, late.addendum) == (False, True)
    assert late.segment_id == first.segment_id
    assert late.flush_id != first.flush_id
    assert grouped([late]) == {"a": {"c"}}


def test_loading_nothing(store: Client) -> None:
    assert Flow(store).load([]) == []


def test_claims_that_do_not_fit_into_one_reply_are_read_by_the_next(store: Client) -> None:
    flow = Flow(store)
    sent = [span(f"a{n}", size=600_000) for n in range(5)]
    for each in sent:
        flow.append(each)
    flow.wait(10)

    assert identities([each for segment in flow.load() for each in segment.spans]) == identities(sent)


def test_what_somebody_else_put_in_a_segments_place_stops_no_other_claim_of_the_call(store: Client) -> None:
    flow = Flow(store)
    flow.append(span("a"), span("b"), span("c"))
    flow.wait(10)
    claims = flow.claim()
    [foreign] = [key for key in keys(store, "s") if key.endswith(bytes.fromhex(span_id("b")))]
    store.delete(foreign)
    store.set(foreign, "theirs")

    loaded = flow.load(claims)

    assert (grouped(loaded), loaded.damaged) == ({"a": {"a"}, "c": {"c"}}, 1)
