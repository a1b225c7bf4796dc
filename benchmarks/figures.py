"""Everything that is found, as it goes into the JSON. What can be computed from it is a property, and no field."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmarks.floor import Floor
from benchmarks.machine import Machine
from benchmarks.meter import Cost


@dataclass(frozen=True, slots=True)
class Course:
    """One way of all spans through the library, ingest to clean-up."""

    ingest: Cost
    flush: Cost
    left_bytes: float
    """Held a span after the last clean-up: the indexes, kept for late spans."""
    segments: int
    missing: int
    twice: int
    keys_left: int
    """Segments, queue entries or claims after the last clean-up."""

    @property
    def us(self) -> float:
        return self.ingest.us + self.flush.us


@dataclass(frozen=True, slots=True)
class Training:
    """A dictionary from other spans of the same traffic, before the first measured span."""

    spans: int
    cpu_ms: float
    """Client and Redis."""
    bytes_held: int
    came_of_it: str


@dataclass(frozen=True, slots=True)
class Yardstick:
    """`best` has the lowest of each figure over the repeats, `typical` the median."""

    batch: int
    spans: int
    repeats: int
    training: Training | None
    floor: Floor
    typical_floor: Floor
    best: Course
    typical: Course

    @property
    def times_set(self) -> float:
        """Redis CPU of ingest against one SET a span."""
        return self.best.ingest.redis_us / self.floor.set_a_span.redis_us

    @property
    def together_in_sets(self) -> float:
        return self.best.us / self.floor.set_a_span.us


@dataclass(frozen=True, slots=True)
class Recording:
    name: str
    batches: int
    spans: int
    payload_bytes: float
    """A span."""
    trained: bool
    course: Course


@dataclass(frozen=True, slots=True)
class Point:
    """What a span costs when `series` is `at`."""

    series: str
    at: int
    spans: int
    ingest: Cost
    flush: Cost
    missing: int
    twice: int


@dataclass(frozen=True, slots=True)
class Calls:
    """How long Redis served nobody else, by the verb and what it worked on, in microseconds of wall time."""

    verb: str
    load: str
    calls: int
    p50_us: float | None
    """None: below what Redis was told to note."""
    p99_us: float | None
    p999_us: float | None
    max_us: float | None
    longest: str
    """The script of the longest call."""


@dataclass(frozen=True, slots=True)
class Steady:
    """Memory under a constant rate: one real run at a small scale against rate x time x bytes."""

    rate: float
    seconds: float
    root_timeout_s: float
    late_grace_s: float
    flush_interval_s: float
    spread_s: float
    """From a span to the last one of its segment."""
    live_bytes: float
    """A span that waits for its flush."""
    index_bytes: float
    """A span whose segment is flushed, while its index is kept."""
    live_spans: float
    """Measured, at the end."""
    measured_bytes: float
    samples: list[tuple[float, float, float]]
    """Seconds, bytes held, spans that wait."""
    missing: int
    twice: int

    @property
    def live_s(self) -> float:
        """How long a span waits: for the rest of its segment, the quiet time, half a round of the flush on average."""
        return self.spread_s + self.root_timeout_s + self.flush_interval_s / 2

    @property
    def expected_bytes(self) -> float:
        return self.rate * (self.live_s * self.live_bytes + self.late_grace_s * self.index_bytes)


@dataclass(frozen=True, slots=True)
class Balance:
    """Load of the busiest node against the mean of all, in windows of one second."""

    rate: int
    """Spans a second, on all nodes."""
    nodes: int
    hot_share: float
    """Of all spans, in one trace."""
    typical: float
    worst: float


@dataclass(frozen=True, slots=True)
class Report:
    machine: Machine
    short: bool
    took_s: float = 0
    yardstick: list[Yardstick] = field(default_factory=list)
    recordings: list[Recording] = field(default_factory=list)
    steady: list[Steady] = field(default_factory=list)
    flat: list[Point] = field(default_factory=list)
    calls: list[Calls] = field(default_factory=list)
    balance: list[Balance] = field(default_factory=list)
    pipeline: list[dict[str, Any]] = field(default_factory=list)

    def of(self, batch: int) -> Yardstick:
        """The library as it is meant to be used: with a dictionary, where it can have one."""
        return next(
            y for trained in (True, False) for y in self.yardstick if y.batch == batch and bool(y.training) is trained
        )
