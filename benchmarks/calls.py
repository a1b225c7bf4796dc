"""How long one script call keeps Redis from everybody else, by the verb that made it and what it had to work on.

Redis tells it (SLOWLOG), not the client: the wait for an answer would count the neighbours' calls as well. It is wall
time, so on a busy machine the tail has in it how long Redis itself was kept waiting for a core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import ceil

from redis import Redis

from benchmarks import light
from benchmarks.bench import Bench
from benchmarks.course import LATER_MS, cut, ingest
from benchmarks.figures import Calls
from benchmarks.library import warm_up
from benchmarks.yardstick import spans
from buffer import Claim, Segment, Settings, Span, SpanBuffer, scripts

NOTE_US = 20
"""Below this almost all commands inside of scripts stay out of the log; noting them would slow what is measured."""
SCRIPTS = {script.sha: name for name, script in vars(scripts).items() if isinstance(script, scripts.Script)}
MIB = 2**20


def calls(bench: Bench) -> list[Calls]:
    warm_up(bench.redis, spans(1000))
    bench.redis.config_set("slowlog-log-slower-than", NOTE_US)
    bench.redis.config_set("slowlog-max-len", 10_000_000)
    found = [each for load in _loads(bench) for each in _repeated(bench, load)]
    bench.redis.config_set("slowlog-log-slower-than", -1)
    bench.redis.slowlog_reset()
    return found


Load = tuple[str, list[list[Span]], Settings]


def _loads(bench: Bench) -> Iterator[Load]:
    """The yardstick, and then the worst that each bound lets through."""
    usual = spans(bench.plan.calls_spans)
    yield "yardstick, batches of 100", list(cut(usual, 100)), Settings()
    yield "yardstick, batches of 1,000", list(cut(usual, 1000)), Settings()
    one = light.one_trace(min(bench.plan.one_trace, bench.plan.calls_spans))
    yield "one trace, batches of 5,000", list(cut(one, 5000)), Settings()
    single = light.traces(2 * Settings().flush_limit // (10 if bench.plan.short else 1), 1)
    yield "segments of one span, one shard", list(cut(single, 1000)), Settings(shards=1)
    segment = list(light.traces(bench.plan.calls_spans, bench.plan.calls_spans))
    yield f"one segment of {len(segment):,} spans", list(cut(segment, 1000)), Settings()
    yield "spans of 1 MiB", [[large] for large in _large(8 if bench.plan.short else 40)], Settings()
    yield "two halves of a full segment join", list(_halves(Settings().max_segment_bytes)), Settings()


def _repeated(bench: Bench, load: Load) -> list[Calls]:
    """The lowest of each figure: a neighbour that takes the core is in one run and not in the next."""
    runs = [list(_calls(bench, *load)) for _ in range(bench.plan.repeats)]
    return [_lowest(list(same)) for same in zip(*runs, strict=True)]


def _lowest(runs: list[Calls]) -> Calls:
    def lowest(name: str) -> float | None:
        values = [getattr(run, name) for run in runs]
        return None if None in values else min(values)

    best = min(runs, key=lambda run: run.max_us or 0)
    return replace(best, p50_us=lowest("p50_us"), p99_us=lowest("p99_us"), p999_us=lowest("p999_us"))


def _large(count: int) -> Iterator[Span]:
    payload = b'{"name":"%s"}' % (b"x" * (MIB - 64))
    for number in range(count):
        yield Span(1, light.span_id(number) * 2, light.span_id(number), None, True, None, payload)


def _halves(max_bytes: int) -> Iterator[list[Span]]:
    """Two segments of nearly half the limit each, and then the span that joins them: all parts of one move."""
    size, trace = 1000, light.span_id(0) * 2
    payload = b'{"name":"%s"}' % (b"x" * size)
    top, middle = light.span_id(0), light.span_id(1)
    count = max_bytes * 9 // 20 // size
    under = [
        [Span(1, trace, light.span_id(2 + 2 * n + i), (top, middle)[i], False, None, payload) for n in range(count)]
        for i in (0, 1)
    ]
    for each in under:
        yield from cut(each, 10)
    yield [Span(1, trace, middle, top, False, None, payload)]
    yield [Span(1, trace, top, None, True, None, payload)]


def _calls(bench: Bench, load: str, batches: list[list[Span]], settings: Settings) -> Iterator[Calls]:
    bench.doing(f"script calls: {load}")
    redis, buffer = bench.redis, SpanBuffer(bench.redis, settings)
    buffer.shards(LATER_MS)
    yield _noted(redis, "append", load, lambda: ingest(buffer, batches))
    claims: list[Claim] = []

    def claim() -> None:
        while some := buffer.claim(now_ms=LATER_MS):
            claims.extend(some)

    yield _noted(redis, "claim", load, claim)
    segments: list[Segment] = []

    def read() -> None:
        for some in cut(claims, 100):
            segments.extend(buffer.load(some))

    yield _noted(redis, "load", load, read)
    receipts = [segment.receipt for segment in segments]
    yield _noted(redis, "cleanup", load, lambda: buffer.cleanup(receipts, now_ms=LATER_MS))
    redis.flushall()


def _noted(redis: Redis, verb: str, load: str, work: Callable[[], object]) -> Calls:
    redis.slowlog_reset()
    redis.config_resetstat()
    work()
    total = int(redis.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))
    noted: list[tuple[int, str]] = []
    for entry in redis.slowlog_get(-1 if _knows_all(redis) else 10_000_000):
        words = entry["command"].split(b" ", 2)
        if words[0].upper() == b"EVALSHA":
            noted.append((entry["duration"], SCRIPTS.get(words[1].decode(), "?")))
    noted.sort(reverse=True)

    def at(share: float) -> float | None:
        rank = total - ceil(share * total)
        return noted[rank][0] if rank < len(noted) else None

    longest = noted[0][1].lower().replace("_", "-") if noted else ""
    return Calls(verb, load, total, at(0.5), at(0.99), at(0.999), at(1), longest)


def _knows_all(redis: Redis) -> bool:
    """SLOWLOG GET -1 is understood since 7.0."""
    return int(str(redis.info("server")["redis_version"]).split(".")[0]) >= 7
