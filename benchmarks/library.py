"""The yardstick through the library: one process, one Redis, batches of 100 and of 1,000.

Once without a dictionary, and once with one that was trained on other spans of the same traffic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from redis import Redis

from benchmarks.bench import BATCHES, Bench
from benchmarks.course import LATER_MS, NOW_MS, Books, cut, flush, ingest, keys_left, look_again
from benchmarks.figures import Course, Training, Yardstick
from benchmarks.floor import Floor, floor
from benchmarks.meter import Cost, cost, cost_and_memory, held_bytes, lowest, middle
from benchmarks.yardstick import spans
from buffer import Settings, Span, SpanBuffer

OTHER_SEED = 7
Of = Callable[[list[Cost]], Cost]


def yardstick(bench: Bench) -> list[Yardstick]:
    bench.doing("making spans")
    wanted, other = spans(bench.plan.spans), spans(bench.plan.training_spans, seed=OTHER_SEED)
    warm_up(bench.redis, other[:1000])
    return [
        _repeated(bench, wanted, other if trained else (), batch)
        for trained in ([False, True] if can_train() else [False])
        for batch in BATCHES
    ]


def can_train() -> bool:
    """Older versions, measured as the other side of a comparison, cannot."""
    return hasattr(SpanBuffer, "train")


def warm_up(redis: Redis, some: Sequence[Span]) -> None:
    """Scripts are loaded and everything has run once, so that no first time is part of a figure."""
    measure(redis, [list(some)], SpanBuffer(redis, Settings()))
    redis.flushall()


def _repeated(bench: Bench, wanted: Sequence[Span], other: Sequence[Span], batch: int) -> Yardstick:
    batches = list(cut(wanted, batch))
    floors: list[Floor] = []
    courses: list[Course] = []
    training: Training | None = None
    for number in range(bench.plan.repeats):
        with_what = "with a dictionary" if other else "without a dictionary"
        bench.doing(f"batches of {batch:,}, {with_what}, {number + 1} of {bench.plan.repeats}")
        floors.append(floor(bench.redis, batches))
        buffer = SpanBuffer(bench.redis, Settings())
        training = train(buffer, list(cut(other, 100))) if other else None
        courses.append(measure(bench.redis, batches, buffer))
    bench.redis.flushall()
    return Yardstick(
        batch=batch,
        spans=len(wanted),
        repeats=bench.plan.repeats,
        training=training,
        floor=_floor(floors, lowest),
        typical_floor=_floor(floors, middle),
        best=_course(courses, lowest),
        typical=_course(courses, middle),
    )


def _floor(floors: list[Floor], of: Of) -> Floor:
    return Floor(of([f.set_a_span for f in floors]), of([f.zstd_set_a_batch for f in floors]))


def _course(courses: list[Course], of: Of) -> Course:
    return replace(
        courses[0],
        ingest=of([c.ingest for c in courses]),
        flush=of([c.flush for c in courses]),
        left_bytes=min(c.left_bytes for c in courses),
        missing=sum(c.missing for c in courses),
        twice=sum(c.twice for c in courses),
        keys_left=sum(c.keys_left for c in courses),
    )


def train(buffer: SpanBuffer, other: Sequence[list[Span]]) -> Training:
    """On spans that wait in the buffer, as in use; they are flushed before anything is measured."""
    redis = buffer.client
    assert isinstance(redis, Redis)
    ingest(buffer, other)
    held = held_bytes(redis)
    came_of_it: list[object] = []
    found = cost(redis, 1, lambda: came_of_it.append(buffer.train(now_ms=NOW_MS)))
    held = held_bytes(redis) - held
    flush(buffer, lambda _: None)
    return Training(sum(map(len, other)), found.us / 1000, held, str(came_of_it[0]))


def measure(redis: Redis, batches: Sequence[list[Span]], buffer: SpanBuffer) -> Course:
    books = Books(span for batch in batches for span in batch)
    spans = sum(map(len, batches))
    buffer.shards(LATER_MS)  # it looks for former shards once a minute, whatever the rate
    before = held_bytes(redis)
    ingested = cost_and_memory(redis, spans, lambda: ingest(buffer, batches))
    flushed = cost(redis, spans, lambda: flush(buffer, books.record))
    look_again(buffer, books.record)
    left = (held_bytes(redis) - before) / spans
    return Course(ingested, flushed, left, books.segments, books.missing, books.twice, keys_left(buffer))
