"""Spans -> parts: what goes together is decided by the batch alone."""

from __future__ import annotations

from itertools import permutations

from msgspec.structs import replace

from buffer.codec import MAX_PART_BYTES, Codec
from buffer.grouping import MAX_PART_SPANS, group
from buffer.model import Part, Span, Trace
from tests.builders import TRACE_ID, chain, name_of, span, trace_id

LIMIT = 2**20
CODEC = Codec()


def parts(*spans: Span) -> list[Part]:
    traces, outcomes = group(spans, LIMIT, CODEC)
    assert not +outcomes
    return [part for members in traces.values() for part in members]


def shown(*spans: Span) -> dict[str, tuple[bool, list[str]]]:
    """Parent -> (root known, span names in order)."""
    return {
        name_of(part.parent.hex()): (
            part.has_root,
            [name_of(part.span_ids[at : at + 8].hex()) for at in range(0, len(part.span_ids), 8)],
        )
        for part in parts(*spans)
    }


def test_a_tree_is_one_part_under_its_root() -> None:
    assert shown(span("a"), span("b", "a"), span("c", "b")) == {"a": (True, ["a", "b", "c"])}


def test_children_before_their_parents() -> None:
    assert shown(*reversed(chain("a", "b", "c"))) == {"a": (True, ["c", "b", "a"])}


def test_a_missing_parent_names_the_part() -> None:
    assert shown(span("c", "b"), span("d", "c"), span("e", "b")) == {"b": (False, ["c", "d", "e"])}


def test_a_local_root_takes_what_is_below_it() -> None:
    assert shown(span("a"), span("b", "a", is_segment=True), span("c", "b")) == {
        "a": (True, ["a"]),
        "b": (True, ["b", "c"]),
    }


def test_a_given_segment_id_decides_for_the_span_and_those_below_it() -> None:
    assert shown(span("b", "a", segment="r"), span("c", "b")) == {"r": (False, ["b", "c"])}


def test_a_span_that_names_itself_as_segment_is_its_root() -> None:
    assert shown(span("b", "a", segment="b")) == {"b": (True, ["b"])}


def test_is_segment_decides_before_a_given_segment_id() -> None:
    assert shown(span("b", "a", is_segment=True, segment="r")) == {"b": (True, ["b"])}


def test_traces_and_projects_are_apart() -> None:
    traces, _ = group([span("a"), span("b", "a", project=2), span("c", "a", trace=trace_id(1))], LIMIT, CODEC)

    assert list(traces) == [Trace(1, TRACE_ID), Trace(2, TRACE_ID), Trace(1, trace_id(1))]


def test_the_same_batch_gives_the_same_parts() -> None:
    """A redelivered batch is recognised by its digests."""
    batch = [span("a"), span("c", "b"), span("d", "a")]

    assert parts(*batch) == parts(*batch)


def test_circles_are_cut_and_end() -> None:
    for order in permutations([span("a", "b"), span("b", "c"), span("c", "a"), span("d", "a"), span("e", "e")]):
        found = shown(*order)
        assert sorted(name for _, names in found.values() for name in names) == ["a", "b", "c", "d", "e"]


def test_a_deep_chain_is_no_recursion() -> None:
    levels = chain(*(f"n{n}" for n in range(5_000)))

    assert {part.parent for part in parts(*reversed(levels))} == {bytes.fromhex(levels[0].span_id)}


def test_a_large_subsegment_is_sliced_by_spans() -> None:
    sliced = parts(span("a"), *(span(f"s{n}", "a") for n in range(2 * MAX_PART_SPANS)))

    assert [part.count for part in sliced] == [MAX_PART_SPANS, MAX_PART_SPANS, 1]
    assert [part.has_root for part in sliced] == [True, False, False]
    assert {part.parent for part in sliced} == {bytes.fromhex(span("a").span_id)}


def test_a_large_subsegment_is_sliced_by_bytes() -> None:
    third = MAX_PART_BYTES // 3 + 1

    assert [part.count for part in parts(*(span(f"s{n}", "a", size=third) for n in range(5)))] == [2, 2, 1]


def test_one_span_over_the_bytes_of_a_part_is_a_part() -> None:
    _, outcomes = group([span("a", size=MAX_PART_BYTES + 10)], 2 * MAX_PART_BYTES, CODEC)

    assert not +outcomes


def test_the_first_of_two_spans_with_one_id_decides() -> None:
    assert shown(span("b", "a"), span("b", "x", note="else")) == {"a": (False, ["b", "b"])}


def test_what_cannot_be_keyed_is_counted_by_reason() -> None:
    good = span("a")
    traces, outcomes = group(
        [
            good,
            replace(good, span_id="A" * 16),
            replace(good, trace_id="0" * 31),
            replace(good, parent_span_id="}" * 16),
            replace(good, segment_id="\0" * 16),
            replace(good, project_id=-1),
            replace(good, payload=b""),
            replace(good, payload=b"{" + b" " * LIMIT + b"}"),
        ],
        LIMIT,
        CODEC,
    )

    assert [part.count for part in traces[Trace(1, TRACE_ID)]] == [1]
    assert outcomes == dict.fromkeys(
        (
            "invalid.bad_span_id",
            "invalid.bad_trace_id",
            "invalid.bad_parent_span_id",
            "invalid.bad_segment_id",
            "invalid.bad_project_id",
            "invalid.not_an_object",
            "invalid.span_too_large",
        ),
        1,
    )


def test_nothing() -> None:
    assert group([], LIMIT, CODEC) == ({}, {})
