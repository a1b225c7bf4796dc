"""A full segment takes no more; overflow segments of the same id do."""

from __future__ import annotations

from buffer import FlushReason
from buffer.scripts import Client
from tests.builders import grouped, identities, span, span_id
from tests.flow import Flow, keys, leftovers

LIMITS = {"max_segment_bytes": 3000, "max_span_bytes": 2000}


def test_a_full_segment_opens_an_overflow_with_the_same_id(store: Client) -> None:
    flow = Flow(store, **LIMITS)
    sent = [span("a", size=1500), span("b", "a", size=1400), span("c", "a", size=1000)]

    assert [flow.append(each).overflows for each in sent] == [0, 0, 1]
    flow.drain()

    assert [segment.segment_id for segment in flow.published] == [span_id("a")] * 2
    assert identities(flow.spans) == identities(sent)
    assert leftovers(store) == []


def test_a_full_segment_is_due_at_once_and_says_why(store: Client) -> None:
    flow = Flow(store, **LIMITS)
    flow.append(span("a", size=1900))
    flow.append(span("b", "a", size=1900))

    [full] = flow.flush()

    assert full.flush_reason is FlushReason.MAX_SEGMENT_BYTES
    assert grouped([full]) == {"a": {"a"}}
    flow.wait(10)
    [rest] = flow.flush()
    assert rest.flush_reason is FlushReason.ROOT_TIMEOUT


def test_each_overflow_opens_the_next(store: Client) -> None:
    flow = Flow(store, **LIMITS)
    sent = [span("a"), *(span(f"b{n}", "a", size=1900) for n in range(10))]
    for each in sent:
        flow.append(each)
    assert len(keys(store, "s")) == 10
    flow.drain()

    assert identities(flow.spans) == identities(sent)
    assert grouped(flow.published).keys() == {"a"}
    assert max(sum(len(each.payload) for each in segment.spans) for segment in flow.published) <= 3000
    assert leftovers(store) == []


def test_a_part_larger_than_a_segment_is_taken_whole(store: Client) -> None:
    """A batch is one part. Not refused: it is there, and nowhere else to go."""
    flow = Flow(store, **LIMITS)
    sent = [span("a", size=1900), span("b", "a", size=1900), span("c", "a", size=1900)]

    flow.append(*sent)
    flow.drain()

    assert identities(flow.spans) == identities(sent)


def test_an_overflow_without_its_root_waits_and_follows_it(store: Client) -> None:
    """Both were put under the missing parent b; b's parent names the segment in the end."""
    flow = Flow(store, **LIMITS)
    flow.append(span("c", "b", size=1900))
    flow.append(span("d", "b", size=1900))
    flow.append(span("b", "a"), span("a"))
    flow.drain()

    assert grouped(flow.published) == {"a": {"a", "b", "c", "d"}}
    assert leftovers(store) == []


def test_a_merge_that_would_pass_the_limit_is_not_made(store: Client) -> None:
    flow = Flow(store, **LIMITS)
    flow.append(span("c", "b", size=1900))
    flow.append(span("a", size=1900))
    flow.append(span("b", "a"))
    assert len(keys(store, "s")) == 2
    flow.append(span("d", "c"))
    flow.drain()

    assert grouped(flow.published) == {"a": {"a", "b", "c", "d"}}
    assert leftovers(store) == []


def test_a_parted_segment_keeps_its_own_queue_entry(store: Client) -> None:
    """Only the parts of c wait under b; nobody else's entry leads there."""
    flow = Flow(store, **LIMITS)
    flow.append(span("c", "b", size=1900))
    flow.append(span("a", size=1900))
    flow.append(span("b", "a"))
    flow.wait(10)
    assert grouped(flow.flush()) == {"a": {"a", "b"}}

    flow.wait(50)

    assert grouped(flow.flush()) == {"a": {"c"}}
    assert leftovers(store) == []


def test_spans_below_a_parted_segment_go_to_the_root(store: Client) -> None:
    flow = Flow(store, **LIMITS)
    flow.append(span("d", "c", size=1900))
    flow.append(span("c", "b"))
    flow.append(span("a", size=1900))
    flow.append(span("b", "a"))
    flow.append(span("e", "d"))
    flow.append(span("f", "e"))
    flow.drain()

    assert grouped(flow.published) == {"a": {"a", "b", "c", "d", "e", "f"}}


def test_what_is_parted_can_join_further_up(store: Client) -> None:
    """The root above the parted one turns out to be somebody's child."""
    flow = Flow(store, **LIMITS)
    sent = [span("d", "c", size=1900), span("b", "a", size=1900), span("c", "b"), span("e", "d"), span("a", "r")]
    for each in [*sent, span("r"), span("f", "e")]:
        flow.append(each)
    flow.drain()

    assert grouped(flow.published) == {"r": {"a", "b", "c", "d", "e", "f", "r"}}
    assert leftovers(store) == []


def test_a_flushed_segment_has_room_again(store: Client) -> None:
    flow = Flow(store, **LIMITS)
    flow.append(span("a", size=1900))
    flow.wait(10)
    flow.flush()

    assert flow.append(span("b", "a", size=1900)).overflows == 0
    assert len(keys(store, "s")) == 1
    flow.drain()
    assert leftovers(store) == []


def test_a_redelivery_of_what_overflowed_is_found_in_the_overflow(store: Client) -> None:
    flow = Flow(store, **LIMITS)
    flow.append(span("a", size=1900))
    for _ in range(3):
        flow.append(span("b", "a", size=1900))
    flow.drain()

    assert identities(flow.spans) == identities([span("a", size=1900), span("b", "a", size=1900)])
