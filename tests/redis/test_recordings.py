"""Real spans through the buffer: every span once, in the segment that the SDK or the oracle says."""

import random
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from typing import Any

import pytest
from redis import Redis
from redis.cluster import RedisCluster

from buffer import Segment, Settings, Span, SpanBuffer
from buffer.decode import decode
from demo.recordings import batches
from tests.oracle import SpanKey, carried_segment_id, segment_ids, without_segment_id

NOW_MS = 1_800_000_000_000
WHOLE_SETTINGS = Settings(root_timeout=600, timeout=600, max_segment_age=600)

Objects = tuple[dict[str, Any], ...]
Spans = tuple[Span, ...]
Order = Callable[[Spans], Spans]


@cache
def recorded(name: str) -> Objects:
    """Without the time of arrival, in which alone a span differs from the same span sent again."""
    return tuple(dict(span) | {"received": 0} for batch in batches(name) for span in batch.spans)


def as_recorded(spans: Spans) -> Spans:
    return spans


def backwards(spans: Spans) -> Spans:
    return spans[::-1]


def shuffled(spans: Spans) -> Spans:
    return tuple(random.Random(7).sample(spans, len(spans)))


ORDERS = [as_recorded, backwards, shuffled]


def key_of(span: dict[str, Any]) -> SpanKey:
    return SpanKey(span["project_id"], span["trace_id"], span["span_id"])


@cache
def spans_of(name: str) -> Spans:
    """The recording as `ingest` would decode it, without the segment ids that an SDK gave."""
    spans, invalid = decode(
        [without_segment_id(span) for span in recorded(name)],
        max_span_bytes=2**20,
        max_batch_bytes=2**30,
        max_batch_spans=10**6,
    )
    assert not invalid
    return tuple(spans)


def append_all(buffer: SpanBuffer, spans: Spans, batch_size: int) -> int:
    rest = iter(spans)
    taken = 0
    while batch := list(islice(rest, batch_size)):
        appended = buffer.append(batch, now_ms=NOW_MS)
        taken += appended.spans
        assert appended.spans + appended.outcomes.total() == len(batch)
    return taken


def flushed(buffer: SpanBuffer) -> Iterator[Segment]:
    while claims := buffer.claim(now_ms=NOW_MS + 10**7, limit=500):
        segments = buffer.load(claims)
        assert not segments.outcomes["expired.segment_ttl"]
        yield from segments
        buffer.cleanup([segment.receipt for segment in segments], now_ms=NOW_MS + 10**7)


def published(buffer: SpanBuffer) -> dict[SpanKey, str]:
    """Span -> segment id, each span once."""
    found: dict[SpanKey, str] = {}
    for segment in flushed(buffer):
        for span in segment.spans:
            key = SpanKey(span.project_id, span.trace_id, span.span_id)
            assert key not in found, "published twice"
            found[key] = segment.segment_id
    return found


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("batch_size", [1, 7, 100, 1000])
def test_spans_without_their_segment_id_come_out_grouped_as_the_sdk_grouped_them(
    redis_client: Redis, order: Order, batch_size: int
) -> None:
    buffer = SpanBuffer(redis_client, WHOLE_SETTINGS)
    spans = order(spans_of("sentry-demo"))

    append_all(buffer, spans, batch_size)
    answers = published(buffer)

    expected = {key_of(span): carried_segment_id(span) for span in recorded("sentry-demo")}
    assert answers.keys() == expected.keys()
    others = [key for key in answers if answers[key] != expected[key]]
    assert len(others) == 3  # their parent chain reaches no segment span in their project


@pytest.mark.parametrize("name", ["otel-demo-clean", "otel-demo-faults"])
@pytest.mark.parametrize(("order", "batch_size"), [(as_recorded, 100), (backwards, 7), (shuffled, 1000)])
def test_the_otel_demo_comes_out_as_the_oracle_says(
    redis_client: Redis, name: str, order: Order, batch_size: int
) -> None:
    buffer = SpanBuffer(redis_client, WHOLE_SETTINGS)
    spans = order(spans_of(name))

    append_all(buffer, spans, batch_size)

    assert published(buffer) == segment_ids(spans)


def test_a_cluster_gives_the_same_answer(redis_cluster: RedisCluster) -> None:
    buffer = SpanBuffer(redis_cluster, WHOLE_SETTINGS)
    spans = spans_of("sentry-demo")

    append_all(buffer, spans, 100)

    assert published(buffer) == segment_ids(spans)


def test_exact_repeats_of_an_exporter_are_published_once_and_counted(redis_client: Redis) -> None:
    buffer = SpanBuffer(redis_client, WHOLE_SETTINGS)
    spans = spans_of("otel-demo-faults")
    distinct = {span.payload for span in spans}

    appended = append_all(buffer, spans, 100)
    loaded = buffer.load(buffer.claim(now_ms=NOW_MS + 10**7, limit=10**6))

    assert len(distinct) < len(spans)
    assert sum(len(segment.spans) for segment in loaded) == len(distinct)
    assert loaded.outcomes["duplicate.same_content"] == appended - len(distinct)
