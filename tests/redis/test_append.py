"""append.lua and ``append``: where a span goes, and what the caller is told."""

from __future__ import annotations

from itertools import permutations

import pytest
from msgspec.structs import replace
from redis import Redis

from buffer import Span
from buffer.errors import BufferUnavailable
from buffer.invalid import REASONS
from buffer.scripts import Client
from tests.builders import TRACE_ID, chain, grouped, identities, span, span_id, trace_id
from tests.flow import Flow, keys


def test_a_batch_is_stored_once_and_queued_once(store: Client) -> None:
    flow = Flow(store)

    appended = flow.append(*chain("a", "b", "c"))

    assert (appended.spans, appended.parts, appended.merges, appended.overflows) == (3, 1, 0, 0)
    assert not +appended.outcomes
    assert len(keys(store, "s")) == 1
    assert flow.buffer.depth(now_ms=flow.now_ms) == 1


def test_an_empty_batch_changes_nothing(store: Client) -> None:
    appended = Flow(store).append()

    assert appended.spans == 0
    assert keys(store) == []


def test_the_payload_comes_out_as_it_went_in(store: Client) -> None:
    flow = Flow(store)
    given = [span("a", note="Grüße \u2028 \U0001f600"), span("b", "a", size=5000)]

    flow.append(*given)
    flow.drain()

    assert identities(flow.spans) == identities(given)


def test_a_segment_with_its_root_is_due_after_root_timeout(store: Client) -> None:
    flow = Flow(store, root_timeout=10, timeout=60)
    flow.append(span("a"))

    flow.wait(9.999)
    assert flow.claim() == []
    flow.wait(0.001)
    assert len(flow.claim()) == 1


def test_a_segment_without_its_root_is_due_after_timeout(store: Client) -> None:
    flow = Flow(store, root_timeout=10, timeout=60)
    flow.append(span("b", "a"))

    flow.wait(59.999)
    assert flow.claim() == []
    flow.wait(0.001)
    assert len(flow.claim()) == 1


def test_the_root_shortens_the_wait_of_those_that_were_there(store: Client) -> None:
    flow = Flow(store, root_timeout=10, timeout=60)
    flow.append(span("b", "a"))
    flow.append(span("a"))

    flow.wait(10)

    assert grouped(flow.flush()) == {"a": {"a", "b"}}


def test_a_child_after_the_root_waits_no_longer_than_the_root(store: Client) -> None:
    flow = Flow(store, root_timeout=10, timeout=60)
    flow.append(span("a"))
    flow.wait(5)
    flow.append(span("b", "a"))

    flow.wait(10)

    assert grouped(flow.flush()) == {"a": {"a", "b"}}


def test_an_arrival_postpones_the_deadline(store: Client) -> None:
    flow = Flow(store, root_timeout=10)
    flow.append(span("a"))
    flow.wait(9)
    flow.append(span("b", "a"))
    flow.wait(9)

    assert flow.flush() == []


def test_a_grandchild_first_joins_when_the_link_between_comes(store: Client) -> None:
    """The link of b leads to a, and what waited under b follows."""
    flow = Flow(store)
    flow.append(span("a"))
    flow.append(span("c", "b"))
    appended = flow.append(span("b", "a"))

    assert appended.merges == 1
    assert grouped(flow.drain()) == {"a": {"a", "b", "c"}}


def test_two_subtrees_join_under_one_parent(store: Client) -> None:
    flow = Flow(store)
    flow.append(span("d", "b"))
    flow.append(span("e", "c"))
    appended = flow.append(span("b", "a"), span("c", "a"))

    assert appended.merges == 2
    assert len(keys(store, "s")) == 1
    assert grouped(flow.drain()) == {"a": {"b", "c", "d", "e"}}


@pytest.mark.parametrize("waiting", [1, 3, 40])
@pytest.mark.parametrize("there", [1, 3, 40])
def test_a_merge_keeps_both_sides_whichever_is_larger(redis_client: Client, waiting: int, there: int) -> None:
    """The smaller moves into the larger: both ways, and equal sizes."""
    flow = Flow(redis_client)
    sent = [span("r"), *(span(f"t{n}", "r") for n in range(there)), *(span(f"w{n}", "x") for n in range(waiting))]
    for each in sent:
        flow.append(each)
    flow.append(span("x", "r"))

    [segment] = flow.drain()

    assert identities(segment.spans) == identities([*sent, span("x", "r")])
    assert len(keys(redis_client, "s")) == 0


