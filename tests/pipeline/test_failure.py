"""What a crash costs: a repeat under the same flush id, never a span.

Each test breaks one thing at one named step, mends it, and reads what came out.
"""

import pytest

from tests.pipeline.outside import Pipeline, once, span, span_id, span_ids

TREE = [span(1), span(2, parent=1), span(3, parent=2)]
IDS = [span_id(1), span_id(2), span_id(3)]


@pytest.mark.parametrize("step", ["before-spans.ingest", "after-spans.ingest"])
def test_an_ingest_that_was_cut_short_is_delivered_again_and_its_spans_come_once(pipeline: Pipeline, step: str) -> None:
    pipeline.arm(step)
    pipeline.send(TREE)
    pipeline.restart_once_killed()

    pipeline.until(lambda: pipeline.ended("spans.ingest") == 1, "the redelivered batch")
    assert span_ids(once(pipeline.all_segments())) == IDS


@pytest.mark.spanbuf(visibility_timeout=120)  # the clean-up comes back only long after the lease has ended
@pytest.mark.parametrize("step", ["after-spans.produce", "before-spans.cleanup"])
def test_a_kill_between_publishing_and_cleaning_up_repeats_the_same_flush(pipeline: Pipeline, step: str) -> None:
    pipeline.arm(step)
    pipeline.send(TREE)
    pipeline.until(lambda: not pipeline.worker.running(), "the kill")
    assert pipeline.buffer.depth() == 1

    pipeline.worker.start()
    first, *repeats = pipeline.segments(2)

    assert span_ids([first]) == IDS
    assert all(repeat == first for repeat in repeats)
    pipeline.until(lambda: pipeline.buffer.depth() == 0, "the clean-up")


@pytest.mark.parametrize("step", ["before-spans.flush", "before-spans.produce", "after-spans.cleanup"])
def test_a_kill_anywhere_else_on_the_way_out_repeats_whole_flushes_if_any(pipeline: Pipeline, step: str) -> None:
    pipeline.arm(step)
    pipeline.send(TREE)
    pipeline.restart_once_killed()

    assert span_ids(once(pipeline.all_segments())) == IDS


def test_what_could_not_be_published_is_not_cleaned_up(pipeline: Pipeline) -> None:
    with pipeline.broker_redis.client() as broker:
        with pipeline.held("before-spans.produce"):
            pipeline.send(TREE)
            pipeline.until_held("before-spans.produce")
            broker.set("buffered-segments", "no list, so the broker refuses to queue anything here")
        pipeline.until(lambda: pipeline.ended("spans.cleanup") > 0, "the flush that fails")
        assert pipeline.buffer.depth() == 1

        broker.delete("buffered-segments")

    assert span_ids(once(pipeline.all_segments())) == IDS


def test_a_binding_that_somebody_removed_is_made_again(pipeline: Pipeline) -> None:
    pipeline.send(TREE)
    assert span_ids(once(pipeline.all_segments())) == IDS
    with pipeline.broker_redis.client() as broker:
        assert broker.delete("_kombu.binding.segments") == 1

    pipeline.send([span(11), span(12, parent=11)])

    assert span_ids(pipeline.all_segments()) == [span_id(11), span_id(12)]


@pytest.mark.spanbuf(root_timeout=2)
def test_a_buffer_that_was_killed_comes_back_from_its_append_only_file(pipeline: Pipeline) -> None:
    pipeline.send(TREE[:2])
    pipeline.until(lambda: pipeline.buffer.depth() == 1, "the spans to be buffered")

    pipeline.buffer_redis.kill()
    pipeline.buffer_redis.start()
    pipeline.send(TREE[2:])

    assert span_ids(once(pipeline.all_segments())) == IDS


def test_spans_sent_while_the_buffer_is_away_wait_for_it(pipeline: Pipeline) -> None:
    pipeline.buffer_redis.stop()
    pipeline.send(TREE)
    pipeline.until(lambda: b"Trying again" in pipeline.worker.said(), "the worker to notice")

    pipeline.buffer_redis.start()

    assert span_ids(once(pipeline.all_segments())) == IDS


def test_spans_sent_while_no_worker_runs_wait_in_the_broker_even_if_that_restarts(pipeline: Pipeline) -> None:
    pipeline.setup.worker.kill()
    pipeline.send(TREE)
    pipeline.setup.broker.kill()

    pipeline.setup.broker.restart()
    pipeline.restart_once_killed()

    assert span_ids(once(pipeline.all_segments())) == IDS
