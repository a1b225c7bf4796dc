"""The spans that the library is measured on: about 1 KB each, traces of 10-30 spans, up to 5 levels, 50 projects.

Attributes are those of recorded spans, cut to size. What does not repeat in real traffic does not repeat here: ids,
times and random numbers are new in every span, in the fields and inside of attributes, so that a dictionary cannot
know them. Every span is moved at random inside a window of 2,000, so that half of the children come before their
parent and the traces interleave. The same seed gives the same spans.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import cycle
from random import Random
from typing import Any

import msgspec

from buffer import Span
from demo.recordings import batches

PROJECTS, WINDOW, DEPTH, SPAN_BYTES = 50, 2000, 5, 1024
START_S = 1_795_345_334.0
SPANS_A_SECOND = 10_000
NEVER_REPEATS = re.compile(rb"\b[0-9a-f]{32}\b|\b[0-9a-f]{16}\b|\b0\.\d{6}\b")
"""Ids and sampling numbers inside of attributes: headers that carry a trace on."""


def spans(count: int, seed: int = 1) -> list[Span]:
    random = Random(seed)
    recorded = _recorded()
    templates = cycle(recorded[random.randrange(len(recorded)) :] + recorded)
    ordered: list[Span] = []
    while len(ordered) < count:
        ordered += _trace(random, templates, START_S + 1000 * seed + len(ordered) / SPANS_A_SECOND)
    moved = sorted(enumerate(ordered[:count]), key=lambda at: at[0] + random.uniform(0, WINDOW))
    return [span for _, span in moved]


@cache
def _recorded() -> list[dict[str, Any]]:
    """Recorded spans without what says where they belong, cut to size."""
    return [_cut(span) for batch in batches("sentry-demo") for span in batch.spans]


def _cut(span: dict[str, Any]) -> dict[str, Any]:
    attributes = {k: v for k, v in span["attributes"].items() if k != "sentry.segment.id"}
    fields = {**span, "parent_span_id": "0" * 16, "attributes": attributes}
    while len(msgspec.json.encode(fields)) > SPAN_BYTES and attributes:
        attributes.popitem()
    return fields


def _trace(random: Random, templates: Iterator[dict[str, Any]], start_s: float) -> Iterator[Span]:
    project, trace = random.randrange(PROJECTS), f"{random.getrandbits(128):032x}"
    levels: list[list[str]] = [[_span_id(random)]]
    yield _span(random, project, trace, levels[0][0], None, next(templates), start_s)
    for _ in range(random.randint(9, 29)):
        level = random.randint(1, min(len(levels), DEPTH - 1))
        parent = random.choice(levels[level - 1])
        span_id = _span_id(random)
        if level == len(levels):
            levels.append([])
        levels[level].append(span_id)
        yield _span(random, project, trace, span_id, parent, next(templates), start_s)


def _span_id(random: Random) -> str:
    return f"{random.getrandbits(64):016x}"


def _span(
    random: Random, project: int, trace: str, span_id: str, parent: str | None, like: dict[str, Any], start_s: float
) -> Span:
    begun = start_s + random.uniform(0, 0.1)
    fields = {
        **like,
        "project_id": project,
        "trace_id": trace,
        "span_id": span_id,
        "is_segment": parent is None,
        "start_timestamp": round(begun, 6),
        "end_timestamp": round(begun + random.expovariate(100), 6),
        "received": round(start_s + random.uniform(0.2, 2), 6),
        "parent_span_id": parent,
        "attributes": msgspec.Raw(_renewed(random, like["attributes"])),
    }
    if parent is None:
        del fields["parent_span_id"]
    return Span(project, trace, span_id, parent, parent is None, None, msgspec.json.encode(fields))


def _renewed(random: Random, attributes: dict[str, Any]) -> bytes:
    def renew(old: re.Match[bytes]) -> bytes:
        digits = len(old[0])
        return b"%.6f" % random.random() if digits == 8 else b"%0*x" % (digits, random.getrandbits(4 * digits))

    return NEVER_REPEATS.sub(renew, msgspec.json.encode(attributes))
