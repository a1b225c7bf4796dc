"""Too much for too little room: the intake stops in time, what is inside goes out, and nobody has to be called."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from random import Random

import pytest
from celery import Celery
from redis import Redis

from buffer.settings import Settings
from embedded.redis import RedisServer
from tasks.intake_gate import LOOK_EVERY_S
from tests.pipeline.outside import Pipeline, once, span, span_id, span_ids
from tests.pipeline.workers import environment_of

ROOT = Path(__file__).parents[2]
CLOSED, OPEN = b"taking no ingest messages", b"taking ingest messages again"
NOISE = Random(1).randbytes(2_000_000).hex()  # does not compress: what a test fills, stays full


def batch(number: int, spans: int = 50, size: int = 2000) -> list[dict[str, object]]:
    """A root and its children, in a trace of their own."""
    first = number * spans + 1
    parents = [None, *[first] * (spans - 1)]
    return [
        span(first + n, parent, trace_id=f"{number + 1:032x}", name=NOISE[(first + n) * size % 3_900_000 :][:size])
        for n, parent in enumerate(parents)
    ]


def sent_by(batches: range, spans: int = 50) -> list[str]:
    return [span_id(number) for number in range(batches.start * spans + 1, batches.stop * spans + 1)]


class Outside:
    """What the tests here want to know of the servers."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.buffer: Redis = pipeline.buffer_redis.client()
        self.broker: Redis = pipeline.broker_redis.client()

    def used(self) -> int:
        return int(self.buffer.info("memory")["used_memory"])

    def limit(self, room: int) -> None:
        self.buffer.config_set("maxmemory", self.used() + room)

    def unlimit(self) -> None:
        self.buffer.config_set("maxmemory", 0)

    def refusals(self) -> int:
        """Redis 6.2 counts what it refused inside a script as any error, so the worker is asked."""
        return self.pipeline.worker.said().count(b"reached maxmemory")

    def waiting(self) -> int:
        return int(self.broker.llen("spans.ingest"))

    def queued(self) -> int:
        return int(self.broker.llen("buffered-segments"))

    def said(self, words: bytes, times: int = 1) -> Callable[[], bool]:
        return lambda: self.pipeline.worker.said().count(words) >= times

    def send_until_closed(self, batches: Iterator[list[dict[str, object]]], at_a_time: int) -> list[str]:
        """The ids of what was sent. Not faster than Redis could take it in the second until the worker looks."""
        sent: list[str] = []

        def closed_meanwhile() -> bool:
            for each in islice(batches, at_a_time):
                self.pipeline.send(each)
                sent.extend(str(span["span_id"]) for span in each)
            return self.said(CLOSED)()

        self.pipeline.until(closed_meanwhile, "the intake to stop")
        return sent


@pytest.fixture
def outside(pipeline: Pipeline) -> Outside:
    return Outside(pipeline)


@pytest.mark.spanbuf(max_memory_used=0.25, root_timeout=3)
def test_the_intake_stops_before_redis_refuses_and_goes_on_when_there_is_room(
    pipeline: Pipeline, outside: Outside
) -> None:
    outside.limit(12_000_000)
    batches = map(batch, count())
    sent = outside.send_until_closed(batches, at_a_time=5)
    for each in islice(batches, 100):
        pipeline.send(each)
        sent += [str(span["span_id"]) for span in each]
    assert outside.waiting() > 0

    segments = pipeline.all_segments()

    assert outside.said(OPEN)()
    assert span_ids(segments) == sent
    assert outside.refusals() == 0
    assert pipeline.buffer.outcomes() == {}


