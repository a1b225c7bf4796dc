"""Why a span of a batch is not buffered: the closed vocabulary of the outcome category `invalid`.

Every reason the decoder or the ingest task counts is a key of REASONS, nothing else is. The sentences are what
documentation and people see; the keys are what counters and metrics carry, so they do not change.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "wrong_arguments": "The task was called with other arguments than one batch.",
        "not_a_list": "The batch is neither a list of spans nor text that holds an array or lines of objects.",
        "not_json": "This item, or what follows the last whole item of the array, is not JSON.",
        "not_zstd": "The batch begins like a zstd frame and is not one whole frame of at most max_batch_bytes.",
        "not_utf8": "This item holds text that is not UTF-8 (also a lone surrogate).",
        "not_an_object": "This item is JSON, but not an object.",
        "not_json_value": "This item holds a value or key that JSON has no form for: bytes, a date, a number as key.",
        "too_deep": "This item is nested deeper than 64 levels.",
        "number_out_of_range": "A number is NaN, infinite, or an integer outside the signed and unsigned 64 bit range.",
        "span_too_large": "The span as JSON is larger than max_span_bytes.",
        "batch_too_large": "The span lies beyond what one batch may hold: max_batch_spans or max_batch_bytes.",
        "missing_project_id": "project_id is absent or null.",
        "bad_project_id": "project_id is not an integer, or is negative.",
        "missing_trace_id": "trace_id is absent, null or empty.",
        "bad_trace_id": "trace_id is not 32 hexadecimal digits or a UUID, or is all zero.",
        "missing_span_id": "span_id is absent, null or empty.",
        "bad_span_id": "span_id is not 16 hexadecimal digits, or is all zero.",
        "bad_parent_span_id": "parent_span_id is given and is not 16 hexadecimal digits, or is all zero.",
        "parent_is_self": "The span names itself as its parent.",
        "parent_cycle": "The span's parents lead back to it within the batch.",
        "bad_is_segment": "is_segment is neither true, false nor null.",
        "bad_segment_id": "segment_id or the attribute sentry.segment.id is not 16 hexadecimal digits, or is all zero.",
        "bad_attributes": "attributes is neither an object nor null.",
    }
)


class Invalid(Exception):
    """One item, or a whole batch, is refused for a reason of REASONS. Never leaves the decoder."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
