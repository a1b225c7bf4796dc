"""What waits in the broker is not cut off from what has been buffered already.

Taking and flushing are workers of their own (`-Q`), so that the one can stop while the other goes on.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from pytest_celery import CeleryTestWorker, CeleryWorkerCluster

from buffer import Settings
from embedded.worker import Beat, Worker
from tests.pipeline.local import WorkerBox
from tests.pipeline.outside import Pipeline, once, span, span_id, span_ids
from tests.pipeline.workers import QueueWorker, environment_of

SEGMENTS = range(1, 21)
FIRST = [each for n in SEGMENTS for each in (span(n, trace_id=f"{n:032x}"), span(n + 100, n, trace_id=f"{n:032x}"))]
SECOND = [span(n + 200, n + 100, trace_id=f"{n:032x}") for n in SEGMENTS]
ALL = [span_id(n + level) for level in (0, 100, 200) for n in SEGMENTS]


@pytest.fixture
def celery_worker_cluster(
    request: pytest.FixtureRequest, settings: Settings, celery_setup_app: Celery, tmp_path: Path
) -> Iterator[CeleryWorkerCluster]:
    """It flushes, and takes nothing."""
    include = getattr(request, "param", "tests.pipeline.stop_at")
    worker = QueueWorker(tmp_path / "worker", environment_of(settings), "spans.flush", include=include)
    node = CeleryTestWorker(WorkerBox(worker.start()), app=celery_setup_app)
    yield CeleryWorkerCluster(node)
    node.teardown()


@pytest.fixture
def intake(settings: Settings, tmp_path: Path) -> Iterator[Worker]:
    """It takes, and flushes nothing."""
    environment = environment_of(settings)
    worker = QueueWorker(
        tmp_path / "intake", environment, "spans.ingest", include="tests.pipeline.stop_at", beat=False
    ).start()
    yield worker
    worker.kill()


@pytest.fixture
def second_beat(settings: Settings, tmp_path: Path) -> Iterator[Beat]:
    beat = Beat(tmp_path / "beat", environment_of(settings))
    beat.launch()
    yield beat
    beat.kill()


def buffer_one_half_and_stop_before_the_other(pipeline: Pipeline, intake: Worker) -> None:
    pipeline.send(FIRST)
    pipeline.until(lambda: pipeline.buffer.depth() == len(SEGMENTS), "the first halves to be buffered")
    intake.kill()
    pipeline.send(SECOND)


@pytest.mark.usefixtures("second_beat")  # it does no harm
@pytest.mark.spanbuf(root_timeout=2, timeout=2)
def test_segments_are_whole_though_the_intake_was_away_for_longer_than_they_wait(
    pipeline: Pipeline, intake: Worker
) -> None:
    buffer_one_half_and_stop_before_the_other(pipeline, intake)
    pipeline.until(lambda: pipeline.buffer.overdue_ms() > 1000, "the first halves to be due")
    assert pipeline.waiting_segments() == []

    intake.start()
    segments = pipeline.all_segments()

    assert Counter(segment["segment_id"] for segment in segments) == Counter(span_id(n) for n in SEGMENTS)
    assert span_ids(segments) == sorted(ALL)
    pipeline.send([span(1000)])
    assert span_ids(pipeline.all_segments()) == [span_id(1000)], "the clock goes on"


@pytest.mark.spanbuf(root_timeout=2, timeout=2)
@pytest.mark.parametrize("celery_worker_cluster", ["tests.pipeline.without_lag"], indirect=True)
def test_by_the_clock_on_the_wall_all_of_them_are_cut(pipeline: Pipeline, intake: Worker) -> None:
    """The control."""
    buffer_one_half_and_stop_before_the_other(pipeline, intake)
    halves = pipeline.segments(len(SEGMENTS))

    intake.start()
    segments = once(halves + pipeline.all_segments())

    assert Counter(segment["segment_id"] for segment in segments) == Counter([span_id(n) for n in SEGMENTS] * 2)
    assert span_ids(segments) == sorted(ALL)
