"""Late spans, measured: `sentry-demo` on its recorded clock, with timeouts so short that thousands come too late.

``python -m demo.late``. The segment ids that the SDK gave are taken out and are the expected answer. A span is late
when spans of its segment were published before it arrived. One whose parent is the segment's first span names its
segment itself; those below need what the buffer remembers. Every run gives the same figures: the clock is the
recording's, also for how long a trace's index is kept (``late_grace``).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec
import redis
from rich.console import Console
from rich.table import Table

from buffer import Segment, Settings, Span, SpanBuffer
from buffer.decode import decode
from buffer.model import Trace
from demo.otlp import SpanObject
from demo.recordings import batches
from embedded.redis import RedisServer

RECORDING = "sentry-demo"
FLUSH_EVERY_MS = 100
SHORT = Settings(root_timeout=0.2, timeout=1, shards=1)
GRACE_MS = SHORT.late_grace_ms


class SpanKey(NamedTuple):
    project_id: int
    trace_id: str
    span_id: str


@dataclass(slots=True)
class Late:
    """What became of the spans of one replay."""

    spans: int = 0
    segments: list[Segment] = field(default_factory=list)
    """As they were published, in order."""
    late: dict[SpanKey, str] = field(default_factory=dict)
    """Spans that came after a flush of their segment -> the segment that the SDK put them into."""
    deep: set[SpanKey] = field(default_factory=set)
    """Those of them that are neither the segment's first span nor its child."""
    under: dict[SpanKey, str] = field(default_factory=dict)
    """Every span -> the segment it was published under."""

    @property
    def addenda(self) -> list[Segment]:
        return [segment for segment in self.segments if segment.addendum]

    def right(self, keys: Iterable[SpanKey]) -> int:
        """How many of these late spans were published under the SDK's segment."""
        return sum(self.under.get(key) == self.late[key] for key in keys)


class Replay:
    """The recording through the library, step by step of its own clock."""

    def __init__(self, client: redis.Redis, grace_ms: int) -> None:
        self._buffer = SpanBuffer(client, SHORT)
        self._client = client
        self._grace_ms = grace_ms
        self._expected: dict[SpanKey, str] = {}
        self._flushed: set[SpanKey] = set()
        self._quiet_since: dict[Trace, int] = {}
        self.result = Late()

    def run(self) -> Late:
        now_ms = None
        for arrival_ms, spans in arrivals():
            now_ms = now_ms or arrival_ms
            while now_ms + FLUSH_EVERY_MS <= arrival_ms:
                now_ms += FLUSH_EVERY_MS
                self._flush(now_ms)
            self._append(spans, arrival_ms)
        while now_ms and self._buffer.depth(now_ms=now_ms):
            now_ms += FLUSH_EVERY_MS
            self._flush(now_ms)
        return self.result

    def _append(self, objects: Sequence[SpanObject], now_ms: int) -> None:
        for given in objects:
            key, segment_id = _key(given), _segment_id(given)
            self._expected[key] = segment_id
            if key._replace(span_id=segment_id) in self._flushed:
                self.result.late[key] = segment_id
                if segment_id not in (key.span_id, given.get("parent_span_id")):
                    self.result.deep.add(key)
        spans, _ = decode(
            [_without_segment_id(given) for given in objects],
            max_span_bytes=SHORT.max_span_bytes,
            max_batch_bytes=SHORT.max_batch_bytes,
            max_batch_spans=SHORT.max_batch_spans,
        )
        self._buffer.append(spans, now_ms=now_ms)
        self.result.spans += len(spans)
        for span in spans:
            self._quiet_since.pop(_trace(span), None)

    def _flush(self, now_ms: int) -> None:
        segments = self._buffer.load(self._buffer.claim(now_ms=now_ms), now_ms=now_ms)
        self._buffer.cleanup([segment.receipt for segment in segments], now_ms=now_ms)
        for segment in segments:
            self._published(segment)
            self._quiet_since[segment.trace] = now_ms
        self._forget(now_ms)

    def _published(self, segment: Segment) -> None:
        self.result.segments.append(segment)
        for span in segment.spans:
            key = SpanKey(span.project_id, span.trace_id, span.span_id)
            self._flushed.add(key._replace(span_id=self._expected[key]))
            self.result.under[key] = segment.segment_id

    def _forget(self, now_ms: int) -> None:
        """What Redis does when ``late_grace`` has passed, on the recording's clock instead of its own."""
        for trace, since_ms in list(self._quiet_since.items()):
            if since_ms + self._grace_ms <= now_ms:
                index = self._buffer.keys.index(trace)
                if not int(self._client.hget(index, "n") or 0):
                    self._client.delete(index)
                    del self._quiet_since[trace]


def arrivals() -> Iterator[tuple[int, list[SpanObject]]]:
    """Requests in recorded order; the few that the recording has out of order come at the time of the one before."""
    latest = 0
    for batch in batches(RECORDING):
        latest = max(latest, batch.arrival_ms)
        yield latest, batch.spans


def _key(span: SpanObject) -> SpanKey:
    return SpanKey(int(str(span["project_id"])), str(span["trace_id"]), str(span["span_id"]))


def _trace(span: Span) -> Trace:
    return Trace(span.project_id, span.trace_id)


def _segment_id(span: SpanObject) -> str:
    match span:
        case {"attributes": {"sentry.segment.id": {"value": str(segment_id)}}}:
            return segment_id
    raise ValueError(f"span {span['span_id']} of the recording has no segment id")


def _without_segment_id(span: SpanObject) -> SpanObject:
    attributes = msgspec.convert(span["attributes"], dict[str, object])
    return span | {"attributes": {key: value for key, value in attributes.items() if key != "sentry.segment.id"}}


def replay(client: redis.Redis, grace_ms: int) -> Late:
    client.flushdb()
    return Replay(client, grace_ms).run()


FIGURES: dict[str, Callable[[Late], int]] = {
    "spans": lambda late: late.spans,
    "messages": lambda late: len(late.segments),
    "messages marked as addendum": lambda late: len(late.addenda),
    "late spans": lambda late: len(late.late),
    "  of these in the SDK's segment": lambda late: late.right(late.late),
    "late spans below the first level": lambda late: len(late.deep),
    "  of these in the SDK's segment ": lambda late: late.right(late.deep),
}


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, RedisServer(Path(directory)) as server, server.client() as client:
        results = {"late_grace 600 s": replay(client, GRACE_MS), "without": replay(client, 0)}
    title = f"{RECORDING}, root_timeout {SHORT.root_timeout:g} s, timeout {SHORT.timeout:g} s"
    table = Table(title=title)
    table.add_column()
    for name in results:
        table.add_column(name, justify="right")
    for name, figure in FIGURES.items():
        table.add_row(name, *(f"{figure(late):,}" for late in results.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
