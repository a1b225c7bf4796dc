"""Part bytes <-> spans."""

from __future__ import annotations

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from buffer.codec import HEADER, MAX_PART_BYTES, Codec
from buffer.errors import DamagedPart
from buffer.model import Digest, Part, SegmentKey, Span, Trace
from tests.builders import TRACE_ID, chain, span, trace_id

TRACE = Trace(1, TRACE_ID)
KEY = SegmentKey(b"12345678")
CODEC = Codec()

# Few and alike, so that they are equal, overlap, and stand in each other: the trace's id is twice "0123456789abcdef".
ids = st.sampled_from(["0123456789abcdef", "123456789abcdef0", "1111111111111111", "0" * 16]) | st.integers(
    0, 2**64 - 1
).map("{:016x}".format)
payloads = st.binary(max_size=60) | st.lists(
    st.sampled_from([*range(8), *b"ghijkl01f"]).map(lambda byte: bytes([byte])) | ids.map(str.encode), max_size=12
).map(b"".join)
spans = st.builds(Span, st.just(1), st.just(TRACE_ID), ids, st.none() | ids, st.booleans(), st.none() | ids, payloads)


def packed(*members: Span) -> Part:
    return CODEC.pack(KEY, True, members)


@settings(max_examples=300)
@given(st.lists(spans, min_size=1, max_size=20))
def test_what_is_packed_comes_back(members: list[Span]) -> None:
    part = packed(*members)

    assert CODEC.unpack(TRACE, part.digest, part.blob) == members
    assert HEADER.unpack_from(part.blob) == (2, 0, len(members), sum(len(each.payload) for each in members))
    assert part.span_ids == bytes.fromhex("".join(each.span_id for each in members))


def test_payloads_of_nothing_but_what_is_escaped_come_back() -> None:
    """They take twice their bytes, which is what unpack makes room for."""
    members = [replace(span("a", "b", segment="c"), payload=bytes([byte]) * 1000) for byte in range(6)]
    part = packed(*members)

    assert CODEC.unpack(TRACE, part.digest, part.blob) == members


def test_a_span_comes_back_in_the_trace_it_is_stored_under() -> None:
    part = packed(span("a"))

    assert CODEC.unpack(Trace(1, trace_id(3)), part.digest, part.blob) == [span("a", trace=trace_id(3))]


def test_ids_cost_nothing_where_they_are_repeated() -> None:
    one = replace(span("a", "b"), payload=b'{"trace":"%b","id":"%b","parent":"%b"}' % (b"t", b"i", b"p"))
    other = replace(
        one,
        payload=b'{"trace":"%b","id":"%b","parent":"%b"}'
        % (one.trace_id.encode(), one.span_id.encode(), (one.parent_span_id or "").encode()),
    )

    assert len(packed(other).blob) == len(packed(one).blob)


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
        CODEC.unpack(TRACE, Digest(b"0" * 16), blob)


def test_a_part_under_a_foreign_digest_is_damaged() -> None:
    with pytest.raises(DamagedPart, match="digest names"):
        CODEC.unpack(TRACE, packed(span("b")).digest, packed(span("a")).blob)


@pytest.mark.parametrize(("spans_more", "bytes_more"), [(1, 0), (0, 1), (2**10, 0)])
def test_a_header_that_says_something_else_is_damaged(spans_more: int, bytes_more: int) -> None:
    """It is not in the digest, but in what the digest names."""
    part = packed(*chain("a", "b"))
    version, dictionary, count, raw_bytes = HEADER.unpack_from(part.blob)
    header = HEADER.pack(version, dictionary, count + spans_more, raw_bytes + bytes_more)

    with pytest.raises(DamagedPart, match=r"than it says|as it says"):
        CODEC.unpack(TRACE, part.digest, header + part.blob[HEADER.size :])


@pytest.mark.parametrize("says_its_size", [True, False])
def test_a_bomb_does_not_go_off(says_its_size: bool) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        1, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=says_its_size, write_checksum=False
    )
    frame = zstandard.ZstdCompressor(compression_params=parameters).compress(bytes(2**24))

    for raw_bytes in (100, MAX_PART_BYTES, 2**32 - 1):
        with pytest.raises(DamagedPart, match=r"cannot be read|another kind|max_segment_bytes"):
            CODEC.unpack(TRACE, Digest(b"0" * 16), HEADER.pack(2, 0, 1, raw_bytes) + frame)
