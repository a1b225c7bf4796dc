"""The thorough look at one item: is every value JSON, is every field what it must be, and what is wrong otherwise?

On a span's way: only for items that the quick way of `span_json` is not sure of. Raises Invalid with the one reason
that is counted: values first, then fields in the order of `normalised`. It changes ids to their normal form in a copy
and nothing else; fields that the buffer does not use are not judged.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from buffer.invalid import Invalid

MAX_DEPTH: Final = 64
"""Objects and arrays inside each other, the span included: far from where any reader's stack ends."""
MAX_PROJECT_ID: Final = 2**64 - 1
SEGMENT_ATTRIBUTE: Final = "sentry.segment.id"

_LEAST, _LARGEST = -(2**63), 2**64 - 1
_TRACE_ID: Final = re.compile(r"(?!0{32})[0-9a-f]{32}").fullmatch
_SPAN_ID: Final = re.compile(r"(?!0{16})[0-9a-f]{16}").fullmatch
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch


def check_values(item: Mapping[object, object]) -> None:
    """Every value is one that JSON has a form for. Without recursion: the item may be nested at will."""
    waiting: list[tuple[object, int]] = [(item, 1)]
    while waiting:
        container, level = waiting.pop()
        if level > MAX_DEPTH:
            raise Invalid("too_deep")
        for value in _members(container):
            if isinstance(value, dict | list | tuple):
                waiting.append((value, level + 1))
            elif isinstance(value, int | float):
                _check_number(value)
            elif value is not None and not isinstance(value, str):
                raise Invalid("not_json_value")


def _members(container: object) -> Iterable[object]:
    if isinstance(container, dict):
        if not all(isinstance(key, str) for key in container):
            raise Invalid("not_json_value")
        return container.values()
    assert isinstance(container, list | tuple)
    return container


def _check_number(value: float) -> None:
    in_range = _LEAST <= value <= _LARGEST if isinstance(value, int) else value - value == 0
    if not in_range:
        raise Invalid("number_out_of_range")


def normalised(item: Mapping[str, object]) -> dict[str, object]:
    """The span with its ids as 32 and 16 lower-case hex digits. An empty parent is none, as OTLP means it."""
    _check_project_id(item.get("project_id"))
    span = dict(item)
    span["trace_id"] = _trace_id(item.get("trace_id"))
    span["span_id"] = _own_id(item.get("span_id"))
    if "parent_span_id" in item:
        span["parent_span_id"] = _parent_id(item["parent_span_id"], span["span_id"])
    if not isinstance(item.get("is_segment"), bool | None):
        raise Invalid("bad_is_segment")
    if item.get("segment_id") is not None:
        span["segment_id"] = _span_id(item["segment_id"], "bad_segment_id")
    if item.get("attributes") is not None:
        span["attributes"] = _attributes(item["attributes"])
    return span


def _check_project_id(value: object) -> None:
    if value is None:
        raise Invalid("missing_project_id")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_PROJECT_ID:
        raise Invalid("bad_project_id")


def _trace_id(value: object) -> str:
    if value is None or value == "":
        raise Invalid("missing_trace_id")
    trace_id = value.lower() if isinstance(value, str) else ""
    if _UUID(trace_id):
        trace_id = trace_id.replace("-", "")
    if _TRACE_ID(trace_id) is None:
        raise Invalid("bad_trace_id")
    return trace_id


def _own_id(value: object) -> str:
    if value is None or value == "":
        raise Invalid("missing_span_id")
    return _span_id(value, "bad_span_id")


def _parent_id(value: object, own_id: object) -> str | None:
    if value is None or value == "":
        return None
    parent_id = _span_id(value, "bad_parent_span_id")
    if parent_id == own_id:
        raise Invalid("parent_is_self")
    return parent_id


def _span_id(value: object, reason: str) -> str:
    span_id = value.lower() if isinstance(value, str) else ""
    if _SPAN_ID(span_id) is None:
        raise Invalid(reason)
    return span_id


def _attributes(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise Invalid("bad_attributes")
    given = value.get(SEGMENT_ATTRIBUTE)
    if given is None:
        return value
    if not isinstance(given, dict):
        raise Invalid("bad_segment_id")
    if given.get("value") is None:
        return value
    return {**value, SEGMENT_ATTRIBUTE: {**given, "value": _span_id(given["value"], "bad_segment_id")}}
