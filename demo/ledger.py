"""What was sent against what was published, span by span.

A span is what it says: its identity is a digest of the whole span without what the buffer writes into it
(``is_segment``, the attribute ``sentry.segment.id``). A span that came out changed is therefore missing here, and
counted beside it as never sent. A repeat is expected after a kill, and harmless if its flush id was seen with that span
before: then a consumer that drops repeats by flush id has every span once.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple, NewType

import msgspec

from demo.otlp import SpanObject

Identity = NewType("Identity", bytes)
ANNOTATIONS = ("is_segment",)
SEGMENT_ATTRIBUTE = "sentry.segment.id"
DUPLICATE = "duplicate."
"""Outcomes of this category stand for a copy whose twin is published; all others for a span that is not."""

_encoder = msgspec.json.Encoder(order="sorted")


class SegmentMessage(msgspec.Struct):
    """One message of ``buffered-segments``."""

    flush_id: str
    project_id: int
    trace_id: str
    segment_id: str
    flush_reason: str
    spans: list[SpanObject]


class SpanName(NamedTuple):
    """How a person finds the span again."""

    project_id: object
    trace_id: object
    span_id: object


@dataclass(frozen=True, slots=True)
class Balance:
    """The ledger at one moment. All but batches, messages and segments count spans."""

    sent: int
    batches: int
    published: int
    """Spans that were sent and came out unchanged, each counted once."""
    messages: int
    segments: int
    repeats: int
    """Times that a span came out again."""
    repeats_same_flush: int
    """Those of them under a flush id that the span had come out under before."""
    missing: int
    """Spans that were sent and did not come out."""
    unknown: int
    """Spans that came out and were never sent like this."""
    outcomes: Mapping[str, int]

    @property
    def lost(self) -> int:
        """Missing, and no outcome says why."""
        told = sum(count for name, count in self.outcomes.items() if not name.startswith(DUPLICATE))
        return max(0, self.missing - told)

    @property
    def sound(self) -> bool:
        return not self.lost and not self.unknown and self.repeats == self.repeats_same_flush


class Ledger:
    """Kept by two threads: the one that sends and the one that consumes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sent: dict[Identity, SpanName] = {}
        self._flush_ids: dict[Identity, set[str]] = {}
        self._segments: set[tuple[int, str, str]] = set()
        self._counts: Counter[str] = Counter()

    @property
    def sent(self) -> int:
        return self._counts["sent"]

    def send(self, spans: Iterable[SpanObject]) -> None:
        """Before the spans leave: no other order can be sure to know a span when it comes out."""
        named = [(identity(span), SpanName(span["project_id"], span["trace_id"], span["span_id"])) for span in spans]
        with self._lock:
            self._sent.update(named)
            self._counts.update(sent=len(named), batches=1)

    def publish(self, message: SegmentMessage) -> None:
        identities = [identity(span) for span in message.spans]
        with self._lock:
            self._segments.add((message.project_id, message.trace_id, message.segment_id))
            self._counts["messages"] += 1
            for found in identities:
                self._came_out(found, message.flush_id)

    def _came_out(self, found: Identity, flush_id: str) -> None:
        flush_ids = self._flush_ids.setdefault(found, set())
        if flush_ids:
            self._counts["repeats"] += 1
            self._counts["repeats_same_flush"] += flush_id in flush_ids
        elif found in self._sent:
            self._counts["published"] += 1
        else:
            self._counts["unknown"] += 1
        flush_ids.add(flush_id)

    def balance(self, outcomes: Mapping[str, int]) -> Balance:
        with self._lock:
            counts = self._counts
            return Balance(
                sent=counts["sent"],
                batches=counts["batches"],
                published=counts["published"],
                messages=counts["messages"],
                segments=len(self._segments),
                repeats=counts["repeats"],
                repeats_same_flush=counts["repeats_same_flush"],
                missing=len(self._sent) - counts["published"],
                unknown=counts["unknown"],
                outcomes=dict(outcomes),
            )

    def missing(self) -> list[SpanName]:
        """Which spans did not come out, in the order they were sent."""
        with self._lock:
            return [name for found, name in self._sent.items() if found not in self._flush_ids]


def identity(span: SpanObject) -> Identity:
    bare = {key: value for key, value in span.items() if key not in ANNOTATIONS}
    attributes = bare.pop("attributes", None)
    if isinstance(attributes, dict):
        attributes = {key: value for key, value in attributes.items() if key != SEGMENT_ATTRIBUTE}
    bare["attributes"] = attributes or None
    return Identity(blake2b(_encoder.encode(bare), digest_size=16).digest())
