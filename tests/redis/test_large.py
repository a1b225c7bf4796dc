"""100,000 spans at once."""

from __future__ import annotations

from redis import Redis

from tests.builders import identities, name_of, span, trace_id
from tests.flow import Flow, keys, leftovers

SPANS = 100_000


def test_100000_spans_of_5000_traces_in_one_append(redis_client: Redis) -> None:
    flow = Flow(redis_client, flush_limit=SPANS)
    sent = [span(f"s{n}", f"s{n - n % 20}" if n % 20 else None, trace=trace_id(n // 20)) for n in range(SPANS)]

    appended = flow.append(*sent)
    flow.drain()

    assert (appended.spans, appended.parts) == (SPANS, SPANS // 20)
    assert len(flow.published) == SPANS // 20
    assert identities(flow.spans) == identities(sent)
    assert leftovers(redis_client) == []
    assert len(keys(redis_client)) == len(keys(redis_client, "l")) == SPANS // 20


def test_one_segment_of_100000_spans(redis_client: Redis) -> None:
    """It overflows many times, each part under the same id; the register tells the redelivery of it all."""
    flow = Flow(redis_client, max_segment_bytes=2**20, max_span_bytes=2**16)
    sent = [span("root"), *(span(f"s{n}", f"s{n // 2}" if n > 1 else "root") for n in range(1, SPANS))]

    appended = flow.append(*sent)
    assert appended.spans == SPANS
    assert appended.overflows >= 10
    again = flow.append(*sent)
    assert (again.spans, again.outcomes["duplicate.buffered"]) == (0, SPANS)
    flow.drain()

    assert {name_of(segment.segment_id) for segment in flow.published} == {"root"}
    assert max(sum(len(each.payload) for each in segment.spans) for segment in flow.published) <= 2**20
    assert identities(flow.spans) == identities(sent)
    assert leftovers(redis_client) == []
