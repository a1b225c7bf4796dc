"""One item of a batch, as JSON text or as a Python object, becomes a Span or is refused with a reason.

On a span's way: between `salvage` and `decode`. The quick way checks what the buffer needs and keeps the text as it
came; whatever it is not sure of goes the thorough way, which alone gives reasons and alone normalises ids.
Invariant: a payload is one JSON object in UTF-8 that every reader can decode, and its ids are those of the Span.
A key that comes twice counts as its last occurrence. It does not judge what the pipeline does not use.
"""

import json
import re
from typing import Final

import msgspec

from buffer.invalid import Invalid
from buffer.model import Span
from buffer.salvage import depth
from buffer.scrutiny import MAX_DEPTH, MAX_PROJECT_ID, SEGMENT_ATTRIBUTE, check_values, normalised

_ALL_IDS: Final = re.compile(r"(?!0{32})[0-9a-f]{32}(?:,(?!0{16})[0-9a-f]{16}){3}").fullmatch
_DIGITS_ALIKE: Final = bytes.maketrans(b"123456789+E \t\r\n[]}:", b"0000000000e,,,,,,,,")
_LARGE_EXPONENT: Final = re.compile(rb"0e000+(?:,|\Z)").search


class _SegmentAttribute(msgspec.Struct, gc=False):
    value: str | None = None


class _Attributes(msgspec.Struct, gc=False):
    segment: _SegmentAttribute | None = msgspec.field(name=SEGMENT_ATTRIBUTE, default=None)


class _Wire(msgspec.Struct, gc=False):
    """What the buffer needs of a span. The rest is skipped, but must be well-formed."""

    project_id: int
    trace_id: str
    span_id: str
    parent_span_id: str | None = None
    is_segment: bool | None = None
    segment_id: str | None = None
    attributes: _Attributes | None = None


_decode_wire = msgspec.json.Decoder(_Wire).decode
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def is_sound(text: bytes) -> bool:
    """UTF-8, and certainly no number out of range. Cheaper for a whole batch at once than for each span."""
    try:
        text.isascii() or text.decode()
    except UnicodeDecodeError:
        return False
    return not _may_have_large_numbers(text)


def read_sound_text(text: bytes) -> Span:
    """One item of a text that `is_sound`."""
    if _is_shallow(text):
        try:
            span = _quick(_decode_wire(text), text)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            span = None
        if span is not None:
            return span
    return _thorough(parse(text))


def read_text(text: bytes) -> Span:
    return read_sound_text(text) if is_sound(text) else _thorough(parse(text))


def read_object(item: object) -> Span:
    """What reads back equal from the payload was JSON: NaN, bytes, dates and numbers as keys do not."""
    if type(item) is dict:
        try:
            payload = _encode(item)
            if _is_shallow(payload) and not _may_have_large_numbers(payload) and _decode(payload) == item:
                span = _quick(_decode_wire(payload), payload)
                if span is not None:
                    return span
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
            pass
    return _thorough(item)


def parse(text: bytes) -> object:
    """The value of a JSON text, NaN and lone surrogates included, so that they can be named."""
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        raise Invalid("not_utf8") from None
    if not _is_shallow(text) and depth(text) > MAX_DEPTH:
        raise Invalid("too_deep")
    try:
        return json.loads(decoded)
    except json.JSONDecodeError:
        raise Invalid("not_json") from None
    except ValueError:  # Python refuses to read integers of thousands of digits
        raise Invalid("number_out_of_range") from None


def _is_shallow(text: bytes) -> bool:
    return text.count(b"{") + text.count(b"[") <= MAX_DEPTH


def _may_have_large_numbers(text: bytes) -> bool:
    """Never wrong when it says no. Searching plain bytes costs a tenth of a regular expression for numbers.

    Before a number stands what separates, or its sign; before the digits of an id in a string neither.
    """
    alike = text.translate(_DIGITS_ALIKE)
    if b"," + b"0" * 20 in alike or b"-" + b"0" * 19 in alike:
        return True
    return b"0e000" in alike and _LARGE_EXPONENT(alike) is not None


def _quick(wire: _Wire, payload: bytes) -> Span | None:
    """The span, if everything is in its normal form already."""
    span = _span(wire, payload)
    span_id, parent = span.span_id, span.parent_span_id
    ids = f"{span.trace_id},{span_id},{span_id if parent is None else parent},{_one_segment_id(wire, span)}"
    if _ALL_IDS(ids) is None or parent == span_id or not 0 <= span.project_id <= MAX_PROJECT_ID:
        return None
    return span


def _one_segment_id(wire: _Wire, span: Span) -> str:
    """Something that is no id when two are given: only the thorough way looks at both."""
    if wire.segment_id is not None and wire.segment_id != span.segment_id:
        return ""
    return span.span_id if span.segment_id is None else span.segment_id


def _span(wire: _Wire, payload: bytes) -> Span:
    segment_id = wire.segment_id
    if (attributes := wire.attributes) is not None and (segment := attributes.segment) is not None:
        segment_id = segment_id if segment.value is None else segment.value
    return Span(
        wire.project_id,
        wire.trace_id,
        wire.span_id,
        wire.parent_span_id,
        bool(wire.is_segment),
        segment_id,
        payload,
    )


def _thorough(item: object) -> Span:
    if not isinstance(item, dict):
        raise Invalid("not_an_object")
    check_values(item)
    try:
        payload = _encode(normalised(item))
    except UnicodeEncodeError:
        raise Invalid("not_utf8") from None
    return _span(_decode_wire(payload), payload)
