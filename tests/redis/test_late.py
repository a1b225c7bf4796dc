"""Late spans of a real recording go out under the segment they belong to, marked as what they are."""

import json
from collections.abc import Iterator

import pytest
from redis import Redis

from demo.late import GRACE_MS, Late, replay
from embedded.redis import RedisServer


@pytest.fixture(scope="module")
def client(redis_server: RedisServer) -> Iterator[Redis]:
    with redis_server.client() as client:
        yield client
        client.flushall()


@pytest.fixture(scope="module")
def graced(client: Redis) -> Late:
    return replay(client, GRACE_MS)


@pytest.fixture(scope="module")
def forgotten(client: Redis) -> Late:
    """The control: a trace is forgotten with its last segment."""
    return replay(client, 0)


def test_late_spans_go_out_under_the_segment_that_the_sdk_gave_them(graced: Late) -> None:
    assert len(graced.late) > 4000
    assert len(graced.deep) > 100
    assert graced.right(graced.late) == len(graced.late)


def test_without_late_grace_some_do_not(graced: Late, forgotten: Late) -> None:
    assert forgotten.late == graced.late
    assert forgotten.right(forgotten.late) < graced.right(graced.late)
    assert forgotten.right(forgotten.deep) < len(forgotten.deep) / 2


def test_whatever_comes_late_comes_out_once(graced: Late, forgotten: Late) -> None:
    for late in (graced, forgotten):
        assert sum(len(segment.spans) for segment in late.segments) == len(late.under) == late.spans


def test_an_addendum_is_marked_and_carries_the_id_of_a_segment_that_was_published(graced: Late) -> None:
    published: set[tuple[int, str, str]] = set()
    for segment in graced.segments:
        segment_id = (segment.project_id, segment.trace_id, segment.segment_id)
        assert segment.addendum is (segment_id in published)
        published.add(segment_id)
        for text in segment.messages():
            message = json.loads(text)
            assert message.get("addendum", False) is segment.addendum
            assert message["segment_id"] == segment.segment_id
    assert len(graced.addenda) > 100
