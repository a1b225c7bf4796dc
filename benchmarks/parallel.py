"""Worker processes that append, then flush, side by side on one Redis.

Their CPU is added up; the wall time of processes that share cores says nothing.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from time import process_time

from redis import Redis

from benchmarks.bench import Bench
from benchmarks.course import cut, flush, ingest
from benchmarks.meter import Cost, commands, redis_cpu_s
from benchmarks.yardstick import spans
from buffer import Segment, Settings, SpanBuffer

BATCH = 100
_met: Barrier


@dataclass(frozen=True, slots=True)
class Share:
    """What one process appends."""

    port: int
    seed: int
    count: int


def in_parallel(bench: Bench, workers: int, count: int) -> tuple[Cost, Cost, int, int]:
    """What a span costs in ingest and in flush; spans that are missing, and that came twice."""
    context = get_context("spawn")
    shares = [Share(bench.server.port, seed, count // workers) for seed in range(workers)]
    with ProcessPoolExecutor(workers, context, _meet, (context.Barrier(workers),)) as pool:
        bench.redis.config_resetstat()
        start = redis_cpu_s(bench.redis)
        ingest_s = sum(pool.map(_ingest, shares))
        full, sent = redis_cpu_s(bench.redis), commands(bench.redis)
        flushed = list(pool.map(_flush, shares))
        empty = redis_cpu_s(bench.redis)
    came = [span_id for _, span_ids in flushed for span_id in span_ids]
    wanted = {span.span_id for share in shares for span in spans(share.count, share.seed)}
    return (
        Cost(1e6 * ingest_s / count, 1e6 * (full - start) / count, sent / count),
        Cost(1e6 * sum(s for s, _ in flushed) / count, 1e6 * (empty - full) / count),
        len(wanted.difference(came)),
        len(came) - len(set(came)),
    )


def _meet(barrier: Barrier) -> None:
    global _met  # noqa: PLW0603  the only way to hand it to a worker process of a pool
    _met = barrier


def _ingest(share: Share) -> float:
    batches = list(cut(spans(share.count, share.seed), BATCH))
    with Redis(port=share.port) as redis:
        buffer = SpanBuffer(redis, Settings())
        buffer.append([])
        _met.wait()
        before = process_time()
        ingest(buffer, batches)
        return process_time() - before


def _flush(share: Share) -> tuple[float, list[str]]:
    found: list[Segment] = []
    with Redis(port=share.port) as redis:
        buffer = SpanBuffer(redis, Settings())
        _met.wait()
        before = process_time()
        flush(buffer, found.append)
        return process_time() - before, [span.span_id for segment in found for span in segment.spans]
