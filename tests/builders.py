"""Spans with short names: ``span("b", parent="a")``. A name of up to eight letters is the span id itself, as hex."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from random import Random

from buffer import Segment, Span

TRACE_ID = "0123456789abcdef" * 2


def span_id(name: str) -> str:
    assert len(name) <= 8, name
    return name.encode().hex().rjust(16, "0")


def name_of(identifier: str) -> str:
    return bytes.fromhex(identifier).lstrip(b"\0").decode()


def trace_id(number: int) -> str:
    return f"{number:032x}"


def span(
    name: str,
    parent: str | None = None,
    *,
    project: int = 1,
    trace: str = TRACE_ID,
    is_segment: bool = False,
    segment: str | None = None,
    note: str = "",
    size: int = 0,
) -> Span:
    """``note`` makes other content under the same id; ``size`` fills the payload up to that many bytes."""
    fields: dict[str, object] = {"project_id": project, "trace_id": trace, "span_id": span_id(name)}
    if parent:
        fields["parent_span_id"] = span_id(parent)
    if note:
        fields["name"] = note
    payload = json.dumps(fields).encode()
    if size > len(payload):
        fields["fill"] = ""
        fields["fill"] = _noise(name, size - len(json.dumps(fields)))
        payload = json.dumps(fields).encode()
    return Span(
        project,
        trace,
        span_id(name),
        span_id(parent) if parent else None,
        is_segment,
        span_id(segment) if segment else None,
        payload,
    )


def _noise(seed: str, length: int) -> str:
    """Does not compress: what a test fills, stays full."""
    return Random(seed).randbytes(length).hex()[: max(length, 0)]


def chain(*names: str) -> list[Span]:
    """A root and its descendants, each the parent of the next."""
    return [span(name, parent) for name, parent in zip(names, (None, *names), strict=False)]


def names(spans: Iterable[Span]) -> set[str]:
    return {name_of(each.span_id) for each in spans}


def grouped(segments: Sequence[Segment]) -> dict[str, set[str]]:
    """Segment -> its spans, by name. Segments of one id come together: overflow and late spans share it."""
    found: dict[str, set[str]] = {}
    for segment in segments:
        found.setdefault(name_of(segment.segment_id), set()).update(names(segment.spans))
    return found


def identities(spans: Iterable[Span]) -> list[tuple[int, str, str, bytes]]:
    """To compare what was sent with what came out, repeats included."""
    return sorted((each.project_id, each.trace_id, each.span_id, each.payload) for each in spans)
