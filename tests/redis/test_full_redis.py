"""maxmemory with noeviction: appends are refused, what leads out of the buffer goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from buffer.errors import BufferFull, BufferUnavailable
from tests.builders import chain, grouped, identities, span, trace_id
from tests.flow import Flow, fields, keys, leftovers


@pytest.fixture
def redis(redis_client: Redis) -> Iterator[Redis]:
    yield redis_client
    redis_client.config_set("maxmemory", 0)


def contents(redis: Redis) -> dict[bytes, object]:
    hashes = {key: fields(redis, key) for kind in "slo" for key in keys(redis, kind)}
    return hashes | {key: redis.zrange(key, 0, -1, withscores=True) for kind in "qc" for key in keys(redis, kind)}


def fill(redis: Redis) -> None:
    redis.config_set("maxmemory", 1)


@pytest.mark.parametrize(
    "batch",
    [
        [span("x", trace=trace_id(1))],
        [span("b", "a")],
        [span("c", "b"), span("e", "d")],
        [span("b", "a"), span("d", "a")],  # merges two segments
        [span("c", "b", note="else")],
        [span("c", "b")],  # known already
    ],
)
def test_an_append_is_refused_and_nothing_is_half_written(redis: Redis, batch: list[object]) -> None:
    """Catches a script whose first write is one that a full Redis lets pass."""
    flow = Flow(redis)
    flow.append(span("c", "b"))
    flow.append(span("e", "d"), span("a"))
    before = contents(redis)
    fill(redis)

    with pytest.raises(BufferFull):
        flow.append(*batch)  # type: ignore[arg-type]

    assert contents(redis) == before


def test_the_caller_is_told_to_try_again() -> None:
    assert issubclass(BufferFull, BufferUnavailable)


def test_a_full_buffer_can_be_emptied_and_filled_again(redis: Redis) -> None:
    flow = Flow(redis)
    sent = [*chain("a", "b"), span("d", "c"), *(span("x", trace=trace_id(n)) for n in range(20))]
    flow.append(*sent)
    flow.wait(10)
    half = flow.load()
    flow.append(span("e", "a"))
    fill(redis)

    flow.cleanup(flow.publish(half))
    flow.drain()

    assert identities(flow.spans) == identities([*sent, span("e", "a")])
    assert leftovers(redis) == []
    redis.config_set("maxmemory", 0)
    flow.append(span("z"))
    assert grouped(flow.drain()) == {"z": {"z"}}


def test_merged_segments_and_stale_entries_go_out_of_a_full_redis(redis: Redis) -> None:
    """load has links to shorten and duties to pass on."""
    flow = Flow(redis)
    levels = chain(*(f"n{n}" for n in range(20)))
    for each in reversed(levels):
        flow.append(each)
    fill(redis)

    flow.drain()

    assert identities(flow.spans) == identities(levels)
    assert leftovers(redis) == []


def test_expired_leases_and_lost_entries_are_handled_in_a_full_redis(redis: Redis) -> None:
    flow = Flow(redis, sweep_idle=0)
    flow.append(span("a"), span("b", trace=trace_id(1)))
    flow.wait(10)
    flow.load()
    redis.delete(*keys(redis, "c"))
    fill(redis)

    assert flow.buffer.sweep(now_ms=flow.now_ms).requeued == 2
    flow.wait(10)
    flow.load()
    flow.drain()

    assert {each.span_id for each in flow.spans} == {span("a").span_id, span("b").span_id}
    assert leftovers(redis) == []


def test_a_full_redis_that_forgot_the_scripts_can_be_emptied(redis: Redis) -> None:
    flow = Flow(redis)
    flow.append(*chain("a", "b"))
    fill(redis)
    redis.script_flush()

    flow.drain()

    assert grouped(flow.published) == {"a": {"a", "b"}}


def test_a_batch_that_did_not_fit_as_a_whole_is_whole_when_it_comes_again(redis: Redis) -> None:
    """Memory ends within one append of many traces. Each trace is there or is not; the repeat makes it whole."""
    flow = Flow(redis)
    sent = [span("a", trace=trace_id(n), size=20_000) for n in range(100)]
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 1_000_000)
    with pytest.raises(BufferFull):
        flow.append(*sent)
    redis.config_set("maxmemory", 0)

    again = flow.append(*sent)
    flow.drain()

    assert again.spans + again.outcomes["duplicate.buffered"] == 100
    assert identities(flow.spans) == identities(sent)
    assert leftovers(redis) == []
