"""Readers of recordings that others made, Zipkin, Nezha (CSV) and TraceWeaver (Jaeger): each gives span objects.

A service is a project. As with OTLP a segment begins where a span has no parent, or its parent is in another service.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.machine import ROOT

TRACES = ROOT.parent / "shared" / "traces"

SpanObject = dict[str, object]
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def _objects(raw: Iterable[SpanObject]) -> list[SpanObject]:
    """With project and `is_segment`, in the order in which they ended."""
    found = list(raw)
    service_of = {(each["trace_id"], each["span_id"]): each["service"] for each in found}
    projects: dict[object, int] = {}
    for each in found:
        service, parent = each.pop("service"), each.get("parent_span_id")
        each["project_id"] = projects.setdefault(service, len(projects) + 1)
        each["is_segment"] = not parent or service_of.get((each["trace_id"], parent), service) != service
    return sorted(found, key=lambda each: float(str(each["end_timestamp"])))


def nezha(path: Path) -> list[SpanObject]:
    with gzip.open(path, "rt", newline="") as file:
        return _objects(
            {
                "trace_id": row["TraceID"],
                "span_id": row["SpanID"],
                "parent_span_id": None if row["ParentID"] == "root" else row["ParentID"],
                "service": row["PodName"].rsplit("-", 2)[0],
                "name": row["OperationName"],
                "start_timestamp": int(row["StartTimeUnixNano"]) / 1e9,
                "end_timestamp": int(row["EndTimeUnixNano"]) / 1e9,
                "attributes": {"k8s.pod.name": {"type": "string", "value": row["PodName"]}},
            }
            for row in csv.DictReader(file)
        )


def jaeger(path: Path) -> list[SpanObject]:
    with gzip.open(path) as file:
        return _objects(span for line in file for span in _jaeger_trace(_decode(line)))


def _jaeger_trace(trace: dict[str, Any]) -> Iterator[SpanObject]:
    services = {key: process["serviceName"] for key, process in trace["processes"].items()}
    for span in trace["spans"]:
        parent = next((each["spanID"] for each in span["references"] if each["refType"] == "CHILD_OF"), None)
        yield {
            "trace_id": span["traceID"].zfill(32),
            "span_id": span["spanID"].zfill(16),
            "parent_span_id": parent and parent.zfill(16),
            "service": services[span["processID"]],
            "name": span["operationName"],
            "start_timestamp": span["startTime"] / 1e6,
            "end_timestamp": (span["startTime"] + span["duration"]) / 1e6,
            "attributes": {tag["key"]: {"type": "string", "value": str(tag["value"])} for tag in span["tags"]},
        }


def zipkin(path: Path) -> list[SpanObject]:
    records = msgspec.json.decode(path.read_bytes(), type=list[dict[str, Any]])
    return _objects(
        {
            "trace_id": record["traceId"].zfill(32),
            "span_id": record["id"].zfill(16),
            "parent_span_id": (record.get("parentId") or "").zfill(16) if record.get("parentId") else None,
            "service": record.get("localEndpoint", {}).get("serviceName", "unknown"),
            "name": record.get("name", ""),
            "start_timestamp": record.get("timestamp", 0) / 1e6,
            "end_timestamp": (record.get("timestamp", 0) + record.get("duration", 0)) / 1e6,
            "attributes": {key: {"type": "string", "value": value} for key, value in record.get("tags", {}).items()},
        }
        for record in records
    )


FOREIGN: tuple[tuple[str, Callable[[Path], list[SpanObject]]], ...] = (
    ("nezha/ob__2022-08-22__03_53_trace.csv.gz", nezha),
    ("nezha/tt__2023-01-29__08_52_trace.csv.gz", nezha),
    ("traceweaver/hotel_reservation__hotel_load25.jaeger.jsonl.gz", jaeger),
    ("traceweaver/media_microservices__media_load75.jaeger.jsonl.gz", jaeger),
    ("zipkin/smartthings-mobile-web-install.json", zipkin),
)
