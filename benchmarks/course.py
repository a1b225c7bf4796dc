"""The way of a span through the library: append all, then claim, load, make messages and clean up until all is out.

The times that the buffer is told are made up, so nothing is waited for. `Books` compares what came out with what went
in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from math import inf
from typing import TypeVar

from buffer import Claim, Segment, Span, SpanBuffer

NOW_MS = 1_800_000_000_000
LATER_MS = NOW_MS + 10_000_000
"""Every deadline has passed by then."""
MUCH_LATER_MS = LATER_MS + 600_000
"""And every deadline that a flush at that time has set."""
CLAIMED_AT_ONCE = 1000

Item = TypeVar("Item")


class Books:
    """Spans that went in and came out, content included: the same span sent twice counts once."""

    def __init__(self, wanted: Iterable[Span] = ()) -> None:
        self._wanted = set(wanted)
        self._seen: list[list[Span]] = []

    def expect(self, spans: Iterable[Span]) -> None:
        self._wanted.update(spans)

    def record(self, segment: Segment) -> None:
        """Does next to nothing, for it is called while CPU is measured."""
        self._seen.append(segment.spans)

    @property
    def segments(self) -> int:
        return len(self._seen)

    @property
    def missing(self) -> int:
        return len(self._wanted.difference(*self._seen))

    @property
    def twice(self) -> int:
        return sum(map(len, self._seen)) - len(set().union(*self._seen))


def cut(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    return iter(lambda: list(islice(rest, size)), [])


def ingest(buffer: SpanBuffer, batches: Iterable[list[Span]]) -> None:
    for batch in batches:
        buffer.append(batch, now_ms=NOW_MS)


def flush(
    buffer: SpanBuffer, record: Callable[[Segment], object], *, limit: float = inf, at_once: int = CLAIMED_AT_ONCE
) -> int:
    """Everything, or the first segments with ``limit`` spans or more. The spans that came out."""
    flushed = 0
    while flushed < limit and (claims := buffer.claim(now_ms=LATER_MS, limit=at_once)):
        flushed += _chunk(buffer, claims, record, LATER_MS)
    return flushed


def look_again(buffer: SpanBuffer, record: Callable[[Segment], object]) -> None:
    """Entries that were queued once more while their segment was flushed: they are due later, and find nothing."""
    claims = buffer.claim(now_ms=MUCH_LATER_MS, limit=CLAIMED_AT_ONCE)
    _chunk(buffer, claims, record, MUCH_LATER_MS)


def _chunk(buffer: SpanBuffer, claims: list[Claim], record: Callable[[Segment], object], now_ms: int) -> int:
    segments = buffer.load(claims)
    flushed = 0
    for segment in segments:
        segment.messages()
        record(segment)
        flushed += len(segment.spans)
    buffer.cleanup([segment.receipt for segment in segments], now_ms=now_ms)
    return flushed


def keys_left(buffer: SpanBuffer) -> int:
    """Keys that must not be there after the last clean-up: segments, queue entries, claims."""
    prefix = buffer.settings.key_prefix
    return sum(1 for kind in "sqc" for _ in buffer.client.scan_iter(match=f"{prefix}:{kind}:*", count=10_000))
