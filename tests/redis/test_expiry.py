"""Every key has a TTL, and what a TTL takes is counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from buffer import Span
from buffer.scripts import Client
from tests.builders import chain, grouped, identities, span, trace_id
from tests.flow import Flow, keys, leftovers, without_ttl

SHORT = {
    "root_timeout": 0.1,
    "timeout": 0.1,
    "max_segment_age": 0.1,
    "task_time_limit": 0.05,
    "lease": 0.1,
    "visibility_timeout": 0.1,
    "segment_ttl": 0.4,
}


def until(condition: Callable[[], bool]) -> None:
    """TTLs run in real time: wait for what must come, however slow the machine."""
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


@contextmanager
def every_key_has_a_ttl(client: Client) -> Iterator[None]:
    yield
    assert without_ttl(client) == []


def test_every_key_has_a_ttl_at_every_step(store: Client) -> None:
    """Catches a write that creates a key, or re-creates one, and leaves its TTL to somebody else."""
    flow = Flow(store, max_segment_bytes=3000, max_span_bytes=2000)
    steps: list[list[Span]] = [
        [span("d", "c")],  # a segment that waits
        [span("d", "c")],  # again
        [span("c", "b")],  # moved by name
        [span("a"), span("x", trace=trace_id(1))],
        [span("b", "a")],  # merged into another
        [span(f"e{n}", "a", size=1500) for n in range(2)],
        [span("f", "a", size=1900)],  # overflow
        [span("h", "g", size=1900), span("g", "a")],  # parted
    ]
    for step in steps:
        with every_key_has_a_ttl(store):
            flow.append(*step)
    flow.wait(60)
    with every_key_has_a_ttl(store):
        claims = flow.claim()
    with every_key_has_a_ttl(store):
        loaded = flow.load(claims)
    with every_key_has_a_ttl(store):
        flow.append(span("i", "a"))
    with every_key_has_a_ttl(store):
        flow.cleanup(flow.publish(loaded))
    with every_key_has_a_ttl(store):
        flow.append(span("i", "a"), span("j", "a"), *steps[0])
    with every_key_has_a_ttl(store):
        flow.buffer.sweep(now_ms=flow.now_ms)
    with every_key_has_a_ttl(store):
        flow.buffer.count_outcomes(flow.outcomes, now_ms=flow.now_ms)
    with every_key_has_a_ttl(store):
        flow.drain()
    sent = {each.payload: each for step in steps for each in step} | {
        each.payload: each for each in (span("i", "a"), span("j", "a"))
    }
    assert identities(flow.spans) == identities(sent.values())
    assert leftovers(store) == []


def test_the_longer_lives_what_is_needed_to_count_what_expired(store: Client) -> None:
    flow = Flow(store)
    flow.append(span("a"))

    [segment], [index], [queue] = (keys(store, kind) for kind in "slq")

    assert store.pttl(segment) < store.pttl(index) < store.pttl(queue)


def test_a_flush_that_fails_again_and_again_keeps_its_segment(store: Client) -> None:
    """A broker that is down for a day. Catches a load that does not renew the TTLs."""
    flow = Flow(store)
    flow.append(span("a"))
    [segment], [index] = keys(store, "s"), keys(store, "l")
    store.pexpire(segment, 60_000)
    store.pexpire(index, 60_000)
    flow.wait(10)

    flow.load()

    assert store.pttl(segment) > 60_000
    assert store.pttl(index) > 60_000


def test_an_expired_segment_is_counted_by_the_flush_that_misses_it(store: Client) -> None:
    """In real time, with TTLs as short as settings allow."""
    flow = Flow(store, **SHORT, late_grace=20)
    flow.append(*chain("a", "b", "c"), span("x", trace=trace_id(1)))
    until(lambda: not keys(store, "s"))
    flow.wait(1)

    assert flow.flush() == []

    assert flow.outcomes["expired.segment_ttl"] == 4
    assert leftovers(store) == []
    assert all(store.pttl(index) <= 20_000 for index in keys(store, "l"))


def test_an_expired_segment_is_counted_once(store: Client) -> None:
    flow = Flow(store)
    flow.append(*chain("a", "b"))
    store.delete(*keys(store, "s"))
    flow.wait(10)
    claims = flow.claim()
    flow.load(claims)
    flow.load(claims)
    flow.append(span("c", "b"))
    flow.drain()

    assert flow.outcomes["expired.segment_ttl"] == 2
    assert grouped(flow.published) == {"a": {"c"}}


def test_an_expired_segment_that_gets_new_spans_is_counted(store: Client) -> None:
    """The key is there again, with less in it than was put."""
    flow = Flow(store)
    flow.append(*chain("a", "b"))
    store.delete(*keys(store, "s"))
    flow.append(span("c", "b"))
    flow.drain()

    assert flow.outcomes["expired.segment_ttl"] == 2
    assert grouped(flow.published) == {"a": {"c"}}
    assert leftovers(store) == []


@pytest.mark.parametrize("gone", ["a", "b", "both"])
def test_what_expired_before_a_merge_is_counted(store: Client, gone: str) -> None:
    """b waits, a is there; one or both expire, then b's parent link comes."""
    flow = Flow(store)
    flow.append(span("c", "b"), span("d", "b"), span("a"))
    for segment in keys(store, "s"):
        if gone == "both" or segment.endswith(gone.encode()):
            store.delete(segment)
    flow.append(span("b", "a"))
    assert without_ttl(store) == []
    flow.drain()

    assert len(flow.spans) + flow.outcomes["expired.segment_ttl"] == 4
    assert flow.outcomes["expired.segment_ttl"] == {"a": 1, "b": 2, "both": 3}[gone]
    assert leftovers(store) == []


