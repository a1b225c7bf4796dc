"""The flush clock stands behind by what spans wait in the broker, so that a backlog there cuts no segment short."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import pytest
from redis import Redis

from buffer import Span
from tests.builders import chain, grouped, identities, span, trace_id
from tests.flow import START_MS, Flow, without_ttl


class Intake:
    """An ingest queue and a beat, second by second. Spans and probes wait in it together, first in, first out."""

    def __init__(self, flow: Flow, *, lag: bool = True) -> None:
        self.flow = flow
        self._measure = lag
        self._queue: deque[Callable[[], object]] = deque()

    def send(self, *spans: Span) -> None:
        self._queue.append(lambda: self.flow.append(*spans))

    def take(self, most: int = 10**9) -> None:
        for _ in range(min(most, len(self._queue))):
            self._queue.popleft()()

    def lose(self) -> None:
        self._queue.clear()

    def second(self) -> None:
        """One `flush_due`, and everything that follows from it."""
        self.flow.wait(1)
        lag_ms = self.look() if self._measure else 0
        loaded = self.flow.load(self.flow.buffer.claim(now_ms=self.flow.now_ms, lag_ms=lag_ms))
        self.flow.cleanup(self.flow.publish(loaded))

    def look(self) -> int:
        sent_ms = self.flow.now_ms
        lag_ms = self.flow.buffer.lag_ms(now_ms=sent_ms)
        self._queue.append(lambda: self.flow.buffer.probe_seen(sent_ms))
        return lag_ms

    def seconds_until(self, condition: Callable[[], bool], most: int = 2000, take: int = 10**9) -> int:
        for passed in range(most):
            if condition():
                return passed
            self.take(take)
            self.second()
        raise AssertionError("it did not come to that")


def halves(segments: int) -> tuple[list[list[Span]], list[list[Span]]]:
    trees = [[*chain("a", "b"), span("c", "b"), span("d", "a")] for _ in range(segments)]
    named = [[_in(trace_id(n), each) for each in tree] for n, tree in enumerate(trees)]
    return [tree[:2] for tree in named], [tree[2:] for tree in named]


def _in(trace: str, each: Span) -> Span:
    payload = each.payload.replace(each.trace_id.encode(), trace.encode())
    return Span(each.project_id, trace, each.span_id, each.parent_span_id, payload=payload)


def stopped_between_halves(flow: Flow, *, lag: bool, stopped_s: int = 120) -> Sequence[Span]:
    """The ingest workers are away for longer than every timeout, after half of each segment. All that was sent."""
    intake = Intake(flow, lag=lag)
    first, second = halves(50)
    for _ in range(5):
        intake.take()
        intake.second()
    for batch in first:
        intake.send(*batch)
    intake.take()
    for batch in second:
        intake.send(*batch)
    for _ in range(stopped_s):
        intake.second()
    intake.seconds_until(lambda: len(flow.spans) == 200)
    return [each for batch in first + second for each in batch]


def test_no_segment_is_cut_while_half_of_it_waits_in_the_broker(redis_client: Redis) -> None:
    flow = Flow(redis_client)

    sent = stopped_between_halves(flow, lag=True)

    assert identities(flow.spans) == identities(sent)
    assert [len(segment.spans) for segment in flow.published] == [4] * 50


def test_without_the_lag_the_same_backlog_cuts_every_segment(redis_client: Redis) -> None:
    """The control."""
    flow = Flow(redis_client)

    sent = stopped_between_halves(flow, lag=False)

    assert identities(flow.spans) == identities(sent)
    assert [len(segment.spans) for segment in flow.published] == [2] * 100


@pytest.mark.parametrize(("lag", "whole"), [(True, True), (False, False)])
def test_an_intake_that_cannot_keep_up_cuts_nothing_either(redis_client: Redis, lag: bool, whole: bool) -> None:
    """Ten batches a second come and seven are taken, so halves sent three seconds apart arrive more than four apart."""
    flow = Flow(redis_client, root_timeout=4)
    intake = Intake(flow, lag=lag)
    first, second = halves(600)
    for start in range(0, 615, 5):
        for batch in [*first[start : start + 5], *second[max(start - 15, 0) : max(start - 10, 0)]]:
            intake.send(*batch)
        intake.take(7)
        intake.second()
    intake.seconds_until(lambda: len(flow.spans) == 2400, take=7)

    pieces = max(sum(each.trace == segment.trace for each in flow.published) for segment in flow.published)
    assert (pieces == 1) is whole


@pytest.mark.parametrize("gap_s", range(1, 10))
def test_an_intake_that_stops_just_before_the_other_half_comes_cuts_nothing(redis_client: Redis, gap_s: int) -> None:
    """However short before the segment is due: every deployment stops the intake like this."""
    flow = Flow(redis_client)
    intake = Intake(flow)
    [first], [second] = halves(1)
    for _ in range(5):
        intake.take()
        intake.second()
    intake.send(*first)
    for _ in range(gap_s):
        intake.take()
        intake.second()

    intake.send(*second)
    for _ in range(60):
        intake.second()
    intake.seconds_until(lambda: len(flow.spans) == 4)

    assert len(flow.published) == 1


def test_a_probe_that_has_come_says_how_long_it_took_and_one_that_does_not_come_counts_as_well(
    redis_client: Redis,
) -> None:
    flow = Flow(redis_client)
    assert flow.buffer.lag_ms(now_ms=START_MS) == 600_000, "nobody knows yet"

    flow.buffer.probe_seen(START_MS)
    assert flow.buffer.lag_ms(now_ms=START_MS + 40_000) == 40_000
    flow.buffer.probe_seen(START_MS + 41_000)
    assert flow.buffer.lag_ms(now_ms=START_MS + 41_000) <= 1000
    assert flow.buffer.lag_ms(now_ms=START_MS + 71_000) == 30_000
    assert without_ttl(redis_client) == []


def test_the_lag_is_gone_when_the_backlog_is(redis_client: Redis) -> None:
    intake = Intake(Flow(redis_client))
    for _ in range(60):
        intake.second()
    assert intake.look() >= 59_000

    assert intake.seconds_until(lambda: intake.look() <= 1000) <= 5


def test_the_clock_stands_behind_by_the_age_of_a_segment_at_the_most(redis_client: Redis) -> None:
    """An intake that never comes back must not keep for ever what is in the buffer."""
    flow = Flow(redis_client, max_segment_age=100)
    intake = Intake(flow)
    flow.append(*chain("a", "b"))

    for _ in range(200):
        intake.second()
        assert intake.look() <= 100_000

    assert grouped(flow.published) == {"a": {"a", "b"}}


def test_leases_do_not_stand_behind(redis_client: Redis) -> None:
    """A flush that died during a backlog is tried again as soon as its lease has ended."""
    flow = Flow(redis_client)
    flow.append(span("a"))
    flow.wait(10)
    assert len(flow.claim()) == 1
    flow.wait(flow.settings.lease + 1)

    assert len(flow.buffer.claim(now_ms=flow.now_ms, lag_ms=600_000)) == 1


def test_a_probe_that_is_lost_or_held_by_a_killed_worker_is_replaced_by_the_next(redis_client: Redis) -> None:
    """The queue is first in, first out: what comes through proves that everything before it has gone."""
    flow = Flow(redis_client)
    intake = Intake(flow)
    flow.append(*chain("a", "b"))
    intake.look()
    intake.lose()

    assert intake.seconds_until(lambda: bool(flow.published)) <= 15


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_flushes_at_the_same_time_do_no_harm(redis_client: Redis, order: tuple[int, int]) -> None:
    """Two beats, and two processes that take their probes, in either order."""
    flow = Flow(redis_client)
    for late in order:
        flow.buffer.probe_seen(START_MS + late)

    assert flow.buffer.lag_ms(now_ms=START_MS + 60) <= 60


def test_a_probe_that_is_delivered_again_later_does_no_harm(redis_client: Redis) -> None:
    """Its worker was killed before it could acknowledge it."""
    flow = Flow(redis_client)
    intake = Intake(flow)
    for _ in range(5):
        intake.second()
        intake.take()

    flow.buffer.probe_seen(START_MS + 1000)

    assert intake.look() <= 1000
