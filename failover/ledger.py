"""What was acknowledged, what was published, and how often: the judge of a failover run.

A span is lost when its append was acknowledged and no flush published it. A repeat is a message that was published
before: harmless if it has the same flush id and spans, because a consumer that drops repeats has every span once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from threading import Lock

from buffer import Segment, Span

Identity = tuple[int, str, str]


def identity(span: Span) -> Identity:
    return span.project_id, span.trace_id, span.span_id


@dataclass(slots=True)
class Ledger:
    acknowledged: set[Identity] = field(default_factory=set)
    published: dict[Identity, set[str]] = field(default_factory=dict)
    """Span -> the flush ids it came out under."""
    outcomes: Counter[str] = field(default_factory=Counter)
    repeats: int = 0
    """Messages published again, under their flush id and with the same spans."""
    contradictions: int = 0
    """Messages whose flush id had stood for other spans."""
    refusals: Counter[str] = field(default_factory=Counter)
    """BufferUnavailable by what caused it."""
    unexpected: Counter[str] = field(default_factory=Counter)
    """Any other exception that came out of the library."""
    longest_call_s: float = 0.0
    _flushes: dict[str, frozenset[Identity]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def acknowledge(self, spans: Iterable[Span]) -> None:
        with self._lock:
            self.acknowledged.update(map(identity, spans))

    def publish(self, segments: Sequence[Segment]) -> None:
        with self._lock:
            for segment in segments:
                self._publish(segment)

    def _publish(self, segment: Segment) -> None:
        spans = frozenset(map(identity, segment.spans))
        before = self._flushes.setdefault(segment.flush_id, spans)
        if before is spans:
            for span in spans:
                self.published.setdefault(span, set()).add(segment.flush_id)
        else:
            self.repeats += 1
            self.contradictions += before != spans

    def called(self, seconds: float) -> None:
        self.longest_call_s = max(self.longest_call_s, seconds)

    @property
    def lost(self) -> set[Identity]:
        return self.acknowledged - self.published.keys()

    @property
    def twice(self) -> int:
        """Spans that came out under more than one flush id: repeats that a consumer cannot drop by it."""
        return sum(len(ids) > 1 for ids in self.published.values())
