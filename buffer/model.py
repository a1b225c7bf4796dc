"""The values that travel through the buffer, in the words of docs/design.md.

Ids are lower-case hex at the edge (Span, Segment) and raw bytes inside (keys, scripts). Everything is frozen: a claim
or a receipt names one moment, and nothing may change it afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

import msgspec

SegmentKey = NewType("SegmentKey", bytes)
"""8 bytes: the root span's id; 12 bytes: the same and the ordinal of an overflow segment."""
Digest = NewType("Digest", bytes)
"""16 bytes: blake2b over the spans of a part, in order."""
FlushId = NewType("FlushId", bytes)
"""16 bytes: derived from the published segment id and the sorted digests of the flush record's parts."""
LeaseUs = NewType("LeaseUs", int)
"""End of a lease in microseconds since the epoch; the last three digits are drawn, so no two leases are alike."""


class Span(msgspec.Struct, frozen=True, gc=False):
    """One record. ``payload`` is the span as one JSON object in UTF-8; the ids beside it are those inside it."""

    project_id: int
    trace_id: str
    """32 lower-case hex digits."""
    span_id: str
    """16 lower-case hex digits."""
    parent_span_id: str | None = None
    is_segment: bool = False
    """True makes the span the root of a segment even if it has a parent (a local root)."""
    segment_id: str | None = None
    """The root's span id when the sender knows it; decides before the parent chain does."""
    payload: bytes = b""


class Trace(msgspec.Struct, frozen=True, gc=False):
    """One project's view of one trace: the unit that shares a slot."""

    project_id: int
    trace_id: str


class Part(msgspec.Struct, frozen=True, gc=False):
    """The stored form of one subsegment, or of a slice of it."""

    parent: SegmentKey
    """Top-most known parent; the root itself when ``has_root``."""
    has_root: bool
    span_ids: bytes
    """8 bytes a span."""
    digest: Digest
    blob: bytes
    raw_bytes: int

    @property
    def count(self) -> int:
        return len(self.span_ids) // 8


class Claim(msgspec.Struct, frozen=True, gc=False):
    """A due segment, taken for one flush until the lease ends."""

    trace: Trace
    key: SegmentKey
    shard: int
    lease_us: LeaseUs
    deadline_ms: int

    def to_wire(self) -> list[object]:
        """A list of plain values for a task message."""
        return [self.trace.project_id, self.trace.trace_id, self.key, self.shard, self.lease_us, self.deadline_ms]

    @classmethod
    def from_wire(cls, wire: Sequence[object]) -> Claim:
        project_id, trace_id, key, shard, lease_us, deadline_ms = msgspec.convert(
            wire, tuple[int, str, bytes, int, int, int]
        )
        return cls(Trace(project_id, trace_id), SegmentKey(key), shard, LeaseUs(lease_us), deadline_ms)


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """Names one published flush record. The record is content-addressed and never changes, so it names its parts."""

    trace: Trace
    key: SegmentKey
    shard: int
    lease_us: LeaseUs
    flush_id: FlushId

    def to_wire(self) -> list[object]:
        """A list of plain values for a task message: about 80 bytes in msgpack, never payload."""
        return [self.trace.project_id, self.trace.trace_id, self.key, self.shard, self.lease_us, self.flush_id]

    @classmethod
    def from_wire(cls, wire: Sequence[object]) -> Receipt:
        project_id, trace_id, key, shard, lease_us, flush_id = msgspec.convert(
            wire, tuple[int, str, bytes, int, int, bytes]
        )
        return cls(Trace(project_id, trace_id), SegmentKey(key), shard, LeaseUs(lease_us), FlushId(flush_id))


class FlushReason(StrEnum):
    """Why a segment was flushed now; named after the setting that decided."""

    ROOT_TIMEOUT = "root_timeout"
    TIMEOUT = "timeout"
    MAX_SEGMENT_AGE = "max_segment_age"
    MAX_SEGMENT_BYTES = "max_segment_bytes"


class Outcome(StrEnum):
    """Why a span was not published. A reason, and a count, go with it."""

    INVALID = "invalid"
    """Refused at the door; see ``buffer.invalid.REASONS``."""
    DUPLICATE = "duplicate"
    """A byte-identical repeat; one copy is, or was, published."""
    SET_ASIDE = "set_aside"
    """In a batch that killed its worker again and again; kept in the queue ``spans.set-aside``."""
    EXPIRED = "expired"
    """Reached its TTL before any flush could publish it."""


Outcomes = Counter[str]
"""``category.reason`` -> spans."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What one ``append`` did. ``spans`` were taken; the others are in ``outcomes``."""

    spans: int = 0
    parts: int = 0
    merges: int = 0
    """Segments that joined another because their missing parent came."""
    overflows: int = 0
    """Overflow segments opened because one was full."""
    outcomes: Outcomes = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What one ``cleanup`` did."""

    segments: int = 0
    """Segments of which nothing is left."""
    parts: int = 0
    stale: int = 0
    """Receipts whose record was gone: cleaned up before, and harmless."""
    requeued: int = 0
    """Segments with parts that came after the load; they are queued."""
    outcomes: Outcomes = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Swept:
    """What one ``sweep`` saw. ``requeued`` should be 0: anything else is an alarm."""

    segments: int = 0
    requeued: int = 0
