"""Real spans through the buffer: every span once, in the segment that the SDK or the oracle says."""

import random
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import msgspec
import pytest
from redis import Redis
from redis.cluster import RedisCluster

from buffer import Settings, Span, SpanBuffer
from buffer.decode import decode
from demo.recordings import batches
from tests.oracle import SpanKey, carried_segment_id, segment_ids, without_segment_id

NOW_MS = 1_800_000_000_000
WHOLE_SETTINGS = Settings(root_timeout=600, timeout=600, max_segment_age=600)

Objects = list[dict[str, Any]]
Order = Callable[[Objects], Objects]


def recorded(name: str) -> Objects:
    """Without the time of arrival, in which alone a span differs from the same span sent again."""
    return [dict(span) | {"received": 0} for batch in batches(name) for span in batch.spans]


def as_recorded(spans: Objects) -> Objects:
    return spans


def backwards(spans: Objects) -> Objects:
    return spans[::-1]


def shuffled(spans: Objects) -> Objects:
    return random.Random(7).sample(spans, len(spans))


ORDERS = [as_recorded, backwards, shuffled]


def key_of(span: dict[str, Any]) -> SpanKey:
    return SpanKey(span["project_id"], span["trace_id"], span["span_id"])


def spans_of(objects: Objects) -> list[Span]:
    spans, invalid = decode(objects, max_span_bytes=2**20, max_batch_bytes=2**30, max_batch_spans=10**6)
    assert not invalid
    return spans


def append_all(buffer: SpanBuffer, spans: list[Span], batch_size: int) -> int:
    rest = iter(spans)
    taken = 0
    while batch := list(islice(rest, batch_size)):
        appended = buffer.append(batch, now_ms=NOW_MS)
        taken += appended.spans
        assert appended.spans + appended.outcomes.total() == len(batch)
    return taken


def flush_all(buffer: SpanBuffer) -> Iterator[dict[str, Any]]:
    while claims := buffer.claim(now_ms=NOW_MS + 10**7, limit=500):
        segments = buffer.load(claims)
        for segment in segments:
            yield from map(msgspec.json.decode, segment.messages())
        buffer.cleanup([segment.receipt for segment in segments], now_ms=NOW_MS + 10**7)


def published(buffer: SpanBuffer) -> dict[SpanKey, str]:
    """Span -> segment id, each span once, every annotation in agreement with its message."""
    found: dict[SpanKey, str] = {}
    for message in flush_all(buffer):
        for span in message["spans"]:
            key = key_of(span)
            assert key not in found, "published twice"
            found[key] = message["segment_id"]
            assert span["is_segment"] == (span["span_id"] == message["segment_id"])
    return found


@pytest.fixture(scope="module")
def sentry_demo() -> Objects:
    return recorded("sentry-demo")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("batch_size", [1, 7, 100, 1000])
def test_spans_without_their_segment_id_come_out_grouped_as_the_sdk_grouped_them(
    redis_client: Redis, sentry_demo: Objects, order: Order, batch_size: int
) -> None:
    buffer = SpanBuffer(redis_client, WHOLE_SETTINGS)
    spans = spans_of(order([without_segment_id(span) for span in sentry_demo]))

    append_all(buffer, spans, batch_size)
    answers = published(buffer)

    expected = {key_of(span): carried_segment_id(span) for span in sentry_demo}
    assert answers.keys() == expected.keys()
    others = [key for key in answers if answers[key] != expected[key]]
    assert len(others) == 3  # their parent chain reaches no segment span in their project


@pytest.mark.parametrize("name", ["otel-demo-clean", "otel-demo-faults"])
@pytest.mark.parametrize(("order", "batch_size"), [(as_recorded, 100), (backwards, 7), (shuffled, 1000)])
def test_the_otel_demo_comes_out_as_the_oracle_says(
    redis_client: Redis, name: str, order: Order, batch_size: int
) -> None:
    buffer = SpanBuffer(redis_client, WHOLE_SETTINGS)
    spans = spans_of(order(recorded(name)))

    append_all(buffer, spans, batch_size)

    assert published(buffer) == segment_ids(spans)


def test_a_cluster_gives_the_same_answer(redis_cluster: RedisCluster, sentry_demo: Objects) -> None:
    buffer = SpanBuffer(redis_cluster, WHOLE_SETTINGS)
    spans = spans_of([without_segment_id(span) for span in sentry_demo])

    append_all(buffer, spans, 100)

    assert published(buffer) == segment_ids(spans)


def test_exact_repeats_of_an_exporter_are_published_once_and_counted(redis_client: Redis) -> None:
    buffer = SpanBuffer(redis_client, WHOLE_SETTINGS)
    spans = spans_of(recorded("otel-demo-faults"))
    distinct = {key_of(msgspec.json.decode(span.payload)) for span in spans}

    appended = append_all(buffer, spans, 100)
    claims = buffer.claim(now_ms=NOW_MS + 10**7)
    loaded = buffer.load(claims)

    repeats = loaded.outcomes["duplicate.same_content"] + len(spans) - appended
    assert sum(len(segment.spans) for segment in loaded) + repeats == len(spans)
    assert len(distinct) < len(spans)
