"""Small trees in every order and in every cut into batches, against the oracle. Each variant is a trace of its own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise, permutations, zip_longest

import pytest
from msgspec.structs import replace
from redis import Redis

from buffer import Segment, Span
from tests import oracle
from tests.builders import TRACE_ID, identities, span, trace_id
from tests.flow import Flow, leftovers

SHAPES = {
    "a chain": [span("a"), span("b", "a"), span("c", "b"), span("d", "c"), span("e", "d")],
    "a fan": [span("a"), span("b", "a"), span("c", "a"), span("d", "a"), span("e", "a")],
    "a tree": [span("a"), span("b", "a"), span("c", "a"), span("d", "b"), span("e", "c")],
    "two roots": [span("a"), span("b", "a"), span("r"), span("d", "r"), span("e", "d")],
    "a local root": [span("a"), span("b", "a"), span("r", "b", is_segment=True), span("d", "r"), span("e", "d")],
    "a missing root": [span("b", "a"), span("c", "b"), span("d", "a"), span("e", "d"), span("f", "e")],
    "two missing roots": [span("b", "a"), span("c", "b"), span("y", "x"), span("z", "y")],
    "a given segment id": [
        span("r", "up", is_segment=True),
        span("b", "lost", segment="r"),
        span("c", "b"),
        span("d", "c", segment="r"),
        span("e", "d"),
    ],
    "given segment ids without their root": [span("b", "a", segment="r"), span("c", "b"), span("d", "x", segment="r")],
}
ROOMY = {"max_segment_bytes": 10 * 2**20}
TIGHT = {"max_segment_bytes": 400, "max_span_bytes": 300}
"""Two spans fill a segment: overflows, and merges that are refused."""


def cuts(spans: tuple[Span, ...]) -> Iterator[list[tuple[Span, ...]]]:
    for count in range(len(spans)):
        for inner in combinations(range(1, len(spans)), count):
            bounds = [0, *inner, len(spans)]
            yield [spans[a:b] for a, b in pairwise(bounds)]


def variants(spans: list[Span]) -> list[list[tuple[Span, ...]]]:
    return [batches for order in permutations(spans) for batches in cuts(order)]


def in_trace(number: int, batch: tuple[Span, ...]) -> list[Span]:
    return [replace(each, trace_id=trace_id(number)) for each in batch]


def append_round_by_round(flow: Flow, given: list[list[tuple[Span, ...]]]) -> Iterator[None]:
    """The first batch of every variant, then the second of every variant, ..."""
    for batches in zip_longest(*given, fillvalue=()):
        flow.append(*(each for number, batch in enumerate(batches) for each in in_trace(number, batch)))
        yield


def by_trace(segments: list[Segment]) -> dict[str, dict[str, set[str]]]:
    found: dict[str, dict[str, set[str]]] = {}
    for segment in segments:
        members = found.setdefault(segment.trace_id, {}).setdefault(segment.segment_id, set())
        members |= {each.span_id for each in segment.spans}
    return found


@pytest.mark.parametrize("limits", [ROOMY, TIGHT], ids=["roomy", "tight"])
@pytest.mark.parametrize("spans", SHAPES.values(), ids=SHAPES.keys())
def test_every_order_and_every_cut_gives_the_oracles_segments(
    redis_client: Redis, spans: list[Span], limits: dict[str, int]
) -> None:
    """Catches a link that is not followed or not kept, a merge that is forgotten, a root that is guessed too early."""
    expected = {key.segment_id: members for key, members in oracle.segments(spans).items()}
    flow = Flow(redis_client, flush_limit=100_000, **limits)
    given = variants(spans)

    for _ in append_round_by_round(flow, given):
        pass
    flow.drain()

    found = by_trace(flow.published)
    assert len(found) == len(given)
    wrong = [number for number in range(len(given)) if found[trace_id(number)] != expected]
    assert not wrong, [[[each.payload for each in batch] for batch in given[number]] for number in wrong[:1]]
    assert len(flow.spans) == len(given) * len(spans)
    assert leftovers(redis_client) == []


@pytest.mark.parametrize("limits", [ROOMY, TIGHT], ids=["roomy", "tight"])
@pytest.mark.parametrize("shape", ["a chain", "a tree", "a local root"])
def test_a_flush_after_every_batch_loses_nothing_and_repeats_nothing(
    redis_client: Redis, shape: str, limits: dict[str, int]
) -> None:
    """Which segment is a matter of time then. Catches a flush that breaks the links, or the counters, behind it."""
    flow = Flow(redis_client, flush_limit=100_000, **limits)
    given = variants(SHAPES[shape][:4])

    for _ in append_round_by_round(flow, given):
        flow.wait(60)
        flow.flush()
    flow.drain()

    sent = [each for number in range(len(given)) for each in in_trace(number, tuple(SHAPES[shape][:4]))]
    assert identities(flow.spans) == identities(sent)
    assert leftovers(redis_client) == []


def test_the_oracle_itself_sees_what_the_shapes_are_for() -> None:
    assert {len(oracle.segments(spans)) for spans in SHAPES.values()} == {1, 2}
    assert all(each.trace_id == TRACE_ID for spans in SHAPES.values() for each in spans)
