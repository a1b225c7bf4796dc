"""The library on one Redis and in one process: CPU on both sides, commands and memory a span, against two floors.

CPU and not wall time, for shared machines are noisy. The floors are measured in the same run, of the same bytes: one
SET a span in pipelines, and one compressed SET a batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from time import process_time

import zstandard
from redis import Redis

from buffer import Settings, Span, SpanBuffer

NOW_MS = 1_800_000_000_000
QUIET_MS = 10_000_000


@dataclass(frozen=True, slots=True)
class Cost:
    """A span, in microseconds of CPU, commands inside and outside of scripts, and bytes of Redis memory."""

    client_us: float
    redis_us: float
    commands: float
    bytes_held: float

    @property
    def us(self) -> float:
        return self.client_us + self.redis_us


@dataclass(frozen=True, slots=True)
class Figures:
    batch: int
    spans: int
    ingest: Cost
    flush: Cost
    missing: int
    twice: int
    keys_left: int
    set_a_span: Cost
    zstd_set_a_batch: Cost

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


Progress = Callable[[int], object]


def measure(redis: Redis, spans: Sequence[Span], batch: int, progress: Progress) -> Figures:
    batches = _cut(spans, batch)
    set_a_span = _cost(redis, len(spans), lambda: _set_spans(redis, batches))
    redis.flushall()
    zstd_set_a_batch = _cost(redis, len(spans), lambda: _set_batches(redis, batches))
    redis.flushall()
    buffer = SpanBuffer(redis, Settings())
    buffer.append([])
    ingest = _cost(redis, len(spans), lambda: _ingest(buffer, batches, progress))
    seen: dict[tuple[int, str, str], int] = {}
    flush = _cost(redis, len(spans), lambda: _flush(buffer, seen, progress))
    wanted = {(s.project_id, s.trace_id, s.span_id) for s in spans}
    return Figures(
        batch,
        len(spans),
        ingest,
        flush,
        len(wanted - seen.keys()),
        sum(seen.values()) - len(seen),
        sum(not key.startswith(b"span-buf:l:") for key in redis.scan_iter(count=10_000)),
        set_a_span,
        zstd_set_a_batch,
    )


def _cut(spans: Sequence[Span], size: int) -> list[list[Span]]:
    rest = iter(spans)
    return list(iter(lambda: list(islice(rest, size)), []))


def _cost(redis: Redis, spans: int, work: Callable[[], None]) -> Cost:
    redis.config_resetstat()
    held, redis_s, client_s = redis.info("memory")["used_memory"], _redis_cpu_s(redis), process_time()
    work()
    client_s, redis_s = process_time() - client_s, _redis_cpu_s(redis) - redis_s
    held = redis.info("memory")["used_memory"] - held
    commands = sum(
        stat["calls"]
        for name, stat in redis.info("commandstats").items()
        if name not in {"cmdstat_info", "cmdstat_config"}
    )
    return Cost(1e6 * client_s / spans, 1e6 * redis_s / spans, commands / spans, held / spans)


def _redis_cpu_s(redis: Redis) -> float:
    cpu = redis.info("cpu")
    return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])


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


def _ingest(buffer: SpanBuffer, batches: list[list[Span]], progress: Progress) -> None:
    for batch in batches:
        buffer.append(batch, now_ms=NOW_MS)
        progress(len(batch))


def _flush(buffer: SpanBuffer, seen: dict[tuple[int, str, str], int], progress: Progress) -> None:
    while claims := buffer.claim(now_ms=NOW_MS + QUIET_MS, limit=1000):
        segments = buffer.load(claims)
        for segment in segments:
            segment.messages()
            for span in segment.spans:
                key = (span.project_id, span.trace_id, span.span_id)
                seen[key] = seen.get(key, 0) + 1
            progress(len(segment.spans))
        buffer.cleanup([segment.receipt for segment in segments], now_ms=NOW_MS + QUIET_MS)
