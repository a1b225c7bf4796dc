"""Spans that cost next to nothing to make: for counts where making the yardstick's would take longer than buffering.

Payloads of about 200 bytes are used again and again. A span's id is its number, scrambled, so that ids look like ids
and a byte a span is enough to know which have come out.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

import msgspec

from buffer import Segment, Span

_ODD, _SPANS = 0x9E3779B97F4A7C15, 2**64
_BACK = pow(_ODD, -1, _SPANS)
CONCURRENT = 2000
"""Spans of so many traces, or of as many as fit into so many spans, come mixed."""


def span_id(number: int) -> str:
    return f"{(number + 1) * _ODD % _SPANS:016x}"


def number_of(identity: str) -> int:
    return int(identity, 16) * _BACK % _SPANS - 1


def traces(total: int, size: int) -> Iterator[Span]:
    """Traces of ``size`` spans, one segment each; the root comes when half of its children are there."""
    mixed = max(1, CONCURRENT // size)
    payloads = cycle(_payloads())
    for first in range(0, total, mixed * size):
        count = min(mixed, (total - first + size - 1) // size)
        for at in [*range(1, size // 2 + 1), 0, *range(size // 2 + 1, size)]:
            for trace in range(count):
                root = first + trace * size
                if root + at < total:
                    yield _span(root, at, next(payloads))


def _span(root: int, at: int, payload: bytes) -> Span:
    parent = span_id(root) if at else None
    return Span(root % 50, span_id(root) * 2, span_id(root + at), parent, not at, None, payload)


def chain(levels: int) -> Iterator[Span]:
    """One trace, each span the parent of the one before it: the worst order there is."""
    payloads = cycle(_payloads())
    for at in range(levels - 1, -1, -1):
        parent = span_id(at - 1) if at else None
        yield Span(1, span_id(0) * 2, span_id(at), parent, not at, None, next(payloads))


def one_trace(total: int, size: int = 20) -> Iterator[Span]:
    """All traffic in one trace: segments of ``size`` spans under one project and trace id."""
    for span in traces(total, size):
        yield Span(1, span_id(0) * 2, span.span_id, span.parent_span_id, span.is_segment, None, span.payload)


def _payloads() -> list[bytes]:
    def payload(n: int) -> bytes:
        attributes = {f"http.{name}": {"type": "string", "value": f"{name} {n}"} for name in ("route", "method")}
        return msgspec.json.encode(
            {"name": f"GET /item/{n}", "status": "ok", "received": 1e9 + n, "attributes": attributes}
        )

    return [payload(n) for n in range(997)]


class Numbered:
    """Books for spans with numbered ids: a byte a span, whatever their size."""

    def __init__(self, total: int) -> None:
        self._seen = bytearray(total)

    def record(self, segment: Segment) -> None:
        for span in segment.spans:
            at = number_of(span.span_id)
            self._seen[at] = min(2, self._seen[at] + 1)

    @property
    def missing(self) -> int:
        return self._seen.count(0)

    @property
    def twice(self) -> int:
        return self._seen.count(2)
