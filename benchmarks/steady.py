"""Memory while spans come and go at a constant rate: the sum that predicts it, against one run in real time.

The yardstick gives the two bytes of the sum: of a span that waits, and of a span that is flushed while its trace's
index is kept. Redis expires the index by its own clock, so this section alone takes as long as it says.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import sleep, time

from benchmarks.bench import Bench
from benchmarks.course import Books, cut
from benchmarks.figures import Steady
from benchmarks.library import OTHER_SEED, can_train, measure, train, warm_up
from benchmarks.yardstick import spans
from buffer import Settings, Span, SpanBuffer

TICK_S = 0.1
FURTHER_SEED = 5
FLUSH_INTERVAL_S = 0.5
QUICK = Settings(
    root_timeout=1, timeout=2, max_segment_age=10, late_grace=4, visibility_timeout=3, lease=3, task_time_limit=2
)
"""The grace of a few seconds is the shortest that agrees with the other settings, so that the run ends soon."""


def steady(bench: Bench) -> list[Steady]:
    plan = bench.plan
    wanted = spans(int(plan.steady_rate * plan.steady_s))
    warm_up(bench.redis, wanted[:1000])
    batch = int(plan.steady_rate * TICK_S)
    if can_train():
        bench.doing("a dictionary for memory at a constant rate")
        train(SpanBuffer(bench.redis, QUICK), list(cut(spans(plan.training_spans, seed=OTHER_SEED), batch)))
        _until_expired()
    bench.doing(f"{plan.steady_rate:,} spans/s for {plan.steady_s:g} s, in real time")
    run = Run(bench, Books(wanted))
    samples = list(run.samples(list(cut(wanted, batch))))
    run.drain()
    _until_expired()
    bench.doing("bytes of a span that waits, and of one that is flushed")
    others = list(cut(spans(len(wanted), seed=FURTHER_SEED), batch))
    quiet = measure(bench.redis, others, SpanBuffer(bench.redis, Settings()))
    settled = samples[len(samples) * 3 // 4 :]
    return [
        Steady(
            rate=len(wanted) / run.took_s,
            seconds=run.took_s,
            root_timeout_s=QUICK.root_timeout,
            late_grace_s=QUICK.late_grace,
            flush_interval_s=FLUSH_INTERVAL_S,
            spread_s=_spread(wanted) * run.took_s / len(wanted),
            live_bytes=quiet.ingest.bytes_held,
            index_bytes=quiet.left_bytes,
            live_spans=sum(live for _, _, live in settled) / len(settled),
            measured_bytes=sum(held for _, held, _ in settled) / len(settled),
            samples=samples,
            missing=run.books.missing,
            twice=run.books.twice,
        )
    ]


def _until_expired() -> None:
    """What was flushed before must neither be part of the baseline nor go away while something is measured."""
    sleep(QUICK.late_grace + 1)


def _spread(arriving: list[Span]) -> float:
    """Spans between a span and the last one of its trace, on average: so long it waits before the timeout begins."""
    last = {span.trace_id: at for at, span in enumerate(arriving)}
    return sum(last[span.trace_id] - at for at, span in enumerate(arriving)) / len(arriving)


class Run:
    """Appends a batch every tick and flushes what is due every few; late ticks are made up for, not left out."""

    def __init__(self, bench: Bench, books: Books) -> None:
        self.books = books
        self.took_s = 0.0
        self._redis = bench.redis
        self._buffer = SpanBuffer(bench.redis, QUICK)
        self._live = 0

    def samples(self, batches: list[list[Span]]) -> Iterator[tuple[float, float, float]]:
        """Seconds, bytes held, spans that wait: just before a flush and just after it."""
        self._buffer.append([])
        start, empty = time(), self._held()
        flush_at = start + FLUSH_INTERVAL_S
        for number, batch in enumerate(batches):
            sleep(max(0.0, start + number * TICK_S - time()))
            self._live += self._buffer.append(batch).spans
            if time() >= flush_at:
                flush_at += FLUSH_INTERVAL_S
                yield time() - start, self._held() - empty, self._live
                self._flush()
                yield time() - start, self._held() - empty, self._live
        self.took_s = time() - start

    def drain(self) -> None:
        while self._live and self._buffer.depth():
            sleep(FLUSH_INTERVAL_S)
            self._flush()

    def _held(self) -> int:
        """Without closing connections, which takes a quarter of a second: what clients hold is taken off instead."""
        memory = self._redis.info("memory")
        return int(memory["used_memory"] - memory["mem_clients_normal"])

    def _flush(self) -> None:
        segments = self._buffer.load(self._buffer.claim())
        for segment in segments:
            segment.messages()
            self.books.record(segment)
            self._live -= len(segment.spans)
        self._buffer.cleanup([segment.receipt for segment in segments])
