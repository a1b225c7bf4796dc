"""OTLP-JSON to span objects."""

from __future__ import annotations

import msgspec
import pytest
from sentry_kafka_schemas import get_codec

from demo.otlp import ExportTraceServiceRequest, SpanObject, convert

TRACE = "5B8EFFF798038103D269B633813FC60C"
SPAN: dict[str, object] = {
    "traceId": TRACE,
    "spanId": "EEE19B7EC3C1B174",
    "name": "GET /",
    "kind": 2,
    "startTimeUnixNano": "1795344793814914278",
    "endTimeUnixNano": "1795344793819544854",
}


def converted(
    *spans: dict[str, object], service: str = "gateway", projects: dict[str, int] | None = None
) -> list[SpanObject]:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]} if service else {}
    request = {
        "resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "lib"}, "spans": list(spans)}]}]
    }
    decoded = msgspec.convert(request, ExportTraceServiceRequest)
    made = list(convert(decoded, received=1795344795.5, projects={} if projects is None else projects))
    codec = get_codec("ingest-spans")
    for span in made:
        codec.decode(msgspec.json.encode(span), validate=True)
    return made


def attributes(**values: object) -> dict[str, object]:
    (span,) = converted(SPAN | {"attributes": [{"key": key, "value": value} for key, value in values.items()]})
    found = span["attributes"]
    assert isinstance(found, dict)
    return found


def test_ids_times_and_the_rest_in_the_form_of_ingest_spans() -> None:
    (span,) = converted(SPAN | {"parentSpanId": "AAAAAAAAAAAAAAAA", "flags": 0x101})

    assert span == {
        "organization_id": 1,
        "project_id": 1,
        "received": 1795344795.5,
        "retention_days": 30,
        "trace_id": TRACE.lower(),
        "span_id": "eee19b7ec3c1b174",
        "parent_span_id": "aaaaaaaaaaaaaaaa",
        "name": "GET /",
        "status": "ok",
        "is_segment": False,
        "start_timestamp": 1795344793.814914,
        "end_timestamp": 1795344793.819545,
        "attributes": {
            "service.name": {"type": "string", "value": "gateway"},
            "instrumentation.name": {"type": "string", "value": "lib"},
            "sentry.kind": {"type": "string", "value": "server"},
        },
    }


@pytest.mark.parametrize(
    ("parent", "flags", "begins"),
    [
        ({}, 0x100, True),
        ({"parentSpanId": ""}, 0, True),
        ({"parentSpanId": "aaaaaaaaaaaaaaaa"}, 0x300, True),
        ({"parentSpanId": "aaaaaaaaaaaaaaaa"}, 0x301, True),
        ({"parentSpanId": "aaaaaaaaaaaaaaaa"}, 0x100, False),
        ({"parentSpanId": "aaaaaaaaaaaaaaaa"}, 0x200, False),  # "is remote" says nothing without "has is remote"
        ({"parentSpanId": "aaaaaaaaaaaaaaaa"}, 0, False),
    ],
)
def test_a_segment_begins_without_a_parent_or_with_a_remote_one(
    parent: dict[str, object], flags: int, begins: bool
) -> None:
    (span,) = converted(SPAN | parent | {"flags": flags})

    assert span["is_segment"] is begins


def test_every_kind_of_attribute_value() -> None:
    found = attributes(
        text={"stringValue": ""},
        truth={"boolValue": False},
        count={"intValue": "9007199254740993"},
        small={"intValue": 0},
        ratio={"doubleValue": 0.5},
        raw={"bytesValue": "AAE="},
        many={"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "b"}]}},
        pairs={"kvlistValue": {"values": [{"key": "k", "value": {"boolValue": True}}]}},
        nothing={},
    )

    assert found["text"] == {"type": "string", "value": ""}
    assert found["truth"] == {"type": "boolean", "value": False}
    assert found["count"] == {"type": "integer", "value": 9007199254740993}
    assert found["small"] == {"type": "integer", "value": 0}
    assert found["ratio"] == {"type": "double", "value": 0.5}
    assert found["raw"] == {"type": "string", "value": "AAE="}
    assert found["many"] == {"type": "array", "value": [1, "b"]}
    assert found["pairs"] == {"type": "object", "value": {"k": True}}
    assert found["nothing"] is None


@pytest.mark.parametrize(("code", "status"), [(0, "ok"), (1, "ok"), (2, "error")])
def test_status(code: int, status: str) -> None:
    (span,) = converted(SPAN | {"status": {"code": code, "message": "why"}})

    assert span["status"] == status
    assert span["attributes"]["sentry.status.message"] == {"type": "string", "value": "why"}  # type: ignore[index]


def test_links_keep_their_ids_and_attributes() -> None:
    link = {"traceId": TRACE, "spanId": "AB" * 8, "attributes": [{"key": "a", "value": {"intValue": "1"}}]}
    (span,) = converted(SPAN | {"links": [link]})

    assert span["links"] == [
        {"trace_id": TRACE.lower(), "span_id": "ab" * 8, "attributes": {"a": {"type": "integer", "value": 1}}}
    ]


def test_a_service_keeps_its_project_and_a_new_one_gets_the_next() -> None:
    projects = {"gateway": 1, "worker": 4}

    numbers = [
        converted(SPAN, service=service, projects=projects)[0]["project_id"]
        for service in ("worker", "new", "gateway", "newer", "new", "")
    ]

    assert numbers == [4, 5, 1, 6, 5, 7]
    assert projects["unknown_service"] == 7
