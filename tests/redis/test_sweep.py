"""requeue.lua and ``sweep``: the net under everything else."""

from __future__ import annotations

import pytest

from buffer.scripts import Client
from tests.builders import chain, grouped, span, trace_id
from tests.flow import Flow, dying_after, keys


def test_a_segment_without_entry_is_queued_and_counted(store: Client) -> None:
    flow = Flow(store, sweep_idle=0)
    with dying_after(1):
        flow.append(*chain("a", "b"))
    assert flow.buffer.depth(now_ms=flow.now_ms) == 0

    swept = flow.buffer.sweep(now_ms=flow.now_ms)

    assert (swept.segments, swept.requeued) == (1, 1)
    assert grouped(flow.drain()) == {"a": {"a", "b"}}


def test_what_is_queued_or_claimed_is_left_alone(store: Client) -> None:
    flow = Flow(store, sweep_idle=0)
    flow.append(span("a"), span("z", trace=trace_id(1)))
    flow.wait(10)
    flow.buffer.claim(now_ms=flow.now_ms, limit=16)
    flow.append(span("y", trace=trace_id(2)))

    assert flow.buffer.sweep(now_ms=flow.now_ms).requeued == 0


def test_what_was_touched_just_now_is_left_alone(store: Client) -> None:
    """Its append may stand between data and queue entry. Catches a sweep that counts those as orphans."""
    flow = Flow(store, sweep_idle=60)
    with dying_after(1):
        flow.append(span("a"))

    assert flow.buffer.sweep(now_ms=flow.now_ms).requeued == 0


def test_an_entry_under_another_shard_count_is_an_entry(store: Client) -> None:
    old = Flow(store, sweep_idle=0, shards=64)
    old.append(*(span("a", trace=trace_id(n)) for n in range(30)))

    new = Flow(store, sweep_idle=0, shards=3)

    assert new.buffer.sweep(now_ms=new.now_ms).requeued == 0


def test_an_empty_buffer(store: Client) -> None:
    swept = Flow(store).buffer.sweep()

    assert (swept.segments, swept.requeued) == (0, 0)


def test_an_overflow_segment_without_entry_is_found(store: Client) -> None:
    flow = Flow(store, sweep_idle=0, max_segment_bytes=2000, max_span_bytes=1500)
    with dying_after(1):
        flow.append(span("a", size=1500))
    with dying_after(1):
        flow.append(span("b", "a", size=1500))
    assert len(keys(store, "s")) == 2

    assert flow.buffer.sweep(now_ms=flow.now_ms).requeued == 2
    assert grouped(flow.drain()) == {"a": {"a", "b"}}


@pytest.mark.parametrize("foreign", [b"span-buf:s:junk", b"span-buf:s:{x:y}:zz", b"span-buf:s:{1:2:3}:zz"])
def test_a_foreign_key_does_not_stop_the_sweep(redis_client: Client, foreign: bytes) -> None:
    flow = Flow(redis_client, sweep_idle=0)
    redis_client.hset(foreign, "a", "b")
    with dying_after(1):
        flow.append(span("a"))

    assert flow.buffer.sweep(now_ms=flow.now_ms).requeued == 1