@pytest.mark.spanbuf(max_queued_messages=10, flush_limit=5, max_memory_used=0.4)
def test_when_nobody_takes_the_segments_the_buffer_grows_and_then_the_intake_stops(
    pipeline: Pipeline, outside: Outside
) -> None:
    """What comes last is more than there is room for; without the gate Redis would refuse some of it."""
    early, late = range(100), range(100, 180)
    for number in early:
        pipeline.send(batch(number))
    pipeline.until(lambda: outside.waiting() == 0 and pipeline.buffer.overdue_ms() > 2000, "the queue to be full")
    assert 10 <= outside.queued() <= 10 + 5
    assert outside.queued() + pipeline.buffer.depth() == len(early)

    outside.limit(3_000_000)
    pipeline.until(outside.said(CLOSED), "the intake to stop")
    for number in late:
        pipeline.send(batch(number))
    assert outside.waiting() >= len(late)
    assert outside.queued() <= 10 + 5

    segments = pipeline.all_segments()

    assert span_ids(segments) == sent_by(range(late.stop))
    assert outside.refusals() == 0


@pytest.mark.spanbuf(root_timeout=2)
def test_what_is_inside_goes_out_of_a_redis_that_refuses_everything(pipeline: Pipeline, outside: Outside) -> None:
    """Also what there is something to count of: span 1 came twice."""
    pipeline.send([span(1), span(2, parent=1)])
    pipeline.send([span(1), span(3, parent=1)])
    pipeline.until(lambda: pipeline.ended("spans.ingest") == 2, "both batches to be buffered")

    outside.buffer.config_set("maxmemory", 1)
    [segment] = pipeline.segments(1)
    pipeline.until(lambda: pipeline.buffer.depth() == 0, "the clean-up")
    outside.unlimit()

    assert span_ids([segment]) == [span_id(1), span_id(2), span_id(3)]


# What were stuck in `unacked` would come too late for this test.
@pytest.mark.spanbuf(max_memory_used=0.4, visibility_timeout=120)
def test_what_is_on_its_way_when_the_intake_stops_goes_back_at_once(pipeline: Pipeline, outside: Outside) -> None:
    outside.limit(outside.used())
    batches = ([span(number, trace_id=f"{number:032x}")] for number in count(1))
    sent = outside.send_until_closed(batches, at_a_time=20)
    outside.unlimit()

    assert span_ids(pipeline.all_segments()) == sent
    assert outside.refusals() == 0


@pytest.mark.spanbuf(max_memory_used=0.4)
def test_an_intake_that_was_stopped_over_a_restart_of_the_broker_can_go_on(
    pipeline: Pipeline, outside: Outside
) -> None:
    outside.limit(outside.used())
    pipeline.until(outside.said(CLOSED), "the intake to stop")
    pipeline.broker_redis.restart()
    pipeline.until(outside.said(b"Connected to", 2), "the worker to come back")
    pipeline.send([span(1)])

    outside.unlimit()

    assert span_ids(pipeline.all_segments()) == [span_id(1)]


def test_a_buffer_that_does_not_answer_does_not_stop_the_worker(pipeline: Pipeline, outside: Outside) -> None:
    """Its main process looks at the memory, and also talks to the broker and to whoever asks how it is."""
    asking = Celery(broker=pipeline.broker_redis.url)
    asking.conf.accept_content = ["json", "msgpack"]
    pipeline.buffer_redis.freeze()
    try:
        time.sleep(2 * LOOK_EVERY_S)  # a look has begun and waits
        answer = asking.control.ping(timeout=10, limit=1)
    finally:
        pipeline.buffer_redis.thaw()
        asking.close()
    pipeline.send([span(1)])

    assert answer
    assert span_ids(once(pipeline.all_segments())) == [span_id(1)]


def test_a_worker_refuses_a_redis_that_evicts_in_one_line(settings: Settings, buffer_redis: RedisServer) -> None:
    with buffer_redis.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")

    ended = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--concurrency=1"],
        cwd=ROOT,
        env=environment_of(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode != 0
    assert "maxmemory-policy allkeys-lru" in ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr + ended.stdout
    assert " ready." not in ended.stderr + ended.stdout
