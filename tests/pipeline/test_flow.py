"""Spans in as a task, segments out of the queue, through real workers; and bad input that costs no neighbour."""

import json

import pytest
import zstandard

from tests.pipeline.outside import TRACE, Pipeline, span, span_id, span_ids


@pytest.mark.spanbuf(root_timeout=1)  # the second batch must find the first one's segment open
def test_batches_that_arrive_child_first_come_out_as_one_segment(pipeline: Pipeline) -> None:
    pipeline.send([span(3, parent=2)])
    pipeline.send([span(2, parent=1), span(1)])

    [segment] = pipeline.all_segments()

    assert span_ids([segment]) == [span_id(1), span_id(2), span_id(3)]
    assert (segment["project_id"], segment["trace_id"], segment["segment_id"]) == (1, TRACE, span_id(1))
    assert {span["attributes"]["sentry.segment.id"]["value"] for span in segment["spans"]} == {span_id(1)}
    assert [span["span_id"] for span in segment["spans"] if span["is_segment"]] == [span_id(1)]
    assert pipeline.buffer.outcomes() == {}


def test_text_is_taken_as_a_json_array_or_as_one_object_a_line_or_compressed(pipeline: Pipeline) -> None:
    pipeline.send(json.dumps([span(1), span(2, parent=1)]).encode())
    pipeline.send("\n".join(json.dumps(each) for each in (span(3, parent=1), span(4, parent=1))).encode())

    pipeline.send(zstandard.compress(json.dumps([span(5, parent=1)]).encode()))

    assert span_ids(pipeline.all_segments()) == [span_id(number) for number in (1, 2, 3, 4, 5)]


def test_bad_spans_become_outcomes_and_their_neighbours_go_out(pipeline: Pipeline) -> None:
    bad = [
        span(2, trace_id="not a trace"),
        span(3, parent=3),
        span(4, span_id=None),
        span(5, attributes="text"),
        "not an object",
    ]

    pipeline.send([span(1), *bad, span(6, parent=1)])

    assert span_ids(pipeline.all_segments()) == [span_id(1), span_id(6)]
    assert pipeline.buffer.outcomes() == {
        "invalid.bad_trace_id": 1,
        "invalid.parent_is_self": 1,
        "invalid.missing_span_id": 1,
        "invalid.bad_attributes": 1,
        "invalid.not_an_object": 1,
    }


def test_batches_that_are_none_are_counted_once_and_do_not_loop(pipeline: Pipeline) -> None:
    pipeline.send(b"{ this is not JSON")
    pipeline.send(17)
    pipeline.send(b"\xff\xfe not UTF-8")
    pipeline.send([])
    pipeline.send()
    pipeline.send([span(1)], "one too many")
    pipeline.send(spans=[span(2)])
    pipeline.send([span(3)])

    assert span_ids(pipeline.all_segments()) == [span_id(3)]
    outcomes = pipeline.buffer.outcomes()
    assert outcomes["invalid.wrong_arguments"] == 3
    assert outcomes["invalid.not_a_list"] == 1
    assert outcomes["invalid.not_json"] == 1
    assert outcomes["invalid.not_utf8"] == 1
    assert pipeline.ended("spans.ingest") == 8


@pytest.mark.spanbuf(max_batch_spans=100)
def test_a_batch_over_the_limit_goes_in_up_to_it(pipeline: Pipeline) -> None:
    pipeline.send([span(number, parent=1 if number > 1 else None) for number in range(1, 151)])

    assert len(span_ids(pipeline.all_segments())) == 100
    assert pipeline.buffer.outcomes() == {"invalid.batch_too_large": 50}
