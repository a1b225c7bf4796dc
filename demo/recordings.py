"""The recorded spans that the demo replays and the tests run on, in the order in which they arrived.

One line of a recording is one request of a service's exporter; ``batches`` gives it as span objects, ready for
``spans.ingest``. Where the recordings come from, and what a line holds, is told in ``demo/data/README.md``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import zstandard

from demo.otlp import ORGANIZATION_ID, RETENTION_DAYS, ExportTraceServiceRequest, SpanObject, convert

DATA = Path(__file__).parent / "data"
NAMES = ("otel-demo-clean", "otel-demo-faults", "sentry-demo")

PROJECTS = {"gateway": 1, "catalog": 2, "orders": 3, "worker": 4, "web-client": 5}
"""The numbers that the recording with Sentry's SDK gave the same services."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request as it arrived."""

    arrival_ms: int
    spans: list[SpanObject]


class Line(msgspec.Struct):
    """An OTLP request, or the spans of one Sentry envelope with their project."""

    arrival_unix_nano: int
    request: ExportTraceServiceRequest | None = None
    project_id: int = 0
    spans: list[SpanObject] = []


def batches(name: str) -> Iterator[Recorded]:
    """Every request of the recording ``name``, one of NAMES, in recorded order."""
    decoder = msgspec.json.Decoder(Line)
    projects = dict(PROJECTS)
    with (DATA / f"{name}.jsonl.zst").open("rb") as file:
        for text in io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file), 1 << 20):
            line = decoder.decode(text)
            yield Recorded(line.arrival_unix_nano // 1_000_000, _spans(line, projects))


def _spans(line: Line, projects: dict[str, int]) -> list[SpanObject]:
    received = line.arrival_unix_nano // 1_000 / 1e6
    if line.request is not None:
        return list(convert(line.request, received=received, projects=projects))
    return [_as_relay_does(span, line.project_id, received) for span in line.spans]


def _as_relay_does(span: SpanObject, project_id: int, received: float) -> SpanObject:
    """An SDK does not know its project; the receiving side puts it, and what belongs to it, into the span."""
    return {
        "organization_id": ORGANIZATION_ID,
        "project_id": project_id,
        "received": received,
        "retention_days": RETENTION_DAYS,
    } | span
