"""Spans -> parts: the subsegments of one batch, by trace and top-most known parent. Pure; no Redis.

A root of a segment, or a given segment id, decides where a span belongs; otherwise its parents in this batch do, and
the first parent that is not here names the subsegment. The same batch always gives the same parts, byte for byte.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from buffer.codec import MAX_PART_BYTES, Codec
from buffer.model import Outcome, Outcomes, Part, SegmentKey, Span, Trace

MAX_PART_SPANS = 500
"""Bounds what one script call works on; a part of 500 spans of 1 KB packs in about 1 ms."""

_TRACE_ID = re.compile(r"[0-9a-f]{32}").fullmatch
_SPAN_ID = re.compile(r"[0-9a-f]{16}").fullmatch
_TRACE_IDS = re.compile(r"(?:[0-9a-f]{32}\n)*+").fullmatch
_SPAN_IDS = re.compile(r"(?:[0-9a-f]{16}\n)*+").fullmatch
_MAX_PROJECT_ID = 2**64


def group(spans: Iterable[Span], max_span_bytes: int, codec: Codec) -> tuple[dict[Trace, list[Part]], Outcomes]:
    """The batch as parts by trace, and the spans that cannot be keyed or published as outcomes."""
    spans, outcomes = list(spans), Outcomes()
    if not _all_sound(spans, max_span_bytes):
        spans, outcomes = _sound(spans, max_span_bytes)
    traces: dict[tuple[int, str], list[Span]] = {}
    for span in spans:
        traces.setdefault((span.project_id, span.trace_id), []).append(span)
    return {Trace(*ids): _parts(members, codec) for ids, members in traces.items()}, outcomes


def _all_sound(spans: Sequence[Span], max_span_bytes: int) -> bool:
    """Whether ``_refusal`` has nothing to say about any of them. 0.4 us a span, one by one it would be 2."""
    payloads = [span.payload for span in spans]
    span_ids = [span.span_id for span in spans]
    span_ids += [span.parent_span_id for span in spans if span.parent_span_id]
    span_ids += [span.segment_id for span in spans if span.segment_id]
    return (
        {payload[:1] for payload in payloads} == {b"{"}
        and {payload[-1:] for payload in payloads} == {b"}"}
        and max(map(len, payloads)) <= max_span_bytes
        and all(0 <= project_id < _MAX_PROJECT_ID for project_id in {span.project_id for span in spans})
        and _SPAN_IDS(lines := _lines(span_ids)) is not None
        and len(lines) == 17 * len(span_ids)  # or an id has a line break, and would pass for two
        and _TRACE_IDS(lines := _lines(trace_ids := {span.trace_id for span in spans})) is not None
        and len(lines) == 33 * len(trace_ids)
    )


def _lines(ids: Collection[str]) -> str:
    return "\n".join([*ids, ""])


def _sound(spans: Sequence[Span], max_span_bytes: int) -> tuple[list[Span], Outcomes]:
    sound: list[Span] = []
    outcomes: Outcomes = Counter()
    for span in spans:
        if refusal := _refusal(span, max_span_bytes):
            outcomes[f"{Outcome.INVALID}.{refusal}"] += 1
        else:
            sound.append(span)
    return sound, outcomes


def _refusal(span: Span, max_span_bytes: int) -> str | None:
    """A reason of ``buffer.invalid.REASONS``. The ids become Redis keys: nothing but what the pattern says may pass."""
    if not _SPAN_ID(span.span_id):
        return "bad_span_id"
    if not _TRACE_ID(span.trace_id):
        return "bad_trace_id"
    if not 0 <= span.project_id < _MAX_PROJECT_ID:
        return "bad_project_id"
    if span.parent_span_id and not _SPAN_ID(span.parent_span_id):
        return "bad_parent_span_id"
    if span.segment_id and not _SPAN_ID(span.segment_id):
        return "bad_segment_id"
    if len(span.payload) > max_span_bytes:
        return "span_too_large"
    return None if span.payload[:1] == b"{" and span.payload[-1:] == b"}" else "not_an_object"


def _parts(spans: Sequence[Span], codec: Codec) -> list[Part]:
    if len(spans) == 1:  # in small batches most are
        [span] = spans
        has_root = _is_root(span)
        top = span.span_id if has_root else span.segment_id or span.parent_span_id or ""
        return [codec.pack(SegmentKey(bytes.fromhex(top)), has_root, spans)]
    tops = _top_most_parents(spans)
    subsegments: dict[str, list[Span]] = {}
    for span in spans:
        subsegments.setdefault(tops[span.span_id], []).append(span)
    return [
        codec.pack(SegmentKey(bytes.fromhex(top)), _has_root(top, members), members)
        for top, subsegment in subsegments.items()
        for members in _slices(subsegment)
    ]


def _has_root(top: str, spans: Sequence[Span]) -> bool:
    return any(span.span_id == top and _is_root(span) for span in spans)


def _is_root(span: Span) -> bool:
    return span.is_segment or not span.parent_span_id or span.segment_id == span.span_id


def _top_most_parents(spans: Sequence[Span]) -> dict[str, str]:
    """Span id -> id of the segment, or of the missing parent, it belongs under. A circle is cut where it is entered."""
    tops: dict[str, str] = {}
    parents: dict[str, str] = {}
    for span in spans:
        span_id = span.span_id
        if span_id in tops or span_id in parents:
            continue  # the first of two decides
        if span.is_segment or not span.parent_span_id or span.segment_id == span_id:  # as in _is_root
            tops[span_id] = span_id
        elif span.segment_id:
            tops[span_id] = span.segment_id
        else:
            parents[span_id] = span.parent_span_id
    for span_id in list(parents):
        path: list[str] = []
        at = span_id
        while parent := parents.pop(at, None):  # what was passed is gone, so a circle ends
            path.append(at)
            at = parent
        top = tops.get(at, at)
        for each in path:
            tops[each] = top
    return tops


def _slices(spans: Sequence[Span]) -> list[Sequence[Span]]:
    """All of them; or several slices when the subsegment is too large for one script argument."""
    sizes = [len(span.payload) for span in spans]
    if len(spans) <= MAX_PART_SPANS and sum(sizes) <= MAX_PART_BYTES:
        return [spans]
    slices: list[Sequence[Span]] = []
    start = size = 0
    for i, more in enumerate(sizes):
        if i > start and (i - start == MAX_PART_SPANS or size + more > MAX_PART_BYTES):
            slices.append(spans[start:i])
            start, size = i, 0
        size += more
    return [*slices, spans[start:]]
