"""Segment assembly without a buffer: every span is at hand, nothing is timed, nothing is merged.

What a perfect buffer publishes. A chain that turns in a circle has no answer here and raises.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

SEGMENT_ATTRIBUTE = "sentry.segment.id"


class SpanLike(Protocol):
    """What decides; ``buffer.Span`` has it."""

    @property
    def project_id(self) -> int: ...
    @property
    def trace_id(self) -> str: ...
    @property
    def span_id(self) -> str: ...
    @property
    def parent_span_id(self) -> str | None: ...
    @property
    def is_segment(self) -> bool: ...
    @property
    def segment_id(self) -> str | None: ...


class Row(NamedTuple):
    project_id: int
    trace_id: str
    span_id: str
    parent_span_id: str | None = None
    is_segment: bool = False
    segment_id: str | None = None


class SpanKey(NamedTuple):
    project_id: int
    trace_id: str
    span_id: str


class Segment(NamedTuple):
    project_id: int
    trace_id: str
    segment_id: str


def row(span: Mapping[str, object]) -> Row:
    """A span object as the oracle reads it, with the segment id that it carries."""
    parent = span.get("parent_span_id")
    return Row(
        int(str(span["project_id"])),
        str(span["trace_id"]),
        str(span["span_id"]),
        str(parent) if parent else None,
        span.get("is_segment") is True,
        carried_segment_id(span),
    )


def carried_segment_id(span: Mapping[str, object]) -> str | None:
    match span:
        case {"segment_id": str(segment_id)}:
            return segment_id
        case {"attributes": {"sentry.segment.id": {"value": str(segment_id)}}}:
            return segment_id
    return None


def without_segment_id(span: Mapping[str, object]) -> dict[str, object]:
    """The span as an SDK sends it that knows nothing of segments; everything else stays."""
    stripped = {key: value for key, value in span.items() if key != "segment_id"}
    attributes = stripped.get("attributes")
    if isinstance(attributes, dict):
        stripped["attributes"] = {key: value for key, value in attributes.items() if key != SEGMENT_ATTRIBUTE}
    return stripped


def segment_ids(spans: Iterable[SpanLike]) -> dict[SpanKey, str]:
    """For each span the id of its segment. Of spans with one id, the first one decides."""
    known: dict[SpanKey, SpanLike] = {}
    for span in spans:
        known.setdefault(SpanKey(span.project_id, span.trace_id, span.span_id), span)
    answers: dict[SpanKey, str] = {}
    for key in known:
        _climb(key, known, answers)
    return answers


def segments(spans: Iterable[SpanLike]) -> dict[Segment, set[str]]:
    """The same by segment: the span ids in each."""
    members: dict[Segment, set[str]] = defaultdict(set)
    for key, segment_id in segment_ids(spans).items():
        members[Segment(key.project_id, key.trace_id, segment_id)].add(key.span_id)
    return dict(members)


def _climb(key: SpanKey, known: Mapping[SpanKey, SpanLike], answers: dict[SpanKey, str]) -> None:
    """Up the parents of the same project until one has an answer; then all that were passed have it too."""
    passed: dict[SpanKey, None] = {}
    while key not in answers and (parent := _undecided_parent(known.get(key))):
        if key in passed:
            raise ValueError(f"the parents of span {key.span_id} go in a circle")
        passed[key] = None
        key = key._replace(span_id=parent)
    answer = answers.get(key) or _own_answer(key, known.get(key))
    if key in known:
        passed[key] = None
    answers.update(dict.fromkeys(passed, answer))


def _undecided_parent(span: SpanLike | None) -> str | None:
    if span is None or span.is_segment or span.segment_id:
        return None
    return span.parent_span_id


def _own_answer(key: SpanKey, span: SpanLike | None) -> str:
    """A root, and a parent that never came, stand for themselves."""
    if span is None or span.is_segment or not span.parent_span_id:
        return key.span_id
    return span.segment_id or key.span_id
