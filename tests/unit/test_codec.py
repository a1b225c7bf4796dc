"""Part bytes <-> spans."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from buffer.codec import HEADER, pack, unpack
from buffer.errors import DamagedPart
from buffer.model import Digest, Part, SegmentKey, Span, Trace
from tests.builders import TRACE_ID, chain, span, trace_id

TRACE = Trace(1, TRACE_ID)
KEY = SegmentKey(b"12345678")

ids = st.integers(0, 2**64 - 1).map("{:016x}".format)
spans = st.builds(
    Span, st.just(1), st.just(TRACE_ID), ids, st.none() | ids, st.booleans(), st.none() | ids, st.binary(max_size=60)
)


def packed(*members: Span) -> Part:
    return pack(KEY, True, members, b"".join(bytes.fromhex(each.span_id) for each in members))


@settings(max_examples=30)
@given(st.lists(spans, min_size=1, max_size=20))
def test_what_is_packed_comes_back(members: list[Span]) -> None:
    part = packed(*members)

    assert unpack(TRACE, part.digest, part.blob) == members
    assert HEADER.unpack_from(part.blob) == (2, 0, len(members), sum(len(each.payload) for each in members))


def test_a_span_comes_back_in_the_trace_it_is_stored_under() -> None:
    part = packed(span("a"))

    assert unpack(Trace(7, trace_id(3)), part.digest, part.blob) == [
        replace(span("a"), project_id=7, trace_id=trace_id(3))
    ]


def test_the_digest_names_the_spans_in_their_order() -> None:
    a, b, c = chain("a", "b", "c")

    assert packed(a, b, c).digest == packed(a, b, c).digest
    assert (
        len({packed(*members).digest for members in ((a, b, c), (b, a, c), (a, b), (a, replace(b, payload=b"{}")))})
        == 4
    )


@pytest.mark.parametrize(
    "change",
    [
        {"span_id": "0" * 16},
        {"parent_span_id": None},
        {"is_segment": True},
        {"segment_id": "0" * 16},
        {"payload": b"{}"},
    ],
)
def test_everything_about_a_span_is_in_the_digest(change: dict[str, object]) -> None:
    one = span("b", "a")

    assert packed(one).digest != packed(replace(one, **change)).digest


def test_neighbours_do_not_run_into_each_other() -> None:
    """Payloads cut elsewhere are other spans."""
    one, other = span("a"), span("b")

    assert (
        packed(replace(one, payload=b"xy"), replace(other, payload=b"z")).digest
        != packed(replace(one, payload=b"x"), replace(other, payload=b"yz")).digest
    )


def test_text_shrinks() -> None:
    part = packed(*(span(f"s{n}", "a", note="some words " * 20) for n in range(100)))

    assert len(part.blob) < part.raw_bytes / 4


@settings(max_examples=30)
@given(st.binary(max_size=200))
def test_no_bytes_but_packed_ones_are_a_part(blob: bytes) -> None:
    with pytest.raises(DamagedPart):
        unpack(TRACE, Digest(b"0" * 16), blob)


def test_a_part_under_a_foreign_digest_is_damaged() -> None:
    with pytest.raises(DamagedPart):
        unpack(TRACE, packed(span("b")).digest, packed(span("a")).blob)
