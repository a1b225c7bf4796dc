"""An OTLP-JSON ExportTraceServiceRequest as span objects in the form of Sentry's ``ingest-spans``.

First station of a demo span: recordings -> here -> replay -> ``spans.ingest``. Every OTLP span gives exactly one
span object, and its ids and times are not touched beyond their spelling. A segment begins where a span has no
parent, or where OTLP's flags say that the parent is in another process. Span events have no place in
``ingest-spans`` and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping

import msgspec

SpanObject = dict[str, object]

ORGANIZATION_ID = 1
RETENTION_DAYS = 30
PARENT_IS_REMOTE = 0x100 | 0x200
"""Bit 8 says that bit 9 is meant; bit 9 that the parent is in another process."""

KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
STATUS_ERROR = 2
TYPES = {str: "string", bool: "boolean", int: "integer", float: "double", list: "array", dict: "object"}
RESOURCE = ("service.name", "service.version", "service.instance.id", "deployment.environment.name")
"""The resource attributes that tell spans of one project apart; the SDK's own are the same on every span."""


class AnyValue(msgspec.Struct, rename="camel", gc=False):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: str | int | None = None
    double_value: float | str | None = None
    bytes_value: str | None = None
    array_value: ArrayValue | None = None
    kvlist_value: KeyValueList | None = None

    def plain(self) -> object:
        """The value as JSON has it: 64-bit integers come as strings, bytes stay base64, no value is None."""
        if self.int_value is not None:
            return int(self.int_value)
        if self.array_value is not None:
            return [value.plain() for value in self.array_value.values]
        if self.kvlist_value is not None:
            return {pair.key: pair.value.plain() for pair in self.kvlist_value.values}
        scalars = (self.string_value, self.bool_value, self.double_value, self.bytes_value)
        return next((value for value in scalars if value is not None), None)


class ArrayValue(msgspec.Struct, gc=False):
    values: list[AnyValue] = []


class KeyValue(msgspec.Struct, gc=False):
    key: str
    value: AnyValue = msgspec.field(default_factory=AnyValue)


class KeyValueList(msgspec.Struct, gc=False):
    values: list[KeyValue] = []


class Resource(msgspec.Struct, gc=False):
    attributes: list[KeyValue] = []


class Scope(msgspec.Struct, gc=False):
    name: str = ""
    version: str = ""


class Status(msgspec.Struct, gc=False):
    code: int = 0
    message: str = ""


class Link(msgspec.Struct, rename="camel", gc=False):
    trace_id: str
    span_id: str
    attributes: list[KeyValue] = []


class OtlpSpan(msgspec.Struct, rename="camel", gc=False):
    trace_id: str
    span_id: str
    start_time_unix_nano: str
    end_time_unix_nano: str
    name: str = ""
    parent_span_id: str = ""
    kind: int = 0
    flags: int = 0
    attributes: list[KeyValue] = []
    status: Status = msgspec.field(default_factory=Status)
    links: list[Link] = []


class ScopeSpans(msgspec.Struct, gc=False):
    scope: Scope = msgspec.field(default_factory=Scope)
    spans: list[OtlpSpan] = []


class ResourceSpans(msgspec.Struct, rename="camel", gc=False):
    resource: Resource = msgspec.field(default_factory=Resource)
    scope_spans: list[ScopeSpans] = []


class ExportTraceServiceRequest(msgspec.Struct, rename="camel", gc=False):
    resource_spans: list[ResourceSpans] = []


def convert(
    request: ExportTraceServiceRequest, *, received: float, projects: MutableMapping[str, int]
) -> Iterator[SpanObject]:
    """The request's spans in their order. A service that ``projects`` does not know gets the next free number there."""
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        service = _service_name(resource)
        project_id = projects.setdefault(service, max(projects.values(), default=0) + 1)
        for scope_spans in resource_spans.scope_spans:
            shared = {key: resource[key] for key in RESOURCE if key in resource} | _scope(scope_spans.scope)
            for span in scope_spans.spans:
                yield _span_object(span, shared, project_id, received)


def _span_object(span: OtlpSpan, shared: SpanObject, project_id: int, received: float) -> SpanObject:
    made: SpanObject = {
        "organization_id": ORGANIZATION_ID,
        "project_id": project_id,
        "received": received,
        "retention_days": RETENTION_DAYS,
        "trace_id": span.trace_id.lower(),
        "span_id": span.span_id.lower(),
        "parent_span_id": span.parent_span_id.lower() or None,
        "name": span.name,
        "status": "error" if span.status.code == STATUS_ERROR else "ok",
        "is_segment": _begins_segment(span),
        "start_timestamp": _seconds(span.start_time_unix_nano),
        "end_timestamp": _seconds(span.end_time_unix_nano),
        "attributes": shared | _own_attributes(span),
    }
    if span.links:
        made["links"] = [_link(link) for link in span.links]
    return made


def _begins_segment(span: OtlpSpan) -> bool:
    return not span.parent_span_id or span.flags & PARENT_IS_REMOTE == PARENT_IS_REMOTE


def _own_attributes(span: OtlpSpan) -> SpanObject:
    attributes = _attributes(span.attributes)
    if span.kind in KINDS:
        attributes["sentry.kind"] = _attribute(KINDS[span.kind])
    if span.status.message:
        attributes["sentry.status.message"] = _attribute(span.status.message)
    return attributes


def _scope(scope: Scope) -> SpanObject:
    named = {"instrumentation.name": scope.name, "instrumentation.version": scope.version}
    return {key: _attribute(value) for key, value in named.items() if value}


def _service_name(resource: SpanObject) -> str:
    """OTLP's own fallback for a resource that does not name its service is ``unknown_service``."""
    match resource.get("service.name"):
        case {"value": str(name)}:
            return name
    return "unknown_service"


def _link(link: Link) -> SpanObject:
    made: SpanObject = {"trace_id": link.trace_id.lower(), "span_id": link.span_id.lower()}
    return made | ({"attributes": _attributes(link.attributes)} if link.attributes else {})


def _attributes(pairs: list[KeyValue]) -> SpanObject:
    return {pair.key: _attribute(pair.value.plain()) for pair in pairs}


def _attribute(value: object) -> SpanObject | None:
    return None if value is None else {"type": TYPES[type(value)], "value": value}


def _seconds(nanoseconds: str) -> float:
    """Microseconds is what the schema promises and what a float can hold."""
    return round(int(nanoseconds) / 1e9, 6)
