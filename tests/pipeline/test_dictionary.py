"""Beat has a dictionary trained, the workers take it up, and what comes out is what went in."""

import pytest

from tests.pipeline.outside import Pipeline, span, span_id, span_ids


@pytest.mark.spanbuf(train_interval=0.3, root_timeout=3, timeout=3)
def test_a_dictionary_is_learnt_under_way(pipeline: Pipeline) -> None:
    for start in range(1, 2001, 200):
        pipeline.send([span(n, trace_id=f"{n:032x}", name="GET /item " * 10) for n in range(start, start + 200)])
    with pipeline.buffer_redis.client() as buffer:
        pipeline.until(lambda: bool(buffer.exists("span-buf:z:{a}")), "a dictionary to be in use")
    pipeline.send([span(n, trace_id=f"{n:032x}", name="GET /item " * 10) for n in range(2001, 2101)])

    assert span_ids(pipeline.all_segments()) == [span_id(n) for n in range(1, 2101)]
    assert pipeline.buffer.outcomes() == {}
