"""Whatever comes: decode never raises, accounts for every item, and what it lets in can be read by everybody.

SPANBUF_FUZZ_EXAMPLES sets the number of examples of each test for a long run, 100 without it.
"""

import json
import os
from collections import Counter
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buffer.decode import REASONS, Decoded, decode

EXAMPLES = int(os.environ.get("SPANBUF_FUZZ_EXAMPLES", "100"))
long_or_short = settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))

TRACE = "0123456789abcdef0123456789abcdef"
FIRST: dict[str, object] = {"project_id": 1, "trace_id": TRACE, "span_id": "a" * 16}
LAST: dict[str, object] = {"project_id": 1, "trace_id": TRACE, "span_id": "b" * 16, "parent_span_id": "a" * 16}

ids = st.sampled_from(["1" * 16, "2" * 16, "3" * 16, "ABCDEF0123456789", "0" * 16, "", "1" * 15, "}" * 16, None])
trace_ids = st.sampled_from([TRACE, TRACE.upper(), "01234567-89ab-cdef-0123-456789abcdef", "0" * 32, "x", None])
numbers = (
    st.integers()
    | st.floats()
    | st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 2**70, 10**400, 1e308, 5e-324])
)
leaves = st.none() | st.booleans() | numbers | st.text(st.characters(codec=None), max_size=8)
json_values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
)
foreign_values = st.recursive(
    leaves | st.binary(max_size=4) | st.datetimes() | st.decimals(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.binary(max_size=3) | st.none(), inner, max_size=3)
    ),
)
attributes = st.none() | st.dictionaries(
    st.sampled_from(["sentry.segment.id", "a", "b"]),
    st.none() | st.fixed_dictionaries({"value": ids | json_values, "type": st.just("string")}),
)


def spans_with(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Mostly good spans, each field also with something else in it."""
    return st.fixed_dictionaries(
        {
            "project_id": st.sampled_from([1, 2]) | values,
            "trace_id": st.just(TRACE) | trace_ids,
            "span_id": ids | values,
        },
        optional={
            "parent_span_id": ids | values,
            "is_segment": st.booleans() | values,
            "segment_id": ids | values,
            "attributes": attributes | values,
            "other": values,
        },
    )


json_items = st.lists(spans_with(json_values) | json_values, max_size=6)


def take(batch: object, *, max_bytes: int = 2**20) -> Decoded:
    decoded = decode(batch, max_span_bytes=max_bytes, max_batch_bytes=max_bytes * 2, max_batch_spans=50)
    assert set(decoded.invalid) <= set(REASONS)
    assert all(count > 0 for count in decoded.invalid.values())
    for span in decoded.spans:
        assert_readable(span.payload)
        read = msgspec.json.decode(span.payload)
        segment = (read.get("attributes") or {}).get("sentry.segment.id") or {}
        assert (span.project_id, span.trace_id, span.span_id) == (read["project_id"], read["trace_id"], read["span_id"])
        assert (span.parent_span_id, span.is_segment) == (read.get("parent_span_id"), bool(read.get("is_segment")))
        assert span.segment_id == (read.get("segment_id") if segment.get("value") is None else segment["value"])
        assert int(span.span_id, 16) > 0
        assert int(span.trace_id, 16) > 0
        assert span.parent_span_id != span.span_id
        assert span.trace_id == span.trace_id.lower()
        assert (len(span.trace_id), len(span.span_id)) == (32, 16)
        assert len(span.segment_id or "-" * 16) == len(span.parent_span_id or "-" * 16) == 16
    return decoded


def assert_readable(payload: bytes) -> None:
    """By a strict reader and by Python's own alike."""
    assert msgspec.json.decode(payload) == json.loads(payload.decode(), parse_constant=lambda name: 1 / 0)


def counted(decoded: Decoded) -> int:
    return len(decoded.spans) + sum(decoded.invalid.values())


def text_of(item: object, *, ensure_ascii: bool) -> bytes:
    return json.dumps(item, ensure_ascii=ensure_ascii).encode(errors="surrogatepass")


def assert_neighbours_stay(decoded: Decoded) -> None:
    assert decoded.spans[0].span_id == FIRST["span_id"]
    assert decoded.spans[-1].span_id == LAST["span_id"]


@long_or_short
@given(foreign_values | st.binary(max_size=200) | st.text(st.characters(codec=None), max_size=200))
def test_anything_as_a_batch(batch: object) -> None:
    take(batch)
    take(batch, max_bytes=20)


@long_or_short
@given(
    st.lists(st.sampled_from([b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"\n", b"1", b"NaN", b'"a"', b"\xff"]))
)
def test_json_in_pieces(pieces: list[bytes]) -> None:
    take(b"".join(pieces))
    inside = take(
        b"[%s,%s,%s]" % (text_of(FIRST, ensure_ascii=True), b"".join(pieces), text_of(LAST, ensure_ascii=True))
    )
    assert inside.spans[0].span_id == FIRST["span_id"]


@long_or_short
@given(st.lists(spans_with(foreign_values) | foreign_values, max_size=6))
def test_objects(items: list[object]) -> None:
    batch = [FIRST, *items, LAST]
    decoded = take(batch)
    assert counted(decoded) == len(batch)
    assert_neighbours_stay(decoded)
    assert counted(take(batch, max_bytes=200)) == len(batch)


@long_or_short
@given(json_items, st.booleans())
def test_every_form_of_a_batch_gives_the_same(items: list[object], ensure_ascii: bool) -> None:
    batch = [FIRST, *items, LAST]
    texts = [text_of(item, ensure_ascii=ensure_ascii) for item in batch]
    objects, array, lines = take(batch), take(b"[" + b",".join(texts) + b"]"), take(b"\n".join(texts))
    assert counted(array) == len(batch)
    assert_neighbours_stay(array)
    assert [span.span_id for span in array.spans] == [span.span_id for span in objects.spans]
    assert [json.loads(span.payload) for span in array.spans] == [json.loads(span.payload) for span in objects.spans]
    assert array == lines
    assert counted(objects) == len(batch)  # of two faults in one span, text may name another one first


@long_or_short
@given(json_items, st.data())
def test_a_batch_with_damaged_bytes(items: list[object], data: st.DataObject) -> None:
    text = bytearray(text_of([FIRST, *items, LAST], ensure_ascii=False))
    start = len(text_of(FIRST, ensure_ascii=False)) + 2
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(start, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=2))
        if len(text) <= start:
            break
    decoded = take(text)
    assert decoded.spans[0].span_id == FIRST["span_id"]


@long_or_short
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6), st.integers(1, 2)), max_size=8))
def test_circles_are_those_that_following_parents_finds(family: list[tuple[int, int, int]]) -> None:
    """Against a plain search, for batches in which every span comes once."""
    links = {(project, child): (project, parent) for child, parent, project in family if child != parent}
    batch = [
        {
            "project_id": project,
            "trace_id": TRACE,
            "span_id": f"{child:016x}",
            "parent_span_id": f"{parent:016x}" if parent else None,
        }
        for (project, child), (_, parent) in links.items()
    ]
    on_circle = 0
    for start, parent in links.items():
        at = parent
        for _ in links:
            if at == start or at not in links:
                break
            at = links[at]
        on_circle += at == start
    assert take(batch).invalid == (Counter(parent_cycle=on_circle) if on_circle else Counter())