def test_a_local_root_starts_a_segment_of_its_own(store: Client) -> None:
    flow = Flow(store)
    flow.append(span("c", "b"), span("a"), span("b", "a", is_segment=True))

    assert grouped(flow.drain()) == {"a": {"a"}, "b": {"b", "c"}}


def test_a_waiting_subtree_does_not_follow_a_local_root_upwards(store: Client) -> None:
    flow = Flow(store)
    flow.append(span("c", "b"))
    flow.append(span("a"))
    flow.append(span("b", "a", is_segment=True))

    assert grouped(flow.drain()) == {"a": {"a"}, "b": {"b", "c"}}


def test_a_given_segment_id_decides_before_the_parent(store: Client) -> None:
    flow = Flow(store)
    flow.append(span("a"), span("b", "a", is_segment=True), span("c", "unseen", segment="b"))
    flow.append(span("d", "c"))

    assert grouped(flow.drain()) == {"a": {"a"}, "b": {"b", "c", "d"}}


def test_projects_and_traces_do_not_mix(store: Client) -> None:
    flow = Flow(store)
    sent = [span("a", project=1), span("b", "a", project=2), span("b", "a", trace=trace_id(7))]

    flow.append(*sent)
    flow.drain()

    assert {(s.project_id, s.trace_id, s.segment_id, len(s.spans)) for s in flow.published} == {
        (1, TRACE_ID, span_id("a"), 1),
        (2, TRACE_ID, span_id("a"), 1),
        (1, trace_id(7), span_id("a"), 1),
    }


def test_a_parent_that_never_comes_names_the_segment(store: Client) -> None:
    flow = Flow(store)
    flow.append(span("b", "a"), span("c", "b"), span("d", "a"))

    [segment] = flow.drain()

    assert segment.segment_id == span_id("a")
    assert grouped([segment]) == {"a": {"b", "c", "d"}}


def test_the_same_batch_twice_is_stored_once(store: Client) -> None:
    flow = Flow(store)
    batch = [*chain("a", "b", "c"), span("z", "y")]
    flow.append(*batch)

    again = flow.append(*batch)

    assert again.spans == 0
    assert again.outcomes["duplicate.buffered"] == 4
    flow.drain()
    assert identities(flow.spans) == identities(batch)


def test_the_same_batch_after_its_flush_is_not_published_again(store: Client) -> None:
    flow = Flow(store)
    flow.append(*chain("a", "b"))
    flow.drain()

    again = flow.append(*chain("a", "b"))

    assert (again.spans, again.outcomes["duplicate.flushed"]) == (0, 2)
    assert flow.drain() == []


def test_the_same_batch_after_a_merge_is_found_where_it_went(store: Client) -> None:
    """The register says where the part was put, the links where that went."""
    flow = Flow(store)
    flow.append(span("c", "b"))
    flow.append(span("b", "a"))
    flow.append(span("a"))

    again = flow.append(span("c", "b"))

    assert (again.spans, again.outcomes["duplicate.buffered"]) == (0, 1)
    flow.drain()
    assert identities(flow.spans) == identities([span("a"), span("b", "a"), span("c", "b")])


def test_a_span_twice_in_one_batch_is_published_once_and_counted(store: Client) -> None:
    flow = Flow(store)
    flow.append(span("a"), span("a"))
    flow.drain()

    assert identities(flow.spans) == identities([span("a")])
    assert flow.outcomes["duplicate.same_content"] == 1


def test_the_same_id_with_other_content_is_kept(store: Client) -> None:
    flow = Flow(store)
    both = [span("a", note="one"), span("a", note="two")]
    flow.append(*both)
    flow.drain()

    assert identities(flow.spans) == identities(both)


