"""Finds the spans of one batch whose parents lead in a circle.

On a span's way: last step of `decode`. Such spans have no root, so no segment could ever hold them. Spans that only
hang off a circle stay: to the buffer their parent is one that never came. A circle over several batches is not seen
here; what follows links must therefore end on its own.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from buffer.model import Span

_Key = tuple[int, str, str | None]


def off_circles(spans: Sequence[Span]) -> list[bool]:
    """For each span: False if its parents lead back to it within its project and trace.

    The same span id may come twice with different parents. Then a span between two circles counts as on one.
    """
    if not _may_have_circle(spans):
        return [True] * len(spans)
    edges = [
        ((span.project_id, span.trace_id, span.span_id), (span.project_id, span.trace_id, span.parent_span_id))
        for span in spans
    ]
    left = _peel(edges)
    left = _peel([(parent, child) for child, parent in edges if child in left and parent in left])
    return [child not in left or parent not in left for child, parent in edges]


def _may_have_circle(spans: Sequence[Span]) -> bool:
    """Cheap and never wrong when it says no: follows span ids alone, each once."""
    parent_of = {span.span_id: span.parent_span_id for span in spans}
    if len(parent_of) < len(spans):
        return True
    walk_of: dict[str, str] = {}
    for start in parent_of:
        span_id: str | None = start
        while span_id in parent_of and span_id not in walk_of:
            walk_of[span_id] = start
            span_id = parent_of[span_id]
        if span_id is not None and walk_of.get(span_id) == start:
            return True
    return False


def _peel(edges: Iterable[tuple[_Key, _Key]]) -> set[_Key]:
    """What is left when every node without an edge to another is taken away, again and again."""
    onward: Counter[_Key] = Counter()
    arriving: dict[_Key, list[_Key]] = defaultdict(list)
    left: set[_Key] = set()
    for source, target in edges:
        left |= {source, target}
        onward[source] += 1
        arriving[target].append(source)
    free = [node for node in left if node not in onward]
    while free:
        node = free.pop()
        left.discard(node)
        for source in arriving[node]:
            onward[source] -= 1
            if not onward[source]:
                free.append(source)
    return left
