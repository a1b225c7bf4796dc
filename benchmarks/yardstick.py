"""The spans that the library is measured on: about 1 KB each, traces of 10-30 spans, up to 5 levels, 50 projects.

Attributes are those of recorded spans, cut to size; ids are new. Every span is moved at random inside a window of
2,000, so that half of the children come before their parent and the traces interleave. The same seed gives the same
spans.
"""

from collections.abc import Iterator
from itertools import cycle
from random import Random
from typing import Any

import msgspec

from buffer import Span
from demo.recordings import batches

PROJECTS, WINDOW, DEPTH, SPAN_BYTES = 50, 2000, 5, 1024


def spans(count: int, seed: int = 1) -> list[Span]:
    random = Random(seed)
    attributes = cycle(_attributes())
    ordered: list[Span] = []
    while len(ordered) < count:
        ordered += _trace(random, attributes)
    moved = sorted(enumerate(ordered[:count]), key=lambda at: at[0] + random.uniform(0, WINDOW))
    return [span for _, span in moved]


def _attributes() -> list[dict[str, Any]]:
    found = [span for batch in batches("sentry-demo") for span in batch.spans]
    return [{k: v for k, v in span.items() if k not in {"trace_id", "span_id", "parent_span_id"}} for span in found]


def _trace(random: Random, attributes: Iterator[dict[str, Any]]) -> Iterator[Span]:
    project, trace = random.randrange(PROJECTS), f"{random.getrandbits(128):032x}"
    levels: list[list[str]] = [[f"{random.getrandbits(64):016x}"]]
    yield _span(project, trace, levels[0][0], None, next(attributes))
    for _ in range(random.randint(9, 29)):
        level = random.randint(1, min(len(levels), DEPTH - 1))
        parent = random.choice(levels[level - 1])
        span_id = f"{random.getrandbits(64):016x}"
        if level == len(levels):
            levels.append([])
        levels[level].append(span_id)
        yield _span(project, trace, span_id, parent, next(attributes))


def _span(project: int, trace: str, span_id: str, parent: str | None, like: dict[str, Any]) -> Span:
    fields = {**like, "project_id": project, "trace_id": trace, "span_id": span_id, "is_segment": parent is None}
    fields["attributes"] = dict(like["attributes"])
    fields["attributes"].pop("sentry.segment.id", None)
    if parent:
        fields["parent_span_id"] = parent
    payload = msgspec.json.encode(fields)
    while len(payload) > SPAN_BYTES and fields["attributes"]:
        fields["attributes"].popitem()
        payload = msgspec.json.encode(fields)
    return Span(project, trace, span_id, parent, parent is None, None, payload)
