"""Does a span cost the same whatever the buffer holds, however it is cut, and however many ask at once?

Every series varies one thing and keeps the others. CPU, commands and bytes a span, ingest and flush apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from benchmarks import light
from benchmarks.bench import Bench
from benchmarks.course import cut, flush, ingest
from benchmarks.figures import Point
from benchmarks.library import measure, warm_up
from benchmarks.meter import Cost, cost, held_bytes
from benchmarks.parallel import in_parallel
from benchmarks.yardstick import spans
from buffer import Settings, Span, SpanBuffer

WINDOW, BATCH = 5000, 250
"""Spans over which the cost at one size of the buffer is taken, and spans a batch."""


def flat(bench: Bench) -> list[Point]:
    warm_up(bench.redis, spans(1000))
    return [
        *_shards(bench),
        *_segment_sizes(bench),
        *_one(bench, "chain, leaf first", bench.plan.chain, light.chain(bench.plan.chain), batch=1),
        *_one(bench, "one trace", bench.plan.one_trace, light.one_trace(bench.plan.one_trace)),
        *_workers(bench),
        *_buffered(bench),
    ]


def _point(bench: Bench, series: str, at: int, batches: Sequence[list[Span]], settings: Settings) -> Point:
    bench.doing(f"{series}: {at:,}")
    course = measure(bench.redis, batches, SpanBuffer(bench.redis, settings))
    bench.redis.flushall()
    return Point(series, at, sum(map(len, batches)), course.ingest, course.flush, course.missing, course.twice)


def _shards(bench: Bench) -> Iterator[Point]:
    batches = list(cut(spans(bench.plan.flat_spans), 100))
    for shards in bench.plan.shards:
        yield _point(bench, "shards", shards, batches, Settings(shards=shards))


def _segment_sizes(bench: Bench) -> Iterator[Point]:
    whole = Settings(max_segment_bytes=2**30)  # one segment, however large
    for size in bench.plan.segment_sizes:
        batches = list(cut(light.traces(max(bench.plan.flat_spans, size), size), 100))
        yield _point(bench, "spans a segment", size, batches, whole)


def _one(bench: Bench, series: str, at: int, made: Iterable[Span], batch: int = 100) -> Iterator[Point]:
    yield _point(bench, series, at, list(cut(made, batch)), Settings())


def _workers(bench: Bench) -> Iterator[Point]:
    for workers in bench.plan.workers:
        bench.doing(f"worker processes: {workers}")
        count = max(bench.plan.flat_spans, 1000 * workers) * 2
        yield Point("worker processes", workers, count, *in_parallel(bench, workers, count))
        bench.redis.flushall()


def _buffered(bench: Bench) -> Iterator[Point]:
    """One buffer that fills and empties; the cost of the last spans in, and the first out, at each size on the way."""
    sizes = bench.plan.buffered
    window, total = min(WINDOW, sizes[0] // 2), sizes[-1]
    buffer, books = SpanBuffer(bench.redis, Settings()), light.Numbered(total)
    coming = cut(light.traces(total, 20), BATCH)
    filled: dict[int, Cost] = {}
    empty, done = held_bytes(bench.redis), 0
    for size in sizes:
        bench.doing(f"spans buffered: {size:,}")
        ingest(buffer, islice(coming, (size - window - done) // BATCH))
        found = cost(bench.redis, window, lambda: ingest(buffer, islice(coming, window // BATCH)))
        filled[size] = found + Cost(0, 0, bytes_held=(held_bytes(bench.redis) - empty) / size)
        done = size
    emptied: dict[int, Cost] = {}
    for size in reversed(sizes):
        bench.doing(f"spans buffered: {size:,}, on the way out")
        done -= flush(buffer, books.record, limit=done - size, at_once=max(1, window // 100))
        emptied[size], out = _emptied(bench, buffer, books, window)
        done -= out
    flush(buffer, books.record)
    for size in sizes:
        yield Point("spans buffered", size, window, filled[size], emptied[size], books.missing, books.twice)
    bench.redis.flushall()


def _emptied(bench: Bench, buffer: SpanBuffer, books: light.Numbered, window: int) -> tuple[Cost, int]:
    """What a span costs on its way out, and how many went: a segment more than asked for, as a rule."""
    out = 0

    def work() -> None:
        nonlocal out
        out = flush(buffer, books.record, limit=window, at_once=max(1, window // 100))

    found = cost(bench.redis, window, work)
    return Cost(*(getattr(found, name) * window / out for name in Cost.__slots__)), out