OK = b"{}"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Span(1, TRACE_ID, "}" * 16, payload=OK), "bad_span_id"),
        (Span(1, TRACE_ID, "00:0" * 4, payload=OK), "bad_span_id"),
        (Span(1, TRACE_ID, "\0" * 16, payload=OK), "bad_span_id"),
        (Span(1, TRACE_ID, span_id("a") + "\n", payload=OK), "bad_span_id"),
        (Span(1, TRACE_ID, span_id("a").replace("6", "\u0666"), payload=OK), "bad_span_id"),
        (Span(1, TRACE_ID.upper(), span_id("a"), payload=OK), "bad_trace_id"),
        (Span(1, TRACE_ID[:-1], span_id("a"), payload=OK), "bad_trace_id"),
        (Span(1, "}:" + TRACE_ID[2:], span_id("a"), payload=OK), "bad_trace_id"),
        (Span(-1, TRACE_ID, span_id("a"), payload=OK), "bad_project_id"),
        (Span(2**64, TRACE_ID, span_id("a"), payload=OK), "bad_project_id"),
        (Span(1, TRACE_ID, span_id("a"), "{" * 16, payload=OK), "bad_parent_span_id"),
        (Span(1, TRACE_ID, span_id("a"), span_id("b"), False, "xyz", payload=OK), "bad_segment_id"),
        (Span(1, TRACE_ID, span_id("a")), "not_an_object"),
        (Span(1, TRACE_ID, span_id("a"), payload=b"[]"), "not_an_object"),
        (span("a", size=2**20 + 1), "span_too_large"),
    ],
)
def test_a_span_that_cannot_be_kept_is_an_outcome_and_its_neighbours_go_in(
    redis_client: Client, bad: Span, reason: str
) -> None:
    flow = Flow(redis_client)

    appended = flow.append(bad, span("ok"))

    assert appended.outcomes == {f"invalid.{reason}": 1}
    assert reason in REASONS
    assert grouped(flow.drain()) == {"ok": {"ok"}}


def test_a_span_that_names_itself_as_its_segment_is_a_root(store: Client) -> None:
    flow = Flow(store, root_timeout=10, timeout=60)
    flow.append(span("a", "q", segment="a"), span("b", "a"))

    flow.wait(10)

    assert grouped(flow.flush()) == {"a": {"a", "b"}}


def test_a_segment_id_that_names_a_child_leads_where_that_one_went(store: Client) -> None:
    """Not what a sender should do. Whatever the order, one answer."""
    sent = [span("s", "r"), span("x", "q", segment="s"), span("r")]
    for number, order in enumerate(permutations(sent)):
        flow = Flow(store)
        for each in order:
            flow.append(replace(each, trace_id=trace_id(number)))
        assert grouped(flow.drain()) == {"r": {"r", "s", "x"}}


def test_parents_in_a_circle_over_two_batches_end_up_somewhere(store: Client) -> None:
    flow = Flow(store)
    flow.append(span("a", "b"))
    flow.append(span("b", "a"))
    flow.append(span("c", "a"))
    flow.drain()

    assert identities(flow.spans) == identities([span("a", "b"), span("b", "a"), span("c", "a")])


def test_a_circle_within_a_batch_ends_up_somewhere(store: Client) -> None:
    """``decode`` refuses it; the library itself must only not loop."""
    flow = Flow(store)
    circle = [span("a", "b"), span("b", "c"), span("c", "a"), span("d", "d")]
    flow.append(*circle)
    flow.drain()

    assert identities(flow.spans) == identities(circle)


def test_a_known_script_is_needed_once_and_loaded_again_when_redis_forgot_it(store: Client) -> None:
    flow = Flow(store)
    flow.append(span("a"), span("x", trace=trace_id(1)), span("y", trace=trace_id(2)), span("z", trace=trace_id(3)))
    store.script_flush()

    flow.append(span("b", "a"))
    store.script_flush()
    flow.wait(10)
    claims = flow.claim()
    store.script_flush()
    loaded = flow.load(claims)
    store.script_flush()
    flow.cleanup(flow.publish(loaded))

    assert grouped(flow.published) == {"a": {"a", "b"}, "x": {"x"}, "y": {"y"}, "z": {"z"}}
    assert flow.buffer.depth(now_ms=flow.now_ms) == 0


def test_a_part_that_could_not_be_stored_is_not_registered(redis_client: Redis) -> None:
    """Scripts do not roll back: what the register knows must be there, or a redelivery is taken for a duplicate."""
    flow = Flow(redis_client)
    flow.append(span("a"))
    redis_client.execute_command("ACL", "SETUSER", "default", "-rpush")  # type: ignore[no-untyped-call]
    try:
        for _ in range(2):
            with pytest.raises(BufferUnavailable):
                flow.append(span("b", "a"), span("x", "y"))
    finally:
        redis_client.execute_command("ACL", "SETUSER", "default", "+rpush")  # type: ignore[no-untyped-call]

    flow.append(span("b", "a"), span("x", "y"))
    flow.drain()

    assert grouped(flow.published) == {"a": {"a", "b"}, "y": {"x"}}
    assert +flow.outcomes == {}
