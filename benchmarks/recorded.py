"""Recorded traffic through the library: the demo's recordings in the batches in which they arrived, and foreign ones.

Foreign recordings stand beside the repository (`../shared/traces`) and are left out where they do not: what they hold
of batches is unknown, so their spans go in by the time they ended, 100 at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from benchmarks.bench import Bench
from benchmarks.course import cut
from benchmarks.figures import Recording
from benchmarks.foreign import FOREIGN, TRACES
from benchmarks.library import can_train, measure, train, warm_up
from benchmarks.yardstick import spans
from buffer import Settings, Span, SpanBuffer
from buffer.decode import decode
from demo.recordings import NAMES, batches

NO_LIMIT = 2**40
FOREIGN_BATCH = 100


def recordings(bench: Bench) -> list[Recording]:
    warm_up(bench.redis, spans(1000))
    return [
        _measured(bench, name, decoded, trained)
        for name, decoded in _sets(bench)
        for trained in ([False, True] if can_train() else [False])
    ]


def _sets(bench: Bench) -> Iterator[tuple[str, list[list[Span]]]]:
    for name in NAMES:
        bench.doing(f"reading {name}")
        recorded = islice(batches(name), bench.plan.recording_batches)
        yield name, [_decoded([dict(span) for span in batch.spans]) for batch in recorded]
    for path, read in FOREIGN if bench.plan.foreign else ():
        if (TRACES / path).exists():
            bench.doing(f"reading {path}")
            yield (
                path.partition("__")[0].removesuffix(".json"),
                [_decoded(batch) for batch in cut(read(TRACES / path), FOREIGN_BATCH)],
            )


def _decoded(batch: list[dict[str, object]]) -> list[Span]:
    found = decode(batch, max_span_bytes=NO_LIMIT, max_batch_bytes=NO_LIMIT, max_batch_spans=NO_LIMIT)
    return found.spans


def _measured(bench: Bench, name: str, decoded: list[list[Span]], trained: bool) -> Recording:
    """With a dictionary: trained on the first half, measured on the second."""
    bench.doing(f"{name}{', with a dictionary' if trained else ''}")
    buffer, half = SpanBuffer(bench.redis, Settings()), len(decoded) // 2
    if trained:
        train(buffer, decoded[:half])
    measured = decoded[half:] if trained else decoded
    course = measure(bench.redis, measured, buffer)
    bench.redis.flushall()
    spans = sum(map(len, measured))
    payload_bytes = sum(len(span.payload) for batch in measured for span in batch) / spans
    return Recording(name, len(measured), spans, payload_bytes, trained, course)
