"""What leaves the buffer: messages of a segment, against the schema of whom they are for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sentry_kafka_schemas import get_codec

from buffer import FlushReason, Receipt, Segment, Span
from buffer.model import FlushId, LeaseUs, SegmentKey, Trace
from tests.builders import TRACE_ID, span, span_id

ROOT = span_id("root")
FLUSH_ID = "0123456789abcdef" * 2


def full_span(name: str, parent: str | None = None, **changes: object) -> Span:
    fields: dict[str, object] = {
        "organization_id": 1,
        "project_id": 1,
        "trace_id": TRACE_ID,
        "span_id": span_id(name),
        "parent_span_id": span_id(parent) if parent else None,
        "start_timestamp": 1795344793.814,
        "end_timestamp": 1795344793.819,
        "retention_days": 90,
        "received": 1795344795.5,
        "name": "GET /cart",
        "status": "ok",
        "is_remote": False,
        "attributes": {"sentry.op": {"type": "string", "value": "http.server"}, "n": {"type": "integer", "value": 3}},
        **changes,
    }
    return Span(1, TRACE_ID, span_id(name), span_id(parent) if parent else None, payload=json.dumps(fields).encode())


def segment(*spans: Span, addendum: bool = False, max_message_bytes: int = 2**20, root: str = ROOT) -> Segment:
    trace = Trace(1, TRACE_ID)
    return Segment(
        trace,
        root,
        list(spans),
        FLUSH_ID,
        FlushReason.ROOT_TIMEOUT,
        addendum,
        Receipt(trace, SegmentKey(bytes.fromhex(root)), 0, LeaseUs(1), FlushId(bytes.fromhex(FLUSH_ID))),
        max_message_bytes,
    )


def decoded(given: Segment) -> list[dict[str, Any]]:
    return [json.loads(message) for message in given.messages()]


def test_a_message_names_the_segment_and_why_it_was_flushed() -> None:
    [message] = decoded(segment(full_span("root"), full_span("b", "root")))

    assert {key: value for key, value in message.items() if key != "spans"} == {
        "flush_id": FLUSH_ID,
        "project_id": 1,
        "trace_id": TRACE_ID,
        "segment_id": ROOT,
        "flush_reason": "root_timeout",
    }
    assert [each["span_id"] for each in message["spans"]] == [ROOT, span_id("b")]


@pytest.mark.parametrize("addendum", [False, True])
@pytest.mark.parametrize("limit", [2**20, 3000])
def test_messages_validate_against_the_schema(addendum: bool, limit: int) -> None:
    spans = [full_span("root"), *(full_span(f"s{n}", "root") for n in range(10))]
    codec = get_codec("buffered-segments")

    for message in segment(*spans, addendum=addendum, max_message_bytes=limit).messages():
        codec.decode(message, validate=True)


def test_what_goes_in_validates_too() -> None:
    """Or the test above would show nothing about real input."""
    get_codec("ingest-spans").decode(full_span("b", "root").payload, validate=True)


def test_the_root_and_only_the_root_is_marked() -> None:
    [message] = decoded(segment(full_span("root"), full_span("b", "root", is_segment=True), full_span("c", "b")))

    assert [each["is_segment"] for each in message["spans"]] == [True, False, False]


def test_a_local_root_with_a_parent_is_marked() -> None:
    local = Span(1, TRACE_ID, ROOT, span_id("up"), True, payload=full_span("root", "up").payload)

    assert decoded(segment(local))[0]["spans"][0]["is_segment"] is True


def test_a_segment_without_its_root_marks_none() -> None:
    [message] = decoded(segment(full_span("b", "gone"), root=span_id("gone")))

    assert message["segment_id"] == span_id("gone")
    assert [each["is_segment"] for each in message["spans"]] == [False]


def test_every_span_names_its_segment_unless_it_does_already() -> None:
    given = {"sentry.segment.id": {"type": "string", "value": span_id("other")}}
    [message] = decoded(segment(full_span("root"), full_span("b", "root", attributes=given)))

    assert [each["attributes"]["sentry.segment.id"]["value"] for each in message["spans"]] == [ROOT, span_id("other")]


@pytest.mark.parametrize("attributes", [None, {}, "text", {"sentry.segment.id": None}])
def test_attributes_that_are_none_or_nonsense_do_not_stop_a_message(attributes: object) -> None:
    [message] = decoded(segment(full_span("root", attributes=attributes)))

    assert message["spans"][0]["attributes"]["sentry.segment.id"] == {"type": "string", "value": ROOT}


def test_everything_else_of_a_span_stays() -> None:
    sent = full_span(
        "root", note="Grüße \u2028 \U0001f600", big=2**63, small=-(2**63), nested={"a": [1, 2.5, None, True]}
    )
    [message] = decoded(segment(sent))

    got = message["spans"][0]
    del got["attributes"]["sentry.segment.id"], got["is_segment"]
    assert got == json.loads(sent.payload)


def test_a_large_segment_is_split_and_skips_enrichment() -> None:
    spans = [full_span("root"), *(full_span(f"s{n}", "root") for n in range(50))]
    parts = segment(*spans, max_message_bytes=5000).messages()

    assert len(parts) > 1
    assert max(map(len, parts)) <= 5000
    messages = [json.loads(part) for part in parts]
    assert [message["flush_id"] for message in messages] == [f"{FLUSH_ID}-{n}" for n in range(1, len(parts) + 1)]
    assert all(message["skip_enrichment"] is True for message in messages)
    assert [each["span_id"] for message in messages for each in message["spans"]] == [each.span_id for each in spans]


def test_a_segment_that_fits_is_not_split() -> None:
    [message] = decoded(segment(full_span("root")))

    assert "skip_enrichment" not in message


def test_a_span_that_fills_a_message_alone() -> None:
    parts = segment(full_span("root", fill="x" * 4000), full_span("b", "root"), max_message_bytes=5000).messages()

    assert [len(json.loads(part)["spans"]) for part in parts] == [1, 1]


def test_an_addendum_says_so() -> None:
    assert decoded(segment(full_span("b", "root"), addendum=True))[0]["addendum"] is True
    assert "addendum" not in decoded(segment(full_span("b", "root")))[0]


def test_a_repeat_is_equal_byte_for_byte() -> None:
    spans = [full_span("root"), full_span("b", "root")]

    assert segment(*spans).messages() == segment(*spans).messages()


def test_messages_need_no_more_than_what_append_accepts() -> None:
    """The builders' spans: ids and nothing else."""
    [message] = decoded(segment(span("root"), span("b", "root")))

    assert len(message["spans"]) == 2
