"""The recordings hold what their README says, and the oracle knows the answer of the one that carries it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache

import msgspec
import pytest
from sentry_kafka_schemas import get_codec

from demo.otlp import SpanObject
from demo.recordings import NAMES, Recorded, batches
from tests.oracle import Segment, SpanKey, carried_segment_id, row, segment_ids, segments, without_segment_id


@cache
def recorded(name: str) -> list[Recorded]:
    return list(batches(name))


def spans(name: str) -> Iterator[SpanObject]:
    return (span for batch in recorded(name) for span in batch.spans)


@pytest.mark.parametrize(
    ("name", "requests", "count", "distinct", "traces"),
    [
        ("otel-demo-clean", 202, 45_236, 45_236, 786),
        ("otel-demo-faults", 163, 31_935, 28_835, 582),
        ("sentry-demo", 4_485, 24_987, 24_987, 486),
    ],
)
def test_counts(name: str, requests: int, count: int, distinct: int, traces: int) -> None:
    ids = Counter((span["project_id"], span["trace_id"], span["span_id"]) for span in spans(name))

    assert len(recorded(name)) == requests
    assert ids.total() == count
    assert len(ids) == distinct
    assert len({trace_id for _, trace_id, _ in ids}) == traces


@pytest.mark.parametrize("name", NAMES)
def test_spans_validate_against_the_schema(name: str) -> None:
    codec = get_codec("ingest-spans")
    for span in list(spans(name))[::1000]:
        codec.decode(msgspec.json.encode(span), validate=True)


def test_five_services_are_five_projects_with_the_same_numbers_in_every_recording() -> None:
    assert {span["project_id"] for name in NAMES for span in spans(name)} == {1, 2, 3, 4, 5}


def test_the_clean_recording_is_whole() -> None:
    rows = [row(span) for span in spans("otel-demo-clean")]

    found = segments(rows)

    roots = {Segment(r.project_id, r.trace_id, r.span_id) for r in rows if r.is_segment}
    assert found.keys() == roots
    assert len(found) == 6_605
    assert max(map(len, found.values())) == 6_004


def test_the_faulty_recording_has_segments_whose_root_never_came() -> None:
    rows = [row(span) for span in spans("otel-demo-faults")]

    found = segments(rows)

    roots = {Segment(r.project_id, r.trace_id, r.span_id) for r in rows if r.is_segment}
    assert len(found) == 4_505
    assert len(found.keys() - roots) == 5


def test_without_its_segment_ids_the_sentry_recording_comes_out_as_the_sdk_says() -> None:
    said = {SpanKey(*row(span)[:3]): carried_segment_id(span) for span in spans("sentry-demo")}

    answers = segment_ids(row(without_segment_id(span)) for span in spans("sentry-demo"))

    different = [key for key, answer in answers.items() if answer != said[key]]
    segment_spans = {SpanKey(*row(span)[:3]) for span in spans("sentry-demo") if span["is_segment"]}
    assert len(answers) == 24_987
    assert len(set(zip((key[:2] for key in said), said.values(), strict=True))) == 4_367
    assert len(different) == 3
    assert not any(key._replace(span_id=answers[key]) in segment_spans for key in different)
