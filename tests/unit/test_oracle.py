"""The oracle on trees small enough to be checked by eye. ``a>b`` reads: b's parent is a."""

from __future__ import annotations

import pytest

from tests.oracle import Row, Segment, segments, without_segment_id

TRACE = "0" * 31 + "1"


def span(
    name: str, parent: str | None = None, *, project: int = 1, is_segment: bool = False, into: str | None = None
) -> Row:
    return Row(project, TRACE, name, parent, is_segment, into)


def grouped(*rows: Row) -> dict[str, set[str]]:
    return {f"{key.project_id}:{key.segment_id}": members for key, members in segments(rows).items()}


def test_children_join_their_root_whatever_the_order() -> None:
    tree = [span("a"), span("b", "a"), span("c", "b")]

    assert grouped(*tree) == grouped(*reversed(tree)) == {"1:a": {"a", "b", "c"}}


def test_a_segment_span_takes_its_subtree_with_it() -> None:
    assert grouped(span("a"), span("b", "a", is_segment=True), span("c", "b")) == {"1:a": {"a"}, "1:b": {"b", "c"}}


def test_a_parent_that_never_came_names_the_segment() -> None:
    assert grouped(span("b", "a"), span("c", "b"), span("d", "a")) == {"1:a": {"b", "c", "d"}}


def test_a_parent_in_another_project_never_came() -> None:
    assert grouped(span("a"), span("b", "a", project=2)) == {"1:a": {"a"}, "2:a": {"b"}}


def test_a_given_segment_id_decides_for_the_span_and_those_below_it() -> None:
    assert grouped(span("a"), span("b", "a", into="s"), span("c", "b")) == {"1:a": {"a"}, "1:s": {"b", "c"}}


def test_being_a_root_comes_before_a_given_segment_id() -> None:
    assert grouped(span("a", into="s"), span("b", "a", is_segment=True, into="s")) == {"1:a": {"a"}, "1:b": {"b"}}


def test_a_chain_longer_than_the_stack() -> None:
    rows = [span(str(n), str(n - 1) if n else None) for n in range(20_000)]

    assert {key: len(members) for key, members in segments(reversed(rows)).items()} == {Segment(1, TRACE, "0"): 20_000}


def test_a_circle_has_no_answer() -> None:
    with pytest.raises(ValueError, match="circle"):
        segments([span("a", "b"), span("b", "a")])


def test_taking_the_segment_id_out_leaves_the_rest() -> None:
    carried = {"segment_id": "s", "name": "n", "attributes": {"sentry.segment.id": {"value": "s"}, "k": None}}

    assert without_segment_id(carried) == {"name": "n", "attributes": {"k": None}}
