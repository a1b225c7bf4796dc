"""The spans that chaos is let loose on: two recordings side by side, as often as it takes, whole and unstripped.

From the second round on every trace and span has a new id, the same new one wherever it is referred to, so each round
is traffic of its own and every span that is sent differs from every other.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from hashlib import blake2b
from itertools import count

from demo.otlp import SpanObject
from demo.recordings import Recorded, batches

RECORDINGS = ("otel-demo-faults", "sentry-demo")
SEGMENT_ATTRIBUTE = "sentry.segment.id"


def workload(spans: int) -> Iterator[list[SpanObject]]:
    """Whole batches, until there are so many spans."""
    recorded = [[(batch.arrival_ms - whole[0].arrival_ms, batch) for batch in whole] for whole in _recordings()]
    sent = 0
    for turn in count():
        for _, batch in heapq.merge(*recorded, key=lambda at: at[0]):
            if sent >= spans:
                return
            sent += len(batch.spans)
            yield [renamed(span, turn) for span in batch.spans] if turn else batch.spans


def _recordings() -> list[list[Recorded]]:
    return [list(batches(name)) for name in RECORDINGS]


def renamed(span: SpanObject, turn: int) -> SpanObject:
    """The span under the ids of another round."""
    links = span.get("links")
    attributes = span.get("attributes")
    return {
        **_ids(span, turn),
        **({"links": [_ids(link, turn) for link in links]} if isinstance(links, list) else {}),
        **({"attributes": _attributes(attributes, turn)} if isinstance(attributes, dict) else {}),
    }


def _ids(span: SpanObject, turn: int) -> SpanObject:
    ids = {name: _new(span.get(name), turn) for name in ("trace_id", "span_id", "parent_span_id") if span.get(name)}
    return span | ids


def _attributes(attributes: SpanObject, turn: int) -> SpanObject:
    named = attributes.get(SEGMENT_ATTRIBUTE)
    if not isinstance(named, dict):
        return attributes
    return attributes | {SEGMENT_ATTRIBUTE: named | {"value": _new(named["value"], turn)}}


def _new(old: object, turn: int) -> str:
    return blake2b(f"{turn} {old}".encode(), digest_size=len(str(old)) // 2).hexdigest()