def test_a_partly_flushed_segment_that_expires_counts_only_the_rest(store: Client) -> None:
    flow = Flow(store)
    flow.append(*chain("a", "b"))
    flow.wait(10)
    loaded = flow.load()
    flow.append(*(span(f"c{n}", "b") for n in range(3)))
    flow.cleanup(flow.publish(loaded))
    store.delete(*keys(store, "s"))
    flow.drain()

    assert flow.outcomes["expired.segment_ttl"] == 3
    assert len(flow.spans) == 2


def test_newcomers_that_expire_between_load_and_clean_up_are_counted(store: Client) -> None:
    """Catches a clean-up that takes an empty segment for one that was flushed whole."""
    flow = Flow(store)
    flow.append(*chain("a", "b"))
    flow.wait(10)
    loaded = flow.load()
    flow.append(*(span(f"c{n}", "b") for n in range(3)))
    store.delete(*keys(store, "s"))
    flow.cleanup(flow.publish(loaded))
    flow.drain()
    [index] = keys(store, "l")

    assert flow.outcomes["expired.segment_ttl"] >= 3
    assert store.hget(index, "n") == b"0"
    assert store.pttl(index) <= flow.settings.late_grace_ms


def test_what_expired_before_a_merge_with_a_segment_under_flush_is_counted(store: Client) -> None:
    """b's record is cleaned up in a, whose own spans are gone."""
    flow = Flow(store)
    flow.append(span("c", "b"), span("a"))
    flow.wait(60)
    loaded = [segment for segment in flow.load() if grouped([segment]) == {"b": {"c"}}]
    [expired] = [segment for segment in keys(store, "s") if segment.endswith(b"a")]
    store.delete(expired)
    flow.append(span("b", "a"))
    flow.cleanup(flow.publish(loaded))
    flow.drain()

    assert flow.outcomes["expired.segment_ttl"] == 1
    assert grouped(flow.published) == {"b": {"c"}, "a": {"b"}}
    assert leftovers(store) == []


def test_an_overflow_segment_that_expires_is_counted(store: Client) -> None:
    flow = Flow(store, max_segment_bytes=3000, max_span_bytes=2000)
    flow.append(span("a", size=1900))
    flow.append(span("b", "a", size=1900))
    [overflow] = [segment for segment in keys(store, "s") if segment.endswith(b"\1")]
    store.delete(overflow)
    flow.drain()

    assert flow.outcomes["expired.segment_ttl"] == 1
    assert grouped(flow.published) == {"a": {"a"}}
    assert leftovers(store) == []


def test_the_index_goes_after_late_grace(store: Client) -> None:
    """Of a trace with several segments: with the last of them."""
    flow = Flow(store, **SHORT, late_grace=0.3)
    flow.append(*chain("a", "b"), span("d", "c"))
    flow.wait(0.1)
    one, other = flow.load()
    [index] = keys(store, "l")
    flow.cleanup(flow.publish([one]))
    assert store.pttl(index) > 300

    flow.cleanup(flow.publish([other]))

    assert 0 <= store.pttl(index) <= 300 or not store.exists(index)
    until(lambda: not keys(store))


def test_a_late_span_renews_the_index_and_its_flush_ends_it_again(store: Client) -> None:
    flow = Flow(store, late_grace=400)
    flow.append(*chain("a", "b"))
    flow.drain()
    [index] = keys(store, "l")
    assert store.pttl(index) <= 400_000
    flow.append(span("c", "b"))
    assert store.pttl(index) > 400_000

    flow.drain()

    assert store.pttl(index) <= 400_000


def test_after_merges_overflows_and_flushes_the_count_of_live_segments_is_zero(store: Client) -> None:
    """Catches a count that drifts: the index would then live for days, or end under a live segment."""
    flow = Flow(store, max_segment_bytes=3000, max_span_bytes=2000)
    flow.append(span("d", "c"), span("f", "e"))
    flow.append(span("c", "b", size=1900), span("e", "b", size=1900))
    flow.append(span("a", size=1900))
    flow.wait(60)
    loaded = flow.load()
    flow.append(span("b", "a"))
    flow.cleanup(flow.publish(loaded))
    flow.drain()
    [index] = keys(store, "l")

    assert store.hget(index, "n") in (b"0", None)
    assert store.pttl(index) <= flow.settings.late_grace_ms


def test_outcomes_are_kept_for_eight_days(store: Client) -> None:
    flow = Flow(store)
    day_ms = 86_400_000
    for day in range(10):
        flow.buffer.count_outcomes({"invalid.not_json": 1, "duplicate.buffered": 0}, now_ms=flow.now_ms + day * day_ms)

    assert flow.buffer.outcomes(now_ms=flow.now_ms + 9 * day_ms) == {"invalid.not_json": 8}
    assert all(0 < store.ttl(key) <= 8 * 86_400 for key in keys(store, "o"))
