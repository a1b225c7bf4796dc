"""The floors: what the same spans cost at the least, measured in the same run. They say what a machine is worth.

One pipelined SET a span is the least that keeps each span; one compressed SET a batch the least that keeps them all.
"""

from __future__ import annotations

from dataclasses import dataclass

import zstandard
from redis import Redis

from benchmarks.meter import Cost, cost
from buffer import Span


@dataclass(frozen=True, slots=True)
class Floor:
    set_a_span: Cost
    zstd_set_a_batch: Cost


def floor(redis: Redis, batches: list[list[Span]]) -> Floor:
    spans = sum(map(len, batches))
    redis.flushall()
    set_a_span = cost(redis, spans, lambda: _set_spans(redis, batches))
    redis.flushall()
    zstd_set_a_batch = cost(redis, spans, lambda: _set_batches(redis, batches))
    redis.flushall()
    return Floor(set_a_span, zstd_set_a_batch)


def _set_spans(redis: Redis, batches: list[list[Span]]) -> None:
    for batch in batches:
        with redis.pipeline(transaction=False) as pipe:
            for span in batch:
                pipe.set(f"{span.trace_id}:{span.span_id}", span.payload)
            pipe.execute()


def _set_batches(redis: Redis, batches: list[list[Span]]) -> None:
    compressor = zstandard.ZstdCompressor(level=1)
    for number, batch in enumerate(batches):
        redis.set(f"batch:{number}", compressor.compress(b"".join([span.payload for span in batch])))
